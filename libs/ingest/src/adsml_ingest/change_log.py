"""Reads an account's change log: what was changed, and when.

A table with a header, or JSON: ``{"changes": [...]}`` or a list. One row, or object, per change:
``entity_type``, ``entity_id``, ``change_type``, ``date`` (the first day it was in force), and optionally
``budget_before`` and ``budget_after`` (account's currency per day), ``description``, ``detail`` (an object; in a table
as JSON text) and ``config_id``, which must be the account's where it is given. Meta's own log of activities is read
too: see `activity_log`.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput, Violations

from adsml_ingest import activity_log, days, numerals
from adsml_ingest.activity_log import Activity, KnownAccount
from adsml_ingest.days import NotADay, OrderEvidence
from adsml_ingest.detect import ZIP_MAGIC
from adsml_ingest.files import list_files
from adsml_ingest.jsonstream import Pages, read_objects
from adsml_ingest.numerals import DecimalEvidence
from adsml_ingest.options import ImportOptions
from adsml_ingest.sheet import Sheet, key, open_delimited
from adsml_ingest.source import SourceFile, TextSource, ignore, sniff
from adsml_ingest.stamps import local_day
from adsml_ingest.tree import BadId, clean_id

__all__ = ["ChangeLog", "KnownAccount", "read_activities", "read_changes"]

_REQUIRED: Final = ("entity_type", "entity_id", "change_type", "date")
_AMOUNTS: Final = ("budget_before", "budget_after")
_OPTIONAL: Final = (*_AMOUNTS, "description", "detail", "config_id")
_MOST_FAULTS: Final = 50


@dataclass(slots=True)
class ChangeLog:
    """The changes of a file: one per entity, day and kind of change, in the file's order."""

    events: list[ChangeEvent] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, place: str, event: ChangeEvent) -> None:
        """Add a change; a second one of a kind, entity and day goes on where the first ended, with a warning."""
        if activity_log.join(self.events, event):
            self.warnings.append(
                f"{place}: a second {event.change_type} of {event.entity} on {event.date}: the two are one change, "
                "from the first state to the last"
            )


def read_changes(path: Path, *, account: KnownAccount, options: ImportOptions | None = None) -> ChangeLog:
    """The changes of a file.

    Raises `InvalidInput` naming every place that is wrong: a line of the table, an index of the JSON.
    """
    options = options or ImportOptions()
    with TemporaryDirectory(prefix="adsml-changes-") as scratch:
        files = list_files([path], Path(scratch) / "unpacked").files
        if len(files) != 1:
            raise InvalidInput.at(str(path), f"holds {len(files)} files; a change log is one")
        log = _read(files[0], account, options)
    _check_entities(log, account)
    return log


def _read(file: SourceFile, account: KnownAccount, options: ImportOptions) -> ChangeLog:
    if file.head(4) == ZIP_MAGIC:
        from adsml_ingest.workbook import open_workbook  # noqa: PLC0415  # slow to import, and seldom needed

        return _read_table(open_workbook(file, is_export=_is_log), account, options)
    source = sniff(file, options.encoding)
    if next(source.blocks(), "").lstrip()[:1] in ("{", "["):
        return _read_json(source, account, options)
    return _read_table(open_delimited(source), account, options)


def _is_log(names: Sequence[str]) -> bool:
    return set(_REQUIRED) <= {key(name) for name in names} or activity_log.is_history(names)


def _read_json(source: TextSource, account: KnownAccount, options: ImportOptions) -> ChangeLog:
    name, pages = source.file.path.name, Pages()
    rows: list[tuple[str, dict[str, Any]]] = []
    for one in read_objects(source, pages=pages):
        if one.value is None:
            raise InvalidInput.at(f"{name}: line {one.line}", one.error)
        rows.append((f"{name}: data[{len(rows)}]", one.value))
    if pages.last_has_next:
        cure = "fetch the following pages too, and put them into one file"
        raise source.file.refusal(
            "unfinished_pages", "ends with a page that names a next one (paging.next)", cure
        )
    if rows and all("event_type" in row for _, row in rows):
        return read_activities(rows, account, options.last_day)
    changes = rows[0][1].get("changes") if len(rows) == 1 else None
    if not isinstance(changes, list):
        changes = [row for _, row in rows]
        if changes and not any(_REQUIRED[0] in row for row in changes):
            what = 'has no list of changes; expected {"changes": [...]}, [...] or Meta\'s activities'
            raise InvalidInput.at(str(source.file.path), what)
    for index, row in enumerate(changes):
        if not isinstance(row, dict):
            raise InvalidInput.at(f"{name}: changes[{index}]", "is no object")
    places = [(f"{name}: changes[{index}]", row) for index, row in enumerate(changes)]
    return _RowReader(account, options).read(places)


def _read_table(sheet: Sheet, account: KnownAccount, options: ImportOptions) -> ChangeLog:
    if activity_log.is_history(sheet.names):
        every = {name: position for position, name in enumerate(sheet.names) if name}
        rows = _rows(sheet, every)
        return read_activities(rows, account, options.last_day, parse=activity_log.of_history)
    positions = sheet.positions({name: name for name in (*_REQUIRED, *_OPTIONAL)})
    missing = [one for one in _REQUIRED if one not in positions]
    if missing:
        cure = f"expected {', '.join(_REQUIRED)}, or Meta's activity history"
        what = f"has no column {', '.join(missing)}; it has {', '.join(sheet.names)[:200]}; {cure}"
        raise InvalidInput.at(f"{sheet.file.path.name}: line {sheet.header_line}", what)
    numbers, dates = DecimalEvidence(), OrderEvidence()
    amounts = [one for one in _AMOUNTS if one in positions]
    for cells in sheet.texts({one: positions[one] for one in ("date", *amounts)}):
        numbers.add([cell for one in amounts for cell in cells[one]], [])
        dates.add(cells["date"])
    options = replace(
        options, decimal=options.decimal or numbers.decimal, date_order=options.date_order or dates.order
    )
    if options.decimal is None and amounts:
        raise sheet.unclear_decimal(positions[amounts[0]], comma=numbers.comma)
    return _RowReader(account, options).read(_rows(sheet, positions))


def _rows(sheet: Sheet, positions: Mapping[str, int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a table, each with its place."""
    for batch in sheet.read(positions, ignore):
        broken = {fault.row: fault for fault in batch.faults}
        for row in range(batch.size):
            if batch.left_out is not None and batch.left_out[row]:
                continue
            place = f"{sheet.file.path.name}: line {int(batch.lines[row])}"
            if row in broken:
                raise InvalidInput.at(place, broken[row].what)
            yield place, {name: cells[row] for name, cells in batch.cells.items()}


def read_activities(
    rows: Iterable[tuple[str, Mapping[str, Any]]], account: KnownAccount, last_day: date, *,
    parse: Callable[[Mapping[str, Any]], Activity] = activity_log.of_api, faults: Violations | None = None,
) -> ChangeLog:  # fmt: skip
    """Changes out of Meta's log of activities, each with its place; oldest first.

    Raises `InvalidInput` naming what can't be read, unless the caller takes `faults`.
    """
    faulty, log, other = Violations() if faults is None else faults, ChangeLog(), Counter[str]()
    read: list[tuple[float, str, ChangeEvent]] = []
    for place, row in rows:
        try:
            activity = parse(row)
            change = activity_log.change_of(activity, account)
        except ValueError as error:
            faulty.add(place, str(error))
            continue
        if change is None:
            other[activity.kind] += 1
            continue
        entity, kind, detail = change
        day = local_day(activity.moment, account.time_zone)
        if day > last_day:
            faulty.add(place, f"{day} lies in the future")
            continue
        read.append((activity.moment.timestamp(), place, ChangeEvent(entity, kind, day, detail)))
    if faults is None:
        faulty.raise_if_any()
    for _, place, event in sorted(read, key=lambda one: one[0]):
        log.add(place, event)
    if other:
        kinds = ", ".join(f"{kind} ({number})" for kind, number in other.most_common(6))
        log.warnings.append(f"{other.total():,} activities are no changes that models use: {kinds}")
    if account.time_zone is None and read:
        log.warnings.append("the account's time zone is not known: days are those of the times as written")
    return log


@dataclass(slots=True)
class _RowReader:
    """Turns rows in our own words into changes; what is wrong with them is gathered."""

    account: KnownAccount
    options: ImportOptions
    faults: Violations = field(default_factory=Violations)

    def read(self, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> ChangeLog:
        log = ChangeLog()
        for place, row in rows:
            before = len(self.faults.found)
            event = self._event(place, row)
            if event is not None and len(self.faults.found) == before:
                log.add(place, event)
            if len(self.faults.found) >= _MOST_FAULTS:
                break
        self.faults.raise_if_any()
        return log

    def _event(self, place: str, row: Mapping[str, Any]) -> ChangeEvent | None:
        def chosen(name: str, kind: type[EntityType] | type[ChangeType]) -> str | None:
            shown = str(row.get(name) or "").strip()
            known = {_bare(one.value): one.value for one in kind}
            if _bare(shown) not in known:
                expected = ", ".join(known.values())
                self.faults.add(place, f"{name} {shown!r} is not known; expected {expected}")
            return known.get(_bare(shown))

        level, change = chosen("entity_type", EntityType), chosen("change_type", ChangeType)
        cell, entity_id = row.get("entity_id"), ""
        try:
            entity_id = clean_id("" if cell is None else cell, digits=False)
            if not entity_id:
                self.faults.add(place, "entity_id is empty")
        except BadId as error:
            self.faults.add(place, f"entity_id {cell!r} {error.what}; {error.cure}")
        number, own = row.get("config_id"), self.account.config_id
        if number not in (None, "") and str(number) != str(own):
            self.faults.add(place, f"config_id is {number}, and the change is loaded into account {own}")
        day = self._day(place, row.get("date"))
        detail = self._detail(place, row)
        if level is None or change is None or day is None or not entity_id:
            return None
        return ChangeEvent(EntityRef(own, EntityType(level), entity_id), ChangeType(change), day, detail)

    def _day(self, place: str, cell: Any) -> date | None:
        moment, last = activity_log.moment_of(cell), self.options.last_day
        try:
            if moment:
                day = local_day(moment, self.account.time_zone)
            else:
                day = days.to_date(days.day(cell, self.options.date_order))
        except NotADay as error:
            self.faults.add(place, f"date {cell!r} {error.what}; {error.cure}")
            return None
        if day > last:
            self.faults.add(place, f"date {cell!r} lies in the future: it is after {last}; correct the date")
        elif day < days.FIRST_DAY:
            self.faults.add(place, f"date {cell!r} is before {days.FIRST_DAY}; correct the date")
        return day

    def _detail(self, place: str, row: Mapping[str, Any]) -> dict[str, float | str]:
        """What else is told of a change; amounts as numbers."""
        raw = row.get("detail")
        if isinstance(raw, str) and raw.strip():
            try:
                raw = json.loads(raw)
            except (ValueError, RecursionError):
                raw = [raw]
        if raw and not isinstance(raw, Mapping):
            self.faults.add(place, "detail is no JSON object")
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
            amount = numerals.number(shown, decimal=self.options.decimal)
            if amount is None or amount < 0:
                self.faults.add(place, f"{name} {shown!r} is not an amount; expected a number such as 120.50")
            else:
                detail[name] = amount
        return detail


def _bare(word: str) -> str:
    return "".join(filter(str.isalnum, word.casefold()))


def _check_entities(log: ChangeLog, account: KnownAccount) -> None:
    """Refuse changes of what the account does not have, where it has entities of that level at all."""
    known = {(entity.ref.entity_type, entity.ref.entity_id) for entity in account.entities}
    levels = {level for level, _ in known}
    faults, untold = Violations(), Counter[str]()
    for event in log.events:
        level = event.entity.entity_type
        if level not in levels:
            untold[level.value] += 1
        elif (level, event.entity.entity_id) not in known:
            cure = "check the id, or import its rows first"
            faults.add(f"{event.entity}", f"is not among the account's entities; {cure}")
    faults.raise_if_any()
    for level_name, number in untold.items():
        log.warnings.append(
            f"{number:,} changes are of {level_name}s, of which the account has no rows yet: they can't be measured"
        )
