"""What was changed, and when: feeds impact and forecasting."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from adsml_common.database import Database
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_common.schema import upsert
from adsml_common.store.counts import UpsertCounts
from adsml_common.store.entities import lock_account
from adsml_common.store.keys import check_account, id_fault, make_keys
from adsml_common.store.tables import change_events, entities

_CHUNK = 10_000
_COLUMNS = ("entity_key", "date", "change_type", "detail", "recorded_at")


def write_changes(connection: Connection, events: Iterable[ChangeEvent]) -> UpsertCounts:
    """Insert or update events within a transaction that holds their accounts' locks."""
    by_level: dict[tuple[int, EntityType], dict[tuple[str, date, str], ChangeEvent]] = {}
    for i, event in enumerate(events):
        ref = event.entity
        check_account(ref.config_id)
        if (fault := id_fault(ref.entity_id)) is not None:
            raise InvalidInput.at(f"changes[{i}].entity.entity_id", fault)
        level = by_level.setdefault((ref.config_id, ref.entity_type), {})
        level[ref.entity_id, event.date, event.change_type.value] = event
    counts = UpsertCounts()
    for (config_id, entity_type), level in sorted(by_level.items()):
        wanted = list(level.values())
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            ids = sorted({event.entity.entity_id for event in chunk})
            counts += _merge(connection, chunk, make_keys(connection, config_id, entity_type, ids))
    return counts


def _merge(connection: Connection, chunk: list[ChangeEvent], keys: Mapping[str, int]) -> UpsertCounts:
    found = connection.execute(
        sa.select(*change_events.c[_COLUMNS[:4]]).where(change_events.c.entity_key.in_(sorted(keys.values())))
    )
    known = {(row.entity_key, row.date, row.change_type): row.detail for row in found}
    now = datetime.now(UTC)
    rows: list[dict[str, Any]] = []
    updated = 0
    for event in chunk:
        key = (keys[event.entity.entity_id], event.date, event.change_type.value)
        if key in known and known[key] == event.detail:
            continue
        updated += key in known
        rows.append(dict(zip(_COLUMNS, (*key, event.detail, now), strict=True)))
    if rows:
        upsert(connection, change_events, *rows)
    return UpsertCounts(inserted=len(rows) - updated, updated=updated, unchanged=len(chunk) - len(rows))


class ChangeStore:
    """Reads and writes change events."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def upsert(self, events: Iterable[ChangeEvent]) -> UpsertCounts:
        """Insert or update events: all or none, and idempotent. Unknown entities are created.

        The key is entity, day and kind: a second change of one kind on one day replaces the detail of the first,
        since a day is the finest grain of the rows it is to explain.
        """
        wanted = list(events)
        with self._database.write(bulk=True) as connection:
            for config_id in sorted({event.entity.config_id for event in wanted}):
                lock_account(self._database, connection, config_id)
            return write_changes(connection, wanted)

    def list(
        self,
        config_id: int,
        *,
        entity: EntityRef | None = None,
        start: date | None = None,
        end: date | None = None,
    ) -> list[ChangeEvent]:
        """Events of an account (or of one entity of it) in order of day, level, id and kind."""
        query = (
            sa.select(
                *entities.c["entity_type", "entity_id"], *change_events.c["change_type", "date", "detail"]
            )
            .join_from(change_events, entities)
            .where(entities.c.config_id == config_id)
            .order_by(
                change_events.c.date, *entities.c["entity_type", "entity_id"], change_events.c.change_type
            )
        )
        if entity is not None:
            query = query.where(
                entities.c.entity_type == entity.entity_type.value, entities.c.entity_id == entity.entity_id
            )
        if start is not None:
            query = query.where(change_events.c.date >= start)
        if end is not None:
            query = query.where(change_events.c.date <= end)
        rows = self._database.rows(query)
        return [
            ChangeEvent(
                EntityRef(config_id, EntityType(row.entity_type), row.entity_id),
                ChangeType(row.change_type),
                row.date,
                row.detail,
            )
            for row in rows
        ]
