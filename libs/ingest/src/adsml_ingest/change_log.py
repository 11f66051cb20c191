"""Reads an account's change log: what was changed, and when.

A table with a header, or JSON: ``{"changes": [...]}`` or a list. One row, or object, per change:
``entity_type``, ``entity_id``, ``change_type``, ``date`` (the first day it was in force), and optionally
``budget_before`` and ``budget_after`` (account's currency per day), ``description``, ``detail`` (an object; in a table
as JSON text) and ``config_id``, which must be the account's where it is given. Meta's own log of activities is read
too: see `activity_log`.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput, Violations

from adsml_ingest import activity_log, days, numerals
from adsml_ingest.days import NotADay, OrderEvidence
from adsml_ingest.files import list_files
from adsml_ingest.numerals import DecimalEvidence
from adsml_ingest.options import ImportOptions
from adsml_ingest.sheet import Sheet, open_delimited
from adsml_ingest.source import SourceFile, ignore, sniff
from adsml_ingest.stamps import local_day
from adsml_ingest.tree import BadId, clean_id

_REQUIRED: Final = ("entity_type", "entity_id", "change_type", "date")
_OPTIONAL: Final = ("budget_before", "budget_after", "description", "detail", "config_id")
_AMOUNTS: Final = ("budget_before", "budget_after")
_MOST_FAULTS: Final = 50


@dataclass(frozen=True, slots=True)
class KnownAccount:
    """What the store knows of the account that a log is about.

    Attributes
    ----------
    config_id
        Its number.
    entities
        Its entities; none of an account that was never loaded.
    currency_code, time_zone
        As in `adsml_common.store.accounts.Account`.
    """

    config_id: int
    entities: Sequence[Entity] = ()
    currency_code: str | None = None
    time_zone: str | None = None


@dataclass(slots=True)
class ChangeLog:
    """The changes of a file.

    Attributes
    ----------
    events
        One per entity, day and kind of change, in the file's order.
    warnings
        What the caller should know.
    """

    events: list[ChangeEvent] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Style:
    decimal: str | None
    order: Any


def read_changes(path: Path, *, account: KnownAccount, options: ImportOptions | None = None) -> ChangeLog:
    """The changes of a file.

    Raises
    ------
    InvalidInput
        Naming every place that is wrong: a line of the table, an index of the JSON.
    """
    options = options or ImportOptions()
    with TemporaryDirectory(prefix="adsml-changes-") as scratch:
        files = list_files([path], Path(scratch) / "unpacked").files
        if len(files) != 1:
            raise InvalidInput.at(str(path), f"holds {len(files)} files; a change log is one")
        source = sniff(files[0], options.encoding)
        head = next(source.blocks(), "").lstrip()[:1]
        if head in ("{", "["):
            log = _read_json("".join(source.blocks()), files[0], account, options)
        else:
            log = _read_table(open_delimited(source), account, options)
    _check_entities(log, account)
    return log


def _read_json(text: str, file: SourceFile, account: KnownAccount, options: ImportOptions) -> ChangeLog:
    name = file.path.name
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput.at(str(file.path), f"is not JSON: {error}") from error
    activities = activity_log.activities_of(body)
    if activities is not None:
        return _activities(
            [(f"{name}: data[{index}]", row) for index, row in enumerate(activities)], account, options
        )
    rows = body.get("changes") if isinstance(body, dict) else body
    if not isinstance(rows, list):
        raise InvalidInput.at(
            str(file.path), 'has no list of changes; expected {"changes": [...]}, [...] or Meta\'s activities'
        )
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InvalidInput.at(f"{name}: changes[{index}]", "is no object")
    places = [(f"{name}: changes[{index}]", row) for index, row in enumerate(rows)]
    return _read_rows(places, _Style(options.decimal, options.date_order), account, options)


def _read_table(sheet: Sheet, account: KnownAccount, options: ImportOptions) -> ChangeLog:
    name = sheet.path.name
    if activity_log.is_history(sheet.names):
        rows = [(f"{name}: line {line}", row) for line, row in _rows(sheet, dict(enumerate_names(sheet)))]
        return _activities([(place, activity_log.of_history(row)) for place, row in rows], account, options)
    positions = {one: at for one in (*_REQUIRED, *_OPTIONAL) if (at := sheet.position(one)) is not None}
    missing = [one for one in _REQUIRED if one not in positions]
    if missing:
        cure = f"expected {', '.join(_REQUIRED)}, or Meta's activity history"
        what = f"has no column {', '.join(missing)}; it has {', '.join(sheet.names)[:200]}; {cure}"
        raise InvalidInput.at(f"{name}: line {sheet.header_line}", what)
    numbers, dates = DecimalEvidence(), OrderEvidence()
    looked_at: dict[str, int] = {one: positions[one] for one in ("date", *_AMOUNTS) if one in positions}
    for cells in sheet.texts(looked_at):
        numbers.add([cell for one in _AMOUNTS for cell in cells.get(one, [])], [])
        dates.add(cells["date"])
    style = _Style(options.decimal or numbers.decimal, options.date_order or dates.order)
    if style.decimal is None and any(one in positions for one in _AMOUNTS):
        position = next(positions[one] for one in _AMOUNTS if one in positions)
        raise sheet.unclear_decimal(position, comma=numbers.comma)
    rows = [(f"{name}: line {line}", row) for line, row in _rows(sheet, positions)]
    return _read_rows(rows, style, account, options)


def enumerate_names(sheet: Sheet) -> Iterator[tuple[str, int]]:
    """Columns of a table with their positions."""
    for position, name in enumerate(sheet.names):
        if name:
            yield name, position


def _rows(sheet: Sheet, positions: Mapping[str, int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a table, each with its line."""
    for batch in sheet.read(positions, ignore):
        broken = {fault.row: fault for fault in batch.faults}
        for row in range(batch.size):
            if batch.left_out is not None and batch.left_out[row]:
                continue
            line = int(batch.lines[row])
            if row in broken:
                raise InvalidInput.at(f"{sheet.path.name}: line {line}", broken[row].what)
            yield line, {name: cells[row] for name, cells in batch.cells.items()}


def _read_rows(
    rows: Sequence[tuple[str, Mapping[str, Any]]],
    style: _Style,
    account: KnownAccount,
    options: ImportOptions,
) -> ChangeLog:
    faults, log = Violations(), ChangeLog()
    for place, row in rows:
        before = len(faults.found)
        event = _event(place, row, style, account, options, faults)
        if event is not None and len(faults.found) == before:
            _add(log, place, event)
        if len(faults.found) >= _MOST_FAULTS:
            break
    faults.raise_if_any()
    return log


def _activities(
    rows: Sequence[tuple[str, activity_log.Activity | Mapping[str, Any] | None]],
    account: KnownAccount,
    options: ImportOptions,
) -> ChangeLog:
    """Changes out of Meta's log of activities, oldest first."""
    faults, log, other = Violations(), ChangeLog(), Counter[str]()
    read: list[tuple[float, str, ChangeEvent]] = []
    for place, row in rows:
        try:
            activity = row if isinstance(row, activity_log.Activity) else activity_log.of_api(row or {})
            change = activity_log.change_of(
                activity, account.config_id, account.entities, account.currency_code
            )
        except ValueError as error:
            faults.add(place, str(error))
            continue
        if change is None:
            other[activity.kind] += 1
            continue
        entity, kind, detail = change
        day = local_day(activity.moment, account.time_zone)
        if day > options.last_day:
            faults.add(place, f"{day} lies in the future")
            continue
        read.append((activity.moment.timestamp(), place, ChangeEvent(entity, kind, day, detail)))
    faults.raise_if_any()
    for _, place, event in sorted(read, key=lambda one: one[0]):
        _add(log, place, event)
    if other:
        kinds = ", ".join(f"{kind} ({number})" for kind, number in other.most_common(6))
        log.warnings.append(f"{other.total():,} activities are no changes that models use: {kinds}")
    if account.time_zone is None and read:
        log.warnings.append("the account's time zone is not known: days are those of the times as written")
    return log


def _add(log: ChangeLog, place: str, event: ChangeEvent) -> None:
    if activity_log.join(log.events, event):
        log.warnings.append(
            f"{place}: a second {event.change_type} of {event.entity} on {event.date}: the two are one change, "
            "from the first state to the last"
        )


def _event(
    place: str,
    row: Mapping[str, Any],
    style: _Style,
    account: KnownAccount,
    options: ImportOptions,
    faults: Violations,
) -> ChangeEvent | None:
    def chosen(name: str, kind: type[EntityType] | type[ChangeType]) -> str | None:
        shown = str(row.get(name) or "").strip().lower()
        if shown not in {one.value for one in kind}:
            faults.add(
                place, f"{name} {shown!r} is not known; expected {', '.join(one.value for one in kind)}"
            )
            return None
        return shown

    level, change = chosen("entity_type", EntityType), chosen("change_type", ChangeType)
    entity_id = ""
    try:
        entity_id = clean_id(row.get("entity_id") if row.get("entity_id") is not None else "", digits=False)
        if not entity_id:
            faults.add(place, "entity_id is empty")
    except BadId as error:
        faults.add(place, f"entity_id {row.get('entity_id')!r} {error.what}; {error.cure}")
    config_id = row.get("config_id")
    if config_id not in (None, "") and str(config_id) != str(account.config_id):
        faults.add(
            place, f"config_id is {config_id}, and the change is loaded into account {account.config_id}"
        )
    day = _day(place, row.get("date"), style, account, options, faults)
    detail = _detail(place, row, style, faults)
    if level is None or change is None or day is None or not entity_id:
        return None
    ref = EntityRef(account.config_id, EntityType(level), entity_id)
    return ChangeEvent(ref, ChangeType(change), day, detail)


def _day(
    place: str, cell: Any, style: _Style, account: KnownAccount, options: ImportOptions, faults: Violations
) -> date | None:
    moment = activity_log.moment_of(cell)
    try:
        day = local_day(moment, account.time_zone) if moment else days.to_date(days.day(cell, style.order))
    except NotADay as error:
        faults.add(place, f"date {cell!r} {error.what}; {error.cure}")
        return None
    if day > options.last_day:
        faults.add(
            place, f"date {cell!r} lies in the future: it is after {options.last_day}; correct the date"
        )
    elif day < days.FIRST_DAY:
        faults.add(place, f"date {cell!r} is before {days.FIRST_DAY}; correct the date")
    return day


def _detail(place: str, row: Mapping[str, Any], style: _Style, faults: Violations) -> dict[str, float | str]:
    """What else is told of a change; amounts as numbers."""
    raw = row.get("detail")
    if isinstance(raw, str) and raw.strip():
        try:
            raw = json.loads(raw)
        except (ValueError, RecursionError):
            raw = [raw]
    if raw and not isinstance(raw, Mapping):
        faults.add(place, "detail is no JSON object")
        raw = None
    detail: dict[str, float | str] = {
        str(key): float(value) if isinstance(value, int | float) else str(value)
        for key, value in (raw or {}).items()
    }
    if str(row.get("description") or "").strip():
        detail["description"] = str(row["description"]).strip()
    for name in _AMOUNTS:
        shown = row.get(name)
        if shown in (None, ""):
            continue
        amount = numerals.number(shown, decimal=style.decimal)
        if amount is None or not math.isfinite(amount) or amount < 0:
            faults.add(place, f"{name} {shown!r} is not an amount; expected a number such as 120.50")
        else:
            detail[name] = amount
    return detail


def _check_entities(log: ChangeLog, account: KnownAccount) -> None:
    """Refuse changes of what the account does not have, where it has entities of that level at all.

    Raises
    ------
    InvalidInput
        Naming them.
    """
    known = {(entity.ref.entity_type, entity.ref.entity_id) for entity in account.entities}
    levels = {level for level, _ in known}
    faults = Violations()
    untold = Counter[str]()
    for event in log.events:
        level = event.entity.entity_type
        if level not in levels:
            untold[level.value] += 1
        elif (level, event.entity.entity_id) not in known:
            faults.add(
                f"{event.entity}",
                "is not among the account's entities; check the id, or import its rows first",
            )
    faults.raise_if_any()
    for level_name, number in untold.items():
        log.warnings.append(
            f"{number:,} changes are of {level_name}s, of which the account has no rows yet: they can't be measured"
        )
