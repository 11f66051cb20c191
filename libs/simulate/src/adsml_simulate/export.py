"""Writes an account as the platform's own export, so that what reads exports can be tried on it."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import date
from enum import StrEnum
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput

from adsml_simulate.account import OBJECTIVE, SimulatedAccount
from adsml_simulate.delivery import Counts
from adsml_simulate.frames import daily, dates, present, reach, sum_up

Progress = Callable[[int], None]

PAGE_ROWS: Final = 500
CHANGE_COLUMNS: Final = ("config_id", "entity_type", "entity_id", "change_type", "date", "detail")
API_VERSION: Final = "v23.0"


class ExportFormat(StrEnum):
    """How daily rows are written."""

    INSIGHTS = "insights"
    CSV = "csv"


@dataclass(frozen=True)
class Written:
    """What an export holds: its folder, files, and daily rows."""

    folder: Path
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
    counts = account.counts if as_of is None else account.counts_as_of(as_of)
    tree, first_day = account.tree, account.settings.first_day
    days = [day.isoformat() for day in dates(first_day, account.settings.days)]
    reached = reach(tree, counts.impressions, account.run.audience)[level].astype(np.int64)
    cents, impressions, clicks, leads, form = (
        np.asarray(sum_up(tree, values, level), dtype=np.int64)
        for values in (counts.cents, counts.impressions, counts.clicks, counts.leads, counts.form_leads)
    )
    names = [_names(account, level, position) for position in range(len(tree.ids(level)))]
    for position, t in zip(*np.nonzero(present(tree, counts, level)), strict=True):
        spent, shown, clicked, total, own = (
            int(values[position, t]) for values in (cents, impressions, clicks, leads, form)
        )
        row: dict[str, Any] = dict(names[position])
        row |= {
            "date_start": days[t],
            "date_stop": days[t],
            "account_currency": account.settings.currency,
            "spend": f"{spent / 100:.2f}",
            "impressions": str(shown),
            "reach": str(int(reached[position, t])),
            "clicks": str(clicked),
            "inline_link_clicks": str(clicked),
        }
        # The API leaves out what has no denominator.
        if shown:
            row["frequency"] = f"{shown / max(int(reached[position, t]), 1):.6f}"
            row["ctr"] = f"{100 * clicked / shown:.6f}"
            row["cpm"] = f"{10 * spent / shown:.6f}"
        if clicked:
            row["cpc"] = f"{spent / 100 / clicked:.6f}"
        actions = _actions(clicked, total, own)
        if actions:
            row["actions"] = [{"action_type": name, "value": str(count)} for name, count in actions.items()]
            row["cost_per_action_type"] = [
                {"action_type": name, "value": f"{spent / 100 / count:.6f}"}
                for name, count in actions.items()
            ]
        yield row


def _actions(clicks: int, leads: int, form_leads: int) -> dict[str, int]:
    counts = {
        "link_click": clicks,
        "lead": leads,
        "onsite_conversion.lead_grouped": form_leads,
        "offsite_conversion.fb_pixel_lead": leads - form_leads,
    }
    return {name: count for name, count in counts.items() if count}


def _names(account: SimulatedAccount, level: EntityType, position: int) -> dict[str, str]:
    tree, settings = account.tree, account.settings
    chain = {level: position}
    if level is EntityType.AD:
        chain[EntityType.ADSET] = int(tree.adset_of_ad[position])
    chain[EntityType.CAMPAIGN] = tree.campaign_of(level, position)
    out = {
        "account_id": account_number(settings.config_id),
        "account_name": settings.name,
        "account_currency": settings.currency,
    }
    for one in EntityType:
        if one in chain:
            out[f"{one}_id"] = tree.ids(one)[chain[one]]
            out[f"{one}_name"] = tree.names(one)[chain[one]]
    return out | {"objective": OBJECTIVE}


def write_export(
    account: SimulatedAccount,
    folder: Path,
    *,
    export_format: ExportFormat = ExportFormat.INSIGHTS,
    as_of: date | None = None,
    page_rows: int = PAGE_ROWS,
    progress: Progress | None = None,
) -> Written:
    """Write daily rows, change log and planned budgets into a new folder.

    ``insights/<level>-<page>.json`` or ``daily.csv``, ``changes.json`` and ``changes.csv``, ``planned_budgets.csv``; as
    seen at the end of a day with `as_of`. `progress` is told the number of rows after each page.

    Raises
    ------
    InvalidInput
        If the folder holds something already, or the day is not one of the account's.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InvalidInput.at("out", f"{folder} is not empty; give a new folder")
    last = as_of or account.settings.last_day
    account.settings.index(last, path="as_of")
    folder.mkdir(parents=True, exist_ok=True)
    if export_format is ExportFormat.INSIGHTS:
        files, rows = _write_pages(account, folder / "insights", as_of, page_rows, progress)
    else:
        files, rows = [folder / "daily.csv"], write_tidy(account, folder / "daily.csv", as_of=as_of)
        if progress is not None:
            progress(rows)
    changes = [event for event in account.changes if event.date <= last]
    files += [folder / "changes.json", folder / "changes.csv", folder / "planned_budgets.csv"]
    write_changes(changes, folder)
    account.planned_budgets.to_csv(folder / "planned_budgets.csv", index=False, date_format="%Y-%m-%d")
    return Written(folder, tuple(files), rows)


def _write_pages(
    account: SimulatedAccount, folder: Path, as_of: date | None, page_rows: int, progress: Progress | None
) -> tuple[list[Path], int]:
    if page_rows < 1:
        raise InvalidInput.at("page_rows", f"is {page_rows}; expected 1 or more")
    folder.mkdir()
    files: list[Path] = []
    rows = 0
    for level in EntityType:
        every = insights_rows(account, level, as_of=as_of)
        pages: Iterator[list[dict[str, Any]]] = iter(lambda: list(islice(every, page_rows)), [])  # noqa: B023
        for page, (data, following) in enumerate(pairwise(chain(pages, [[]])), 1):
            rows += len(data)
            files.append(folder / f"{level}-{page:04d}.json")
            body = {"data": data, "paging": _paging(account, level, page, more=bool(following))}
            files[-1].write_text(json.dumps(body, ensure_ascii=False) + "\n", encoding="utf-8")
            if progress is not None:
                progress(len(data))
    return files, rows


def _paging(account: SimulatedAccount, level: EntityType, page: int, *, more: bool) -> dict[str, Any]:
    after = f"cursor{page}"
    paging: dict[str, Any] = {"cursors": {"before": f"cursor{page - 1}", "after": after}}
    act = account_number(account.settings.config_id)
    edge = f"https://graph.facebook.com/{API_VERSION}/act_{act}/insights?level={level}&time_increment=1"
    if page > 1:
        paging["previous"] = f"{edge}&before=cursor{page - 1}"
    if more:
        paging["next"] = f"{edge}&after={after}"
    return paging


def write_tidy(account: SimulatedAccount, path: Path, *, as_of: date | None = None) -> int:
    """Write the daily frame with ``parent_id`` as a tidy CSV; the number of rows."""
    counts: Counts = account.counts if as_of is None else account.counts_as_of(as_of)
    frame = daily(account.tree, counts, account.run.audience, account.settings.first_day)
    parents = {entity.ref.entity_id: entity.parent_id or "" for entity in account.entities}
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
    with (folder / "changes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, CHANGE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "detail": json.dumps(row["detail"])} for row in rows)


def write_truth(account: SimulatedAccount, folder: Path) -> tuple[Path, ...]:
    """Write the truth as ``truth/{entities,effects,counterfactuals,anomalies}.csv`` below a folder."""
    below = folder / "truth"
    below.mkdir(parents=True, exist_ok=True)
    files = tuple(below / f"{one.name}.csv" for one in fields(account.truth))
    for path in files:
        getattr(account.truth, path.stem).to_csv(path, index=False, date_format="%Y-%m-%d")
    return files
