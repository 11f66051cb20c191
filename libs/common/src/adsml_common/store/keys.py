"""The integer key behind (account, level, id), and long lists of values in one statement."""

import json
from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput, NotFound
from adsml_common.schema import insert_into
from adsml_common.store.tables import ID_LENGTH, entities


def values_of(connection: Connection, values: Collection[str]) -> sa.Select[tuple[str]]:
    """The values as the rows of a query: one bound parameter however many there are."""
    if connection.dialect.name == "postgresql":
        bound = sa.bindparam(None, list(values), type_=postgresql.ARRAY(sa.Text), unique=True)
        return sa.select(sa.func.unnest(bound).column_valued("value"))
    bound = sa.bindparam(None, json.dumps(list(values)), type_=sa.Text, unique=True)
    return sa.select(sa.func.json_each(bound).table_valued("value").c.value)


def among(connection: Connection, column: sa.Column[str], values: Collection[str]) -> ColumnElement[bool]:
    if connection.dialect.name == "postgresql":
        bound = sa.bindparam(None, list(values), type_=postgresql.ARRAY(sa.Text), unique=True)
        return column == sa.any_(bound)
    return column.in_(values_of(connection, values))


def check_account(config_id: int) -> None:
    """Raise `InvalidInput` for an account number that is no positive 64-bit integer."""
    if not 0 < config_id < 2**63:
        raise InvalidInput.at("config_id", f"is {config_id}; expected a positive 64-bit integer")


def id_fault(entity_id: object) -> str | None:
    if isinstance(entity_id, str) and 0 < len(entity_id) <= ID_LENGTH and "\0" not in entity_id:
        return None
    return f"is {entity_id!r}; expected text of 1 to {ID_LENGTH} characters"


def named(
    connection: Connection,
    config_id: int,
    entity_type: EntityType | None = None,
    entity_ids: Collection[str] | None = None,
) -> ColumnElement[bool]:
    """The entities of an account, or of one level, or those of these ids."""
    condition = entities.c.config_id == config_id
    if entity_type is not None:
        condition &= entities.c.entity_type == entity_type.value
    if entity_ids is not None:
        condition &= among(connection, entities.c.entity_id, entity_ids)
    return condition


def keys_of(
    connection: Connection, config_id: int, entity_type: EntityType, ids: Collection[str]
) -> dict[str, int]:
    query = sa.select(entities.c.entity_id, entities.c.entity_key).where(
        named(connection, config_id, entity_type, ids)
    )
    return {row.entity_id: row.entity_key for row in connection.execute(query)}


def key_of(connection: Connection, ref: EntityRef) -> int:
    """Key of one entity; raises `NotFound`."""
    found = keys_of(connection, ref.config_id, ref.entity_type, [ref.entity_id])
    if ref.entity_id not in found:
        raise NotFound(f"there is no {ref}")
    return found[ref.entity_id]


def make_keys(
    connection: Connection, config_id: int, entity_type: EntityType, ids: Collection[str]
) -> dict[str, int]:
    """Keys of entities, creating those that are unknown."""
    known = keys_of(connection, config_id, entity_type, ids)
    unknown = [entity_id for entity_id in ids if entity_id not in known]
    if not unknown:
        return known
    value = values_of(connection, unknown).subquery("unknown").c[0]
    connection.execute(
        insert_into(connection, entities)
        .from_select(
            ["config_id", "entity_type", "entity_id"],
            # SQLite takes the ON of ON CONFLICT for a join's, unless a WHERE stands between.
            sa.select(sa.literal(config_id, sa.BigInteger), sa.literal(entity_type.value), value).where(
                sa.true()
            ),
        )
        .on_conflict_do_nothing()
    )
    return known | keys_of(connection, config_id, entity_type, unknown)
