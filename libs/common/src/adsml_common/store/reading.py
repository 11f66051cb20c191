"""The fast way out for daily rows: columns, not Python objects per value."""

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from adsml_common.domain.entities import EntityType
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
    postgresql = connection.dialect.name == "postgresql"
    mark = "%({})s" if postgresql else ":{}"
    given: dict[str, Any] = {}
    if keys is None:
        given["config_id"] = config_id
        owners = f"SELECT entity_key FROM entities WHERE config_id = {mark.format('config_id')}"  # noqa: S608
        if entity_type is not None:
            given["entity_type"] = entity_type.value
            owners += f" AND entity_type = {mark.format('entity_type')}"
        conditions = [f"entity_key IN ({owners})"]
    elif postgresql:
        given["keys"] = list(keys)
        conditions = ["entity_key = ANY(%(keys)s::bigint[])"]
    else:
        given["keys"] = json.dumps(list(keys))
        conditions = ["entity_key IN (SELECT value FROM json_each(:keys))"]
    for name, sign, day in (("first", ">=", start), ("last", "<=", end)):
        if day is not None:
            given[name] = day.isoformat()
            conditions.append(f"date {sign} {mark.format(name)}" + ("::date" if postgresql else ""))
    rows = (_postgresql if postgresql else _sqlite)(connection, " AND ".join(conditions), given)
    rows["spend"] = np.maximum(rows["spend"], 0.0)
    return rows


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
    query = sa.text(
        f"SELECT {', '.join(KINDS)} FROM daily_metrics WHERE {where} ORDER BY entity_key, date"  # noqa: S608
    )
    types = {"entity_key": np.dtype(np.int64), "date": np.dtype("datetime64[D]")}
    parts = {name: [np.empty(0, types.get(name, np.float64))] for name in KINDS}
    cursor = connection.execute(query, given).cursor
    if cursor is None:
        raise RuntimeError("a query gave no rows to read")
    while rows := cursor.fetchmany(_FETCH):
        for name, values in zip(KINDS, zip(*rows, strict=True), strict=True):
            # None becomes NaN.
            parts[name].append(np.array(values, parts[name][0].dtype))
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}
