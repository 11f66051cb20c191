"""Rows of the registry's tables, read and written within a caller's transaction."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import NotFound
from adsml_common.registry.models import ModelEvent, ModelEventType, ModelStatus, ModelVersion
from adsml_common.registry.tables import ml_model_events as events
from adsml_common.registry.tables import ml_trained_models as models

PAGE: Final = 500


def select_models() -> sa.Select[Any]:
    return sa.select(*(models.c[name] for name in ModelVersion.__slots__))


def select_events() -> sa.Select[Any]:
    named = [events.c.event_key.label("key")]
    return sa.select(*named, *(events.c[name] for name in ModelEvent.__slots__ if name != "key"))


def starts_with(column: sa.Column[str], prefix: str) -> sa.ColumnElement[bool]:
    """Whether a name starts with a prefix: as a range, so that an index on names is of use."""
    if not prefix:
        return sa.true()
    return sa.and_(column >= prefix, column < prefix[:-1] + chr(ord(prefix[-1]) + 1))


def version_of(row: sa.Row[Any]) -> ModelVersion:
    values = row._asdict()
    values["entity_type"] = EntityType(row.entity_type) if row.entity_type else None
    values["feature_columns"] = tuple(row.feature_columns)
    values["status"] = ModelStatus(row.status)
    return ModelVersion(**values)


def event_of(row: sa.Row[Any]) -> ModelEvent:
    return ModelEvent(**{**row._asdict(), "event": ModelEventType(row.event)})


def get_version(connection: Connection, name: str, version: int) -> ModelVersion:
    row = connection.execute(
        select_models().where(models.c.name == name, models.c.version == version)
    ).one_or_none()
    if row is None:
        raise NotFound(f"there is no version {version} of model {name}")
    return version_of(row)


def active_version(connection: Connection, name: str) -> ModelVersion | None:
    row = connection.execute(
        select_models().where(models.c.name == name, models.c.status == ModelStatus.ACTIVE.value)
    ).one_or_none()
    return version_of(row) if row is not None else None


def version_of_run(connection: Connection, run_id: str, name: str) -> ModelVersion | None:
    row = connection.execute(
        select_models().where(models.c.run_id == run_id, models.c.name == name)
    ).one_or_none()
    return version_of(row) if row is not None else None


def key_of(version: ModelVersion) -> sa.ScalarSelect[Any]:
    return (
        sa.select(models.c.model_key)
        .where(models.c.name == version.name, models.c.version == version.version)
        .scalar_subquery()
    )


def every_version(
    database: Database, *, name_prefix: str | None = None, status: ModelStatus | None = None
) -> Iterator[ModelVersion]:
    """Versions in the order of names, then versions, a page at a time."""
    query = select_models().order_by(models.c.name, models.c.version).limit(PAGE)
    if name_prefix is not None:
        query = query.where(starts_with(models.c.name, name_prefix))
    if status is not None:
        query = query.where(models.c.status == status.value)
    after: tuple[str, int] = ("", 0)
    while True:
        with database.read() as connection:
            rows = connection.execute(
                query.where(sa.tuple_(models.c.name, models.c.version) > sa.tuple_(*after))
            ).all()
        if not rows:
            return
        yield from (version_of(row) for row in rows)
        after = (rows[-1].name, rows[-1].version)


def earlier_versions(connection: Connection, name: str) -> list[ModelVersion]:
    """Versions that were active before the present one, latest first, without those found unusable.

    A rollback takes back the activations it undoes, so that going back twice goes back two versions.
    """
    happened = connection.execute(
        sa.select(events.c.version, events.c.event)
        .where(
            events.c.name == name,
            events.c.event.in_([ModelEventType.ACTIVATED.value, ModelEventType.ROLLED_BACK.value]),
        )
        .order_by(events.c.event_key)
    ).all()
    way: list[int] = []
    for version, event in happened:
        if event == ModelEventType.ROLLED_BACK.value:
            while way and way[-1] != version:
                way.pop()
        else:
            way.append(version)
    if not way:
        return []
    before = [version for version in dict.fromkeys(reversed(way)) if version != way[-1]]
    query = select_models().where(models.c.name == name, models.c.version.in_(before))
    found = {row.version: version_of(row) for row in connection.execute(query)}
    return [found[version] for version in before if found[version].status is not ModelStatus.FAILED]


def update_version(connection: Connection, version: ModelVersion, **values: Any) -> None:
    connection.execute(
        models.update()
        .where(models.c.name == version.name, models.c.version == version.version)
        .values(**values)
    )


def note_event(
    connection: Connection,
    version: ModelVersion,
    event: ModelEventType,
    *,
    actor: str,
    reason: str,
    previous: int | None = None,
) -> None:
    connection.execute(
        events.insert().values(
            name=version.name,
            version=version.version,
            event=event.value,
            previous_version=previous,
            actor=actor,
            reason=reason,
            created_at=datetime.now(UTC),
        )
    )
