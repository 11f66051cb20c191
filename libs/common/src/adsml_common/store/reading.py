"""The fast way out for daily rows: columns, not Python objects per value."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from adsml_common.domain.entities import EntityType
from adsml_common.domain.metrics import STORED
from adsml_common.store import pgcopy
from adsml_common.store.staging import KINDS

_FETCH = 2_000
"""Rows at once: few enough that the garbage collector never looks through them twice."""


def read_rows(
    connection: Connection,
    config_id: int,
    *,
    keys: Sequence[int] | None,
    entity_type: EntityType | None,
    start: date | None,
    end: date | None,
) -> dict[str, npt.NDArray[Any]]:
    """Rows of an account (of entities by `keys`, where given), sorted by entity key and day, in one query.

    Arrays of shape (rows,) for every name in `staging.KINDS`; NaN where ``reach`` is unknown. A day's spend may be
    negative in the store, when the platform corrects earlier days; here it is 0.
    """
    if connection.dialect.name == "postgresql":
        rows = _postgresql(connection, *_conditions("%(", ")s", config_id, keys, entity_type, start, end))
    else:
        rows = _sqlite(connection, *_conditions(":", "", config_id, keys, entity_type, start, end))
    rows["spend"] = np.maximum(rows["spend"], 0.0)
    return rows


def _conditions(
    before: str,
    after: str,
    config_id: int,
    keys: Sequence[int] | None,
    entity_type: EntityType | None,
    start: date | None,
    end: date | None,
) -> tuple[str, dict[str, Any]]:
    def mark(name: str) -> str:
        return f"{before}{name}{after}"

    given: dict[str, Any] = {}
    if keys is not None:
        given["keys"] = list(keys)
        if before == ":":
            conditions = ["entity_key IN (SELECT value FROM json_each(:keys))"]
        else:
            conditions = ["entity_key = ANY(%(keys)s::bigint[])"]
    else:
        given["config_id"] = config_id
        level = ""
        if entity_type is not None:
            given["entity_type"] = entity_type.value
            level = f" AND entity_type = {mark('entity_type')}"
        owners = f"SELECT entity_key FROM entities WHERE config_id = {mark('config_id')}{level}"  # noqa: S608
        conditions = [f"entity_key IN ({owners})"]
    for name, sign, day in (("first", ">=", start), ("last", "<=", end)):
        if day is not None:
            given[name] = day.isoformat()
            conditions.append(f"date {sign} {mark(name)}" + ("::date" if before != ":" else ""))
    return " AND ".join(conditions), given


def _postgresql(connection: Connection, where: str, given: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
    columns = ", ".join("coalesce(reach, 'NaN')" if name == "reach" else name for name in KINDS)
    query = (
        f"COPY (SELECT {columns} FROM daily_metrics WHERE {where} ORDER BY entity_key, date) "  # noqa: S608
        "TO STDOUT (FORMAT BINARY)"
    )
    with (
        connection.connection.cursor() as cursor,  # type: ignore[attr-defined]
        cursor.copy(query, given) as copy,
    ):
        return pgcopy.decode(copy, KINDS)


def _sqlite(connection: Connection, where: str, given: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
    if "keys" in given:
        given["keys"] = f"[{','.join(map(str, given['keys']))}]"
    query = sa.text(
        f"SELECT {', '.join(KINDS)} FROM daily_metrics WHERE {where} ORDER BY entity_key, date"  # noqa: S608
    )
    parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in KINDS}
    cursor = connection.execute(query, given).cursor
    if cursor is None:
        raise RuntimeError("a query gave no rows to read")
    while rows := cursor.fetchmany(_FETCH):
        for name, values in zip(KINDS, zip(*rows, strict=True), strict=True):
            # None becomes NaN.
            parts[name].append(np.array(values, dtype=_TYPES.get(name, np.float64)))
    empty = {name: np.empty(0, dtype=_TYPES.get(name, np.float64)) for name in KINDS}
    return {name: np.concatenate(arrays) if arrays else empty[name] for name, arrays in parts.items()}


_TYPES: dict[str, Any] = {
    "entity_key": np.int64,
    "date": "datetime64[D]",
    **dict.fromkeys(STORED, np.float64),
}
