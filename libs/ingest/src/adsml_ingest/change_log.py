"""Reads an account's change log: what was changed, and when.

A CSV with a header, or JSON: ``{"changes": [...]}`` or a list. One row, or object, per change:
``entity_type``, ``entity_id``, ``change_type``, ``date`` (the first day it was in force), and optionally
``budget_before`` and ``budget_after`` (account's currency per day), ``description``, ``detail`` (an object; in a CSV
as JSON text) and ``config_id``, which must be the account's where it is given.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput, Violations

_REQUIRED: Final = ("entity_type", "entity_id", "change_type", "date")
_AMOUNTS: Final = ("budget_before", "budget_after")
_MOST_FAULTS: Final = 50


def read_changes(path: Path, *, config_id: int) -> list[ChangeEvent]:
    """The changes of a file, in its order.

    Raises
    ------
    InvalidInput
        Naming every place that is wrong: a line of the CSV, an index of the JSON.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInput.at(str(path), f"can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput.at(str(path), f"is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    rows = _json(path, text) if text.lstrip()[:1] in ("{", "[") else _csv(path, text)
    faults, found = Violations(), []
    for place, row in rows:
        before = len(faults.found)
        event = _event(place, row, config_id, faults)
        if event is not None and len(faults.found) == before:
            found.append(event)
        if len(faults.found) >= _MOST_FAULTS:
            break
    faults.raise_if_any()
    return found


def _json(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        body = json.loads(text)
    except ValueError as error:
        raise InvalidInput.at(str(path), f"is not JSON: {error}") from error
    rows = body.get("changes") if isinstance(body, dict) else body
    if not isinstance(rows, list):
        raise InvalidInput.at(str(path), 'has no list of changes; expected {"changes": [...]} or [...]')
    for index, row in enumerate(rows):
        place = f"{path.name}: changes[{index}]"
        if not isinstance(row, dict):
            raise InvalidInput.at(place, "is no object")
        yield place, row


def _csv(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.DictReader(text.splitlines(keepends=True))
    missing = [name for name in _REQUIRED if name not in (reader.fieldnames or ())]
    if missing:
        raise InvalidInput.at(
            f"{path.name}: line 1", f"has no column {', '.join(missing)}; expected {', '.join(_REQUIRED)}"
        )
    for row in reader:
        yield f"{path.name}: line {reader.line_num}", row


def _event(place: str, row: Mapping[str, Any], config_id: int, faults: Violations) -> ChangeEvent | None:
    def chosen(name: str, kind: type[EntityType] | type[ChangeType]) -> str | None:
        shown = str(row.get(name) or "").strip().lower()
        if shown not in {one.value for one in kind}:
            faults.add(
                place, f"{name} {shown!r} is not known; expected {', '.join(one.value for one in kind)}"
            )
            return None
        return shown

    level, change = chosen("entity_type", EntityType), chosen("change_type", ChangeType)
    entity_id = str(row.get("entity_id") or "").strip()
    if not entity_id:
        faults.add(place, "entity_id is empty")
    account = row.get("config_id")
    if account not in (None, "") and str(account) != str(config_id):
        faults.add(place, f"config_id is {account}, and the change is loaded into account {config_id}")
    try:
        day = date.fromisoformat(str(row.get("date") or "").strip())
    except ValueError:
        faults.add(place, f"date {row.get('date')!r} is not a day; expected YYYY-MM-DD")
        return None
    detail = _detail(place, row, faults)
    if level is None or change is None:
        return None
    return ChangeEvent(EntityRef(config_id, EntityType(level), entity_id), ChangeType(change), day, detail)


def _detail(place: str, row: Mapping[str, Any], faults: Violations) -> dict[str, float | str]:
    """What else is told of a change; amounts as numbers."""
    raw = row.get("detail")
    if isinstance(raw, str) and raw.strip():
        try:
            raw = json.loads(raw)
        except ValueError:
            raw = None
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
        try:
            amount = float(str(shown))
        except ValueError:
            amount = math.nan
        if not math.isfinite(amount) or amount < 0:
            faults.add(place, f"{name} {shown!r} is not an amount; expected a number such as 120.50")
        else:
            detail[name] = amount
    return detail
