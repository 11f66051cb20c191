"""Exports of a made-up account whose rows are known, in every format that is read."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from adsml_common.domain import daily

LEAD_PARTS = ("onsite_conversion.lead_grouped", "offsite_conversion.fb_pixel_lead")


@dataclass(frozen=True)
class Account:
    """A made-up account.

    Attributes
    ----------
    ads
        Daily frame of its ads.
    parent
        Ad set of each ad, campaign of each ad set.
    name
        Name of every entity.
    """

    ads: pd.DataFrame
    parent: Mapping[str, str]
    name: Mapping[str, str]

    def rows(self) -> list[dict[str, Any]]:
        """Rows of the ads as plain values, with the ids above them."""
        found = []
        for row in self.ads.to_dict("records"):
            adset = self.parent[row["entity_id"]]
            found.append({**row, "ad": row["entity_id"], "adset": adset, "campaign": self.parent[adset]})
        return found

    def summed(self) -> pd.DataFrame:
        """Daily frame of all levels: ads, and sums of them without reach."""
        frames = [self.ads]
        below = self.ads
        for level in ("adset", "campaign"):
            above = below.assign(
                entity_type=level, entity_id=below["entity_id"].map(self.parent), reach=np.nan
            )
            sums = above.groupby(["entity_type", "entity_id", "date"], as_index=False)[
                ["spend", "impressions", "clicks", "leads"]
            ].sum()
            below = daily.normalise(sums.assign(spend=sums["spend"].round(6)))
            frames.append(below)
        return daily.normalise(pd.concat(frames))


def make_account(*, days: int = 4, start: str = "2026-03-01", seed: int = 7) -> Account:
    """Two campaigns of two ad sets of two ads; ids as long as the platform's; some days without delivery."""
    rng = np.random.default_rng(seed)
    parent: dict[str, str] = {}
    name: dict[str, str] = {}
    rows = []
    for c in range(2):
        campaign = f"2385440467618{c:04d}"
        name[campaign] = f"Campaña {c}, été"
        for s in range(2):
            adset = f"2385440470632{c}{s:03d}"
            parent[adset], name[adset] = campaign, f'Set "{c}{s}"'
            for a in range(2):
                ad = f"2385469575920{c}{s}{a:02d}"
                parent[ad], name[ad] = adset, f"Ad {c}{s}{a}"
                for day in pd.date_range(start, periods=days):
                    if rng.random() < 0.1:
                        continue
                    impressions = int(rng.integers(1_200, 90_000))
                    clicks = int(rng.integers(1, 900))
                    rows.append(
                        {
                            "entity_type": "ad", "entity_id": ad, "date": day,
                            "spend": round(float(rng.uniform(1, 3_000)), 2), "impressions": impressions,
                            "clicks": clicks, "leads": int(rng.integers(0, 9)),
                            "reach": int(impressions * 0.6),
                        }
                    )  # fmt: skip
    return Account(daily.normalise(pd.DataFrame(rows)), parent, name)


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]], **style: Any) -> Path:
    """A delimited file; `encoding` and csv's own options by name."""
    encoding = style.pop("encoding", "utf-8")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", **style)
    writer.writerow(header)
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def tidy_csv(path: Path, frame: pd.DataFrame, parent: Mapping[str, str] | None = None) -> Path:
    """The tidy table of a daily frame."""
    out = frame.assign(parent_id=frame["entity_id"].map(parent or {}).fillna(""))
    out = out.assign(date=out["date"].dt.strftime("%Y-%m-%d"))
    columns = ["entity_type", "entity_id", "parent_id", "date", "spend", "impressions", "clicks", "leads"]
    out[[*columns, "reach"]].to_csv(path, index=False)
    return path


def insights_rows(account: Account) -> list[dict[str, Any]]:
    """Rows as the Insights API gives them: numbers as text, leads among other actions or absent."""
    found = []
    for index, row in enumerate(account.rows()):
        day = row["date"].strftime("%Y-%m-%d")
        one: dict[str, Any] = {
            "account_id": "798085168510957", "campaign_id": row["campaign"], "adset_id": row["adset"],
            "ad_id": row["ad"], "campaign_name": account.name[row["campaign"]],
            "adset_name": account.name[row["adset"]], "ad_name": account.name[row["ad"]],
            "objective": "OUTCOME_LEADS", "date_start": day, "date_stop": day, "spend": f"{row['spend']:.2f}",
            "impressions": f"{row['impressions']:.0f}", "clicks": f"{row['clicks']:.0f}",
            "reach": f"{row['reach']:.0f}",
        }  # fmt: skip
        leads = int(row["leads"])
        if leads:
            parts = [(LEAD_PARTS[0], leads // 2), (LEAD_PARTS[1], leads - leads // 2)]
            # Every other row lists the total beside its parts.
            listed = [("lead", leads), *parts] if index % 2 else parts
            one["actions"] = [
                {"action_type": "link_click", "value": "5"},
                *({"action_type": kind, "value": str(value)} for kind, value in listed if value),
            ]
        found.append(one)
    return found


def as_json(path: Path, value: Any, **style: Any) -> Path:
    """A JSON file."""
    path.write_text(json.dumps(value, ensure_ascii=False, **style), encoding="utf-8")
    return path


def shared_data(*parts: str) -> Path:
    """A path among the shared evaluation data; the test is skipped, saying so, where they are absent."""
    root = Path(os.environ.get("ADSML_SHARED_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the shared evaluation data are not at {root.resolve()}")
    return path
