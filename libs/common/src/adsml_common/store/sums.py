"""Rows of campaigns and ad sets as sums of the stored rows below them.

Sums are built in the database from what is stored, not from what one import brought: pages loaded one by one, or an
incremental load of a single ad, leave parents that are right.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from adsml_common.domain.entities import EntityType
from adsml_common.domain.metrics import REQUIRED
from adsml_common.store.staging import (
    SAME_KEY,
    STAGED,
    STAGED_KINDS,
    SUMS_SOURCE,
    TOUCHED,
    spans_table,
)
from adsml_common.store.tables import daily_metrics, entities

_DECIMALS: Final = 6
"""Sums are rounded to these, so that they don't depend on the order of what is added."""
_TOLERANCE: Final = {"spend": 0.02}
"""Money is rounded to cents in every row that is added up."""

_PARENTS: Final = spans_table("touched_parents")


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A reported row of a parent that is not the sum of what is stored below it."""

    entity_type: EntityType
    entity_id: str
    date: date
    reported: dict[str, float]
    below: dict[str, float]


@dataclass(slots=True)
class SumReport:
    """What became of the sums of one load: built rows by level, reported rows that contradict their children.

    `orphans` are entities of a level, touched by the load, whose parent is not known.
    """

    rows: dict[EntityType, int] = field(default_factory=dict)
    contradictions: int = 0
    examples: list[Contradiction] = field(default_factory=list)
    orphans: dict[EntityType, int] = field(default_factory=dict)


Emptied = Sequence[tuple[int, date]]
"""Keys and days of sums of which no child is left."""


def stage_sums(connection: Connection, config_id: int, level: EntityType) -> tuple[int, Emptied]:
    """Stage the sums of every parent of a level that was touched, itself or in a child; how many.

    Stored sums of those parents and days that have no child left are deleted, and returned.
    """
    connection.execute(sa.schema.CreateTable(_PARENTS, if_not_exists=True))
    connection.execute(_PARENTS.delete())
    child, parent = entities.alias("child"), entities.alias("parent")
    through = (
        sa.select(parent.c.entity_key, TOUCHED.c.first_date, TOUCHED.c.last_date)
        .join_from(TOUCHED, child, child.c.entity_key == TOUCHED.c.entity_key)
        .join(parent, _belongs(config_id, level, child, parent))
    )
    own = sa.select(TOUCHED.c.entity_key, TOUCHED.c.first_date, TOUCHED.c.last_date).join_from(
        TOUCHED, parent, sa.and_(parent.c.entity_key == TOUCHED.c.entity_key, parent.c.entity_type == level)
    )
    every = sa.union_all(through, own).subquery()
    connection.execute(
        _PARENTS.insert().from_select(
            ["entity_key", "first_date", "last_date"],
            sa.select(
                every.c.entity_key, sa.func.min(every.c.first_date), sa.func.max(every.c.last_date)
            ).group_by(every.c.entity_key),
        )
    )
    connection.execute(STAGED.delete())
    day = daily_metrics.c
    sums = (
        sa.select(
            parent.c.entity_key,
            day.date,
            *(_rounded(connection, sa.func.sum(day[name])) for name in REQUIRED),
            sa.null(),
            sa.literal(0.0),
        )
        .join_from(_PARENTS, parent, parent.c.entity_key == _PARENTS.c.entity_key)
        .join(child, _belongs(config_id, level, child, parent))
        .join(
            daily_metrics,
            sa.and_(
                day.entity_key == child.c.entity_key,
                day.date.between(_PARENTS.c.first_date, _PARENTS.c.last_date),
            ),
        )
        .group_by(parent.c.entity_key, day.date)
    )
    number = connection.execute(
        STAGED.insert().from_select(list(STAGED_KINDS), sums), execution_options={"preserve_rowcount": True}
    ).rowcount
    inside = sa.select(sa.literal(1)).where(
        _PARENTS.c.entity_key == day.entity_key, day.date.between(_PARENTS.c.first_date, _PARENTS.c.last_date)
    )
    staged = sa.select(sa.literal(1)).where(SAME_KEY)
    emptied = connection.execute(
        daily_metrics.delete()
        .where(day.source == SUMS_SOURCE, inside.exists(), ~staged.exists())
        .returning(day.entity_key, day.date)
    ).all()
    return number, [(key, when) for key, when in emptied]


def reported(connection: Connection) -> int:
    """How many staged sums are of parents and days that a source reported itself."""
    where = sa.and_(SAME_KEY, daily_metrics.c.source != SUMS_SOURCE)
    return connection.execute(
        sa.select(sa.func.count()).select_from(STAGED).join(daily_metrics, where)
    ).scalar_one()


def _belongs(config_id: int, level: EntityType, child: Any, parent: Any) -> sa.ColumnElement[bool]:
    """Whether one entity is a child of another of a level; an ad without ad set is its campaign's."""
    below = EntityType.AD if level is EntityType.ADSET else EntityType.ADSET
    direct = sa.and_(child.c.entity_type == below.value, child.c.parent_id == parent.c.entity_id)
    if level is EntityType.CAMPAIGN:
        direct = sa.or_(
            direct,
            sa.and_(
                child.c.entity_type == EntityType.AD.value,
                child.c.parent_id.is_(None),
                child.c.campaign_id == parent.c.entity_id,
            ),
        )
    return sa.and_(
        child.c.config_id == config_id,
        parent.c.config_id == config_id,
        parent.c.entity_type == level.value,
        direct,
    )


def _rounded(connection: Connection, value: sa.ColumnElement[float]) -> sa.ColumnElement[float]:
    if connection.dialect.name == "sqlite":
        return sa.func.round(value, _DECIMALS)
    # PostgreSQL rounds only its exact numbers.
    return sa.cast(sa.func.round(sa.cast(value, sa.Numeric), _DECIMALS), sa.Double)


def contradictions(connection: Connection, *, most: int) -> tuple[int, list[Contradiction]]:
    """Reported rows that are not the sums staged for them: how many, and the first few."""
    differ = sa.or_(
        *(
            sa.func.abs(daily_metrics.c[name] - STAGED.c[name])
            > _TOLERANCE.get(name, 1e-6) + 0.001 * sa.func.abs(STAGED.c[name])
            for name in REQUIRED
        )
    )
    where = sa.and_(SAME_KEY, daily_metrics.c.source != SUMS_SOURCE, differ)
    rows = connection.execute(
        sa.select(
            sa.func.count().over(), entities.c.entity_type, entities.c.entity_id, STAGED.c.date,
            *(daily_metrics.c[name] for name in REQUIRED), *(STAGED.c[name] for name in REQUIRED),
        )
        .join_from(STAGED, daily_metrics, where)
        .join(entities, entities.c.entity_key == STAGED.c.entity_key)
        .order_by(STAGED.c.date, entities.c.entity_id)
        .limit(most)
    ).all()  # fmt: skip
    size = len(REQUIRED)
    found = [
        Contradiction(
            EntityType(kind), entity_id, day,
            dict(zip(REQUIRED, values[:size], strict=True)),
            dict(zip(REQUIRED, values[size:], strict=True)),
        )
        for _, kind, entity_id, day, *values in rows
    ]  # fmt: skip
    return (rows[0][0] if rows else 0), found


def orphans(connection: Connection, level: EntityType) -> int:
    """Touched entities of a level whose parent is not known."""
    query = (
        sa.select(sa.func.count())
        .select_from(TOUCHED)
        .join(entities, entities.c.entity_key == TOUCHED.c.entity_key)
        .where(entities.c.entity_type == level.value, entities.c.parent_id.is_(None))
    )
    if level is EntityType.AD:
        query = query.where(entities.c.campaign_id.is_(None))
    return connection.execute(query).scalar_one()
