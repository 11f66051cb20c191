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
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput, Violations

from adsml_ingest import activity_log, dates, numerals
from adsml_ingest.activity_log import Activity, KnownAccount
from adsml_ingest.dates import local_day
from adsml_ingest.detect import open_inside
from adsml_ingest.files import TextSource, list_files
from adsml_ingest.jsonstream import Pages, read_objects
from adsml_ingest.options import ImportOptions
from adsml_ingest.problems import BadCell
from adsml_ingest.sheet import Sheet, key
from adsml_ingest.tree import clean_id

__all__ = ["ChangeLog", "KnownAccount", "read_activities", "read_changes"]

_REQUIRED: Final = ("entity_type", "entity_id", "change_type", "date")
_AMOUNTS: Final = ("budget_before", "budget_after")
_OPTIONAL: Final = (*_AMOUNTS, "description", "detail", "config_id")
_MOST_FAULTS: Final = 50
T = TypeVar("T")
E = TypeVar("E", EntityType, ChangeType)


@dataclass(slots=True)
class ChangeLog:
    """The changes of a file: one per entity, day and kind of change, in the file's order."""

    events: list[ChangeEvent] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, place: str, event: ChangeEvent) -> None:
        """Add a change; a second one of a kind, entity and day goes on where the first ended, with a warning."""
        key = (event.entity, event.change_type, event.date)
        known = ((one.entity, one.change_type, one.date) == key for one in self.events)
        at = next((index for index, same in enumerate(known) if same), None)
        if at is None:
            self.events.append(event)
        elif (earlier := self.events[at].detail) != event.detail:
            merged = {**earlier, **event.detail}
            if "budget_before" in earlier:
                merged["budget_before"] = earlier["budget_before"]
            self.events[at] = replace(event, detail=merged)
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
        inside = open_inside(files[0], options, is_export=_is_log)
        if isinstance(inside, TextSource):
            log = _read_json(inside, account, options)
        else:
            log = _read_table(inside, account, options)
    _check_entities(log, account)
    return log


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
        what = "ends with a page that names a next one (paging.next)"
        cure = "fetch the following pages too, and put them into one file"
        raise source.file.refusal("unfinished_pages", what, cure)
    if rows and all("event_type" in row for _, row in rows):
        return read_activities(rows, account, options.last_day)
    changes = rows[0][1].get("changes") if len(rows) == 1 else None
    if not isinstance(changes, list):
        changes = [row for _, row in rows]
        if changes and not any(_REQUIRED[0] in row for row in changes):
            what = 'has no list of changes; expected {"changes": [...]}, [...] or Meta\'s activities'
            raise InvalidInput.at(str(source.file.path), what)
    placed = [(f"{name}: changes[{index}]", row) for index, row in enumerate(changes)]
    for place, row in placed:
        if not isinstance(row, dict):
            raise InvalidInput.at(place, "is no object")
    return _RowReader(account, options).read(placed)


def _read_table(sheet: Sheet, account: KnownAccount, options: ImportOptions) -> ChangeLog:
    if activity_log.is_history(sheet.names):
        every = {name: position for position, name in enumerate(sheet.names) if name}
        rows = _rows(sheet, every)
        return read_activities(rows, account, options.last_day, parse=activity_log.of_history)
    positions = sheet.positions(*_REQUIRED, *_OPTIONAL)
    missing = [one for one in _REQUIRED if one not in positions]
    if missing:
        cure = f"expected {', '.join(_REQUIRED)}, or Meta's activity history"
        what = f"has no column {', '.join(missing)}; it has {', '.join(sheet.names)[:200]}; {cure}"
        raise InvalidInput.at(f"{sheet.file.path.name}: line {sheet.header_line}", what)
    amounts = [one for one in _AMOUNTS if one in positions]
    numbers, dates = sheet.evidence(positions, amounts)
    decimal, order = options.decimal or numbers.decimal, options.date_order or dates.order
    options = replace(options, decimal=decimal, date_order=order)
    if decimal is None and amounts:
        raise sheet.unclear_decimal(positions[amounts[0]], comma=numbers.comma)
    return _RowReader(account, options).read(_rows(sheet, positions))


def _rows(sheet: Sheet, positions: Mapping[str, int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a table, each with its place."""
    for batch in sheet.read(positions):
        broken = {fault.row: fault for fault in batch.faults}
        for row in range(batch.size):
            if batch.left_out[row]:
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
        elif change.date > last_day:
            faulty.add(place, f"{change.date} lies in the future")
        else:
            read.append((activity.moment.timestamp(), place, change))
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
            event = self._event(place, row)
            if event is not None:
                log.add(place, event)
            if len(self.faults.found) >= _MOST_FAULTS:
                break
        self.faults.raise_if_any()
        return log

    def _event(self, place: str, row: Mapping[str, Any]) -> ChangeEvent | None:
        words = {name: str(row.get(name) or "").strip() for name in ("entity_type", "change_type")}
        level = self._parsed(place, "entity_type", words["entity_type"], partial(_word, EntityType))
        change = self._parsed(place, "change_type", words["change_type"], partial(_word, ChangeType))
        cell = "" if row.get("entity_id") is None else row["entity_id"]
        entity_id = self._parsed(place, "entity_id", cell, partial(clean_id, digits=False))
        if entity_id == "":
            self.faults.add(place, "entity_id is empty")
        number, own = row.get("config_id"), self.account.config_id
        if number not in (None, "") and str(number) != str(own):
            self.faults.add(place, f"config_id is {number}, and the change is loaded into account {own}")
        day = self._parsed(place, "date", row.get("date"), self._day)
        detail = self._detail(place, row)
        if level is None or change is None or day is None or not entity_id:
            return None
        return ChangeEvent(EntityRef(own, level, entity_id), change, day, detail)

    def _parsed(self, place: str, name: str, cell: Any, parse: Callable[[Any], T]) -> T | None:
        try:
            return parse(cell)
        except BadCell as error:
            self.faults.add(place, f"{name} {cell!r} {error.what}; {error.cure}")
            return None

    def _day(self, cell: Any) -> date:
        moment, last = activity_log.moment_of(cell), self.options.last_day
        if moment:
            day = local_day(moment, self.account.time_zone)
        else:
            day = dates.to_date(dates.day(cell, self.options.date_order))
        if day > last:
            raise BadCell("future_date", f"lies in the future: it is after {last}", "correct the date")
        if day < dates.FIRST_DAY:
            raise BadCell("ancient_date", f"is before {dates.FIRST_DAY}", "correct the date")
        return day

    def _amount(self, cell: Any) -> float:
        amount = numerals.number(cell, decimal=self.options.decimal)
        if amount is None or amount < 0:
            raise BadCell("not_a_number", "is not an amount", "expected a number such as 120.50")
        return amount

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
            if row.get(name) not in (None, ""):
                amount = self._parsed(place, name, row[name], self._amount)
                detail |= {} if amount is None else {name: amount}
        return detail


def _word(kind: type[E], text: str) -> E:
    """The member of an enumeration that a text names, whatever its case, spaces and signs."""

    def bare(word: str) -> str:
        return "".join(filter(str.isalnum, word.casefold()))

    found = next((one for one in kind if bare(one.value) == bare(text)), None)
    if found is None:
        raise BadCell("unknown_word", "is not known", f"expected {', '.join(kind)}")
    return found


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
