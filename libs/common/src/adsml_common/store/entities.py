"""The tree of an account, and what the platform says of its entities."""

from collections.abc import Collection, Iterable
from datetime import date
from typing import Any, Final

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from adsml_common.database import Database
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.domain.errors import NotFound, Violations
from adsml_common.schema import insert_into
from adsml_common.store.counts import UpsertCounts
from adsml_common.store.keys import check_account, id_fault, named
from adsml_common.store.tables import entities

_KEYS: Final = ("config_id", "entity_type", "entity_id")
_FACTS: Final = ("parent_id", "name", "status", "objective", "shares_budget", "campaign_id", "facts_date")
_CHUNK: Final = 20_000
FRAME_COLUMNS: Final = (
    "entity_type", "entity_id", "parent_id", "name", "status", "objective", "shares_budget",
)  # fmt: skip

_STAGED: Final = sa.Table(
    "staged_entities",
    sa.MetaData(),
    *(sa.Column(name, entities.c[name].type) for name in (*_KEYS, *_FACTS)),
    prefixes=["TEMPORARY"],
)


def lock_account(database: Database, connection: Connection, config_id: int) -> None:
    """Make writers of one account wait for each other, once, instead of in the middle of their rows."""
    database.lock(connection, f"account {config_id}")


def write_entities(connection: Connection, found: Iterable[Entity]) -> UpsertCounts:
    """Insert or update entities within a transaction that holds their accounts' locks.

    An entity named twice counts once: what the later one knows wins.
    """
    merged: dict[EntityRef, dict[str, Any]] = {}
    for entity in found:
        facts = merged.setdefault(entity.ref, dict.fromkeys(_FACTS))
        facts.update({name: value for name in _FACTS if (value := getattr(entity, name)) is not None})
    _check(merged)
    rows = [
        (ref.config_id, ref.entity_type.value, ref.entity_id, *facts.values())
        for ref, facts in sorted(merged.items(), key=lambda item: item[0])
    ]
    connection.execute(sa.schema.CreateTable(_STAGED, if_not_exists=True))
    counts = UpsertCounts()
    for start in range(0, len(rows), _CHUNK):
        counts += _merge(connection, rows[start : start + _CHUNK])
    return counts


def _check(merged: dict[EntityRef, dict[str, Any]]) -> None:
    found = Violations()
    for i, (ref, facts) in enumerate(merged.items()):
        check_account(ref.config_id)
        if (fault := id_fault(ref.entity_id)) is not None:
            found.add(f"entities[{i}].entity_id", fault)
        if facts["parent_id"] is not None and (fault := id_fault(facts["parent_id"])) is not None:
            found.add(f"entities[{i}].parent_id", fault)
        for name, value in facts.items():
            if isinstance(value, str) and "\0" in value:
                found.add(f"entities[{i}].{name}", f"of {ref} holds a NUL character; remove it")
    found.raise_if_any()


def _merge(connection: Connection, rows: list[tuple[Any, ...]]) -> UpsertCounts:
    connection.execute(_STAGED.delete())
    names = (*_KEYS, *_FACTS)
    if connection.dialect.name == "postgresql":
        with (
            connection.connection.cursor() as cursor,  # type: ignore[attr-defined]
            cursor.copy(f"COPY staged_entities ({', '.join(names)}) FROM STDIN") as copy,
        ):
            for row in rows:
                copy.write_row(row)
    else:
        marks = ", ".join("?" * len(names))
        rows = [tuple(v.isoformat() if isinstance(v, date) else v for v in row) for row in rows]
        connection.exec_driver_sql(f"INSERT INTO staged_entities VALUES ({marks})", rows)  # noqa: S608
    same_key = sa.and_(*(entities.c[name] == _STAGED.c[name] for name in _KEYS))
    older = sa.func.coalesce(_STAGED.c.facts_date < entities.c.facts_date, sa.false())
    told = [name for name in _FACTS if name != "facts_date"]
    nothing_new = sa.and_(
        *(
            sa.or_(
                _STAGED.c[name].is_(None),
                _STAGED.c[name] == entities.c[name],
                sa.and_(older, entities.c[name].is_not(None)),
            )
            for name in told
        )
    )
    # The same said again, of a later day: from now on nothing older replaces it.
    connection.execute(
        entities.update()
        .where(same_key, nothing_new, _STAGED.c.facts_date > entities.c.facts_date)
        .values(facts_date=_STAGED.c.facts_date)
    )
    same = sa.select(sa.literal(1)).where(same_key, nothing_new)
    unchanged = connection.execute(_STAGED.delete().where(same.exists())).rowcount
    updated = connection.execute(
        sa.select(sa.func.count()).select_from(_STAGED.join(entities, same_key))
    ).scalar_one()
    insert = insert_into(connection, entities)
    older = sa.func.coalesce(insert.excluded.facts_date < entities.c.facts_date, sa.false())
    # What the source does not say does not erase what is known.
    latest = {
        name: sa.case(
            (older, sa.func.coalesce(entities.c[name], insert.excluded[name])),
            else_=sa.func.coalesce(insert.excluded[name], entities.c[name]),
        )
        for name in _FACTS
    }
    written = connection.execute(
        insert.from_select(
            names, sa.select(*(_STAGED.c[name] for name in names)).where(sa.true()).order_by(*_STAGED.c)
        ).on_conflict_do_update(index_elements=[entities.c[name] for name in _KEYS], set_=latest),
        execution_options={"preserve_rowcount": True},
    ).rowcount
    return UpsertCounts(inserted=written - updated, updated=updated, unchanged=unchanged)


class EntityStore:
    """Reads and writes entities."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def upsert(self, found: Iterable[Entity]) -> UpsertCounts:
        """Insert or update entities: all or none, and idempotent. None never erases what is known."""
        wanted = list(found)
        with self._database.write(bulk=True) as connection:
            for config_id in sorted({entity.ref.config_id for entity in wanted}):
                lock_account(self._database, connection, config_id)
            return write_entities(connection, wanted)

    def get(self, ref: EntityRef) -> Entity:
        """One entity; raises `NotFound`."""
        found = self.list(ref.config_id, entity_type=ref.entity_type, entity_ids=[ref.entity_id])
        if not found:
            raise NotFound(f"there is no {ref}")
        return found[0]

    def list(
        self,
        config_id: int,
        *,
        entity_type: EntityType | None = None,
        parent_id: str | None = None,
        entity_ids: Collection[str] | None = None,
    ) -> list[Entity]:
        """Entities of an account, sorted by level and id; those that are unknown are absent."""
        with self._database.read() as connection:
            wanted = named(connection, config_id, entity_type, entity_ids)
            if parent_id is not None:
                wanted &= entities.c.parent_id == parent_id
            rows = connection.execute(_query((*_KEYS[1:], *_FACTS), wanted)).all()
        return [
            Entity(EntityRef(config_id, EntityType(row.entity_type), row.entity_id), *row[2:]) for row in rows
        ]

    def frame(self, config_id: int) -> pd.DataFrame:
        """Every entity of an account, sorted by level and id: `FRAME_COLUMNS`, None where unknown."""
        rows = self._database.rows(_query(FRAME_COLUMNS, entities.c.config_id == config_id))
        return pd.DataFrame(list(map(tuple, rows)), columns=list(FRAME_COLUMNS), dtype=object)


def _query(columns: tuple[str, ...], wanted: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return (
        sa.select(*entities.c[columns]).where(wanted).order_by(entities.c.entity_type, entities.c.entity_id)
    )
