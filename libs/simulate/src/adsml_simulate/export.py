"""Writes an account as the platform's own export, so that what reads exports can be tried on it."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import date, timedelta
from enum import StrEnum
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput

from adsml_simulate.account import OBJECTIVE, SimulatedAccount
from adsml_simulate.frames import present, reach, sum_up

PAGE_ROWS: Final = 500
CHANGE_COLUMNS: Final = ["config_id", "entity_type", "entity_id", "change_type", "date", "detail"]
API_VERSION: Final = "v23.0"


class ExportFormat(StrEnum):
    """How daily rows are written."""

    INSIGHTS = "insights"
    CSV = "csv"


@dataclass(frozen=True)
class Written:
    """What an export holds: its files, and how many daily rows."""

    files: tuple[Path, ...]
    rows: int


def account_number(config_id: int) -> str:
    """The ad account's id as the platform writes it."""
    return f"10150{config_id:010d}"


def insights_rows(
    account: SimulatedAccount, level: EntityType, *, as_of: date | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of one level as the Insights API gives them, by entity and day; all leads in without `as_of`.

    Numbers are strings. ``actions`` has ``link_click`` and, where there are leads, ``lead`` (their total)
    beside its parts ``onsite_conversion.lead_grouped`` (the platform's own form) and
    ``offsite_conversion.fb_pixel_lead`` (website); it is absent where nothing happened.
    """
    counts, tree = account.counts_as_of(as_of), account.tree
    days = [
        (account.settings.first_day + timedelta(days=t)).isoformat() for t in range(account.settings.days)
    ]
    reached = reach(tree, counts.impressions, account.run.audience)[level].astype(np.int64)
    # Ad sets in turn lead to the platform's own form, to the website, or to both.
    destination = (tree.adset_of_ad % 3)[:, None]
    own_form = np.where(destination == 0, counts.leads, np.where(destination == 1, 0, counts.leads // 2))
    cents, impressions, clicks, leads, form = (
        sum_up(tree, values, level)
        for values in (counts.cents, counts.impressions, counts.clicks, counts.leads, own_form)
    )
    names = [_names(account, level, position) for position in range(len(tree.ids(level)))]
    for position, t in zip(*np.nonzero(present(tree, counts, level)), strict=True):
        spent, shown, clicked, total, own, people = (
            int(values[position, t]) for values in (cents, impressions, clicks, leads, form, reached)
        )
        row = names[position] | {
            "date_start": days[t],
            "date_stop": days[t],
            "spend": f"{spent / 100:.2f}",
            "impressions": str(shown),
            "reach": str(people),
            "clicks": str(clicked),
            "inline_link_clicks": str(clicked),
        }
        # The API leaves out what has no denominator.
        if shown:
            row["frequency"] = f"{shown / max(people, 1):.6f}"
            row["ctr"] = f"{100 * clicked / shown:.6f}"
            row["cpm"] = f"{10 * spent / shown:.6f}"
        if clicked:
            row["cpc"] = f"{spent / 100 / clicked:.6f}"
        actions = {
            "link_click": clicked,
            "lead": total,
            "onsite_conversion.lead_grouped": own,
            "offsite_conversion.fb_pixel_lead": total - own,
        }
        if actions := {name: count for name, count in actions.items() if count}:
            per_action = {name: f"{spent / 100 / count:.6f}" for name, count in actions.items()}
            for field, values in (("actions", actions), ("cost_per_action_type", per_action)):
                row[field] = [{"action_type": name, "value": str(value)} for name, value in values.items()]
        yield row


def _names(account: SimulatedAccount, level: EntityType, position: int) -> dict[str, Any]:
    tree, settings = account.tree, account.settings
    places = {EntityType.CAMPAIGN: tree.campaign_of(level, position), level: position}
    if level is EntityType.AD:
        places[EntityType.ADSET] = int(tree.adset_of_ad[position])
    out = {
        "account_id": account_number(settings.config_id),
        "account_name": settings.name,
        "account_currency": settings.currency,
    }
    for one, at in sorted(places.items(), key=lambda item: list(EntityType).index(item[0])):
        out |= {f"{one}_id": tree.ids(one)[at], f"{one}_name": tree.names(one)[at]}
    return out | {"objective": OBJECTIVE}


def write_export(
    account: SimulatedAccount,
    folder: Path,
    *,
    export_format: ExportFormat = ExportFormat.INSIGHTS,
    as_of: date | None = None,
    page_rows: int = PAGE_ROWS,
) -> Written:
    """Write daily rows and change log into a new folder.

    ``insights/<level>-<page>.json`` or ``daily.csv``, ``changes.json`` and ``changes.csv``; as seen at the end of a day
    with `as_of`. `InvalidInput` if the folder holds something already, or the day is not one of the account's.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InvalidInput.at("out", f"{folder} is not empty; give a new folder")
    last = as_of or account.settings.last_day
    account.settings.index(last, path="as_of")
    folder.mkdir(parents=True, exist_ok=True)
    if export_format is ExportFormat.INSIGHTS:
        files, rows = _write_pages(account, folder / "insights", as_of, page_rows)
    else:
        files, rows = [folder / "daily.csv"], write_tidy(account, folder / "daily.csv", as_of=as_of)
    changes = [event for event in account.changes if event.date <= last]
    files += [folder / "changes.json", folder / "changes.csv"]
    write_changes(changes, folder)
    return Written(tuple(files), rows)


def _write_pages(
    account: SimulatedAccount, folder: Path, as_of: date | None, page_rows: int
) -> tuple[list[Path], int]:
    folder.mkdir()
    act = account_number(account.settings.config_id)
    edge = f"https://graph.facebook.com/{API_VERSION}/act_{act}/insights"
    files: list[Path] = []
    rows = 0
    for level in EntityType:
        every = insights_rows(account, level, as_of=as_of)
        pages: Iterator[list[dict[str, Any]]] = iter(lambda: list(islice(every, page_rows)), [])  # noqa: B023
        for page, (data, following) in enumerate(pairwise(chain(pages, [[]])), 1):
            rows += len(data)
            files.append(folder / f"{level}-{page:04d}.json")
            paging: dict[str, Any] = {"cursors": {"before": f"cursor{page - 1}", "after": f"cursor{page}"}}
            if page > 1:
                paging["previous"] = f"{edge}?level={level}&time_increment=1&before=cursor{page - 1}"
            if following:
                paging["next"] = f"{edge}?level={level}&time_increment=1&after=cursor{page}"
            body = {"data": data, "paging": paging}
            files[-1].write_text(json.dumps(body, ensure_ascii=False) + "\n", encoding="utf-8")
    return files, rows


def write_tidy(account: SimulatedAccount, path: Path, *, as_of: date | None = None) -> int:
    """Write the daily frame with ``parent_id`` as a tidy CSV; the number of rows."""
    parents = {entity.ref.entity_id: entity.parent_id or "" for entity in account.entities}
    frame = account.as_of(as_of).copy()
    frame.insert(2, "parent_id", frame["entity_id"].map(parents))
    frame = frame.astype(dict.fromkeys(("impressions", "clicks", "leads", "reach"), np.int64))
    frame.to_csv(path, index=False, float_format="%.2f", date_format="%Y-%m-%d")
    return len(frame)


def write_changes(changes: list[ChangeEvent], folder: Path) -> None:
    """Write the change log as ``changes.json`` and ``changes.csv`` (there ``detail`` is JSON text)."""
    rows: list[dict[str, Any]] = [
        {
            **asdict(event.entity),
            "change_type": event.change_type.value,
            "date": event.date.isoformat(),
            "detail": event.detail,
        }
        for event in changes
    ]
    text = json.dumps({"changes": rows}, indent=1, ensure_ascii=False)
    (folder / "changes.json").write_text(text + "\n", encoding="utf-8")
    table = pd.DataFrame(
        [{**row, "detail": json.dumps(row["detail"])} for row in rows], columns=CHANGE_COLUMNS
    )
    table.to_csv(folder / "changes.csv", index=False)


def write_truth(account: SimulatedAccount, folder: Path) -> tuple[Path, ...]:
    """Write the truth as ``truth/{entities,effects,anomalies}.csv`` below a folder."""
    below = folder / "truth"
    below.mkdir(parents=True, exist_ok=True)
    files = tuple(below / f"{one.name}.csv" for one in fields(account.truth))
    for path in files:
        getattr(account.truth, path.stem).to_csv(path, index=False, date_format="%Y-%m-%d")
    return files
