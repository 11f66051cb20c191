"""Rows of the registry's tables, read and written within a caller's transaction."""

from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import NotFound, Unavailable
from adsml_common.registry.models import ModelEventType, ModelStatus, ModelVersion
from adsml_common.registry.tables import ml_model_events as events
from adsml_common.registry.tables import ml_trained_models as models

PAGE: Final = 500
_ATTEMPTS: Final = 50


def select_models(**wanted: Any) -> sa.Select[Any]:
    """Versions whose columns have these values; None for any."""
    # The value of an enum: what a driver makes of a member is its own affair.
    known = {name: getattr(value, "value", value) for name, value in wanted.items() if value is not None}
    query = sa.select(*(models.c[name] for name in ModelVersion.__slots__))
    return query.where(*(models.c[name] == value for name, value in known.items()))


def versions(connection: Connection, query: sa.Select[Any]) -> list[ModelVersion]:
    found = []
    for row in connection.execute(query):
        level = EntityType(row.entity_type) if row.entity_type else None
        kinds = {"entity_type": level, "status": ModelStatus(row.status)}
        found.append(ModelVersion(**row._asdict() | kinds | {"feature_columns": tuple(row.feature_columns)}))
    return found


def find_version(connection: Connection, **wanted: Any) -> ModelVersion | None:
    """The one version with these values, None without one."""
    return next(iter(versions(connection, select_models(**wanted))), None)


def get_version(connection: Connection, name: str, version: int) -> ModelVersion:
    found = find_version(connection, name=name, version=version)
    if found is None:
        raise NotFound(f"there is no version {version} of model {name}")
    return found


def active_version(connection: Connection, name: str) -> ModelVersion | None:
    return find_version(connection, name=name, status=ModelStatus.ACTIVE)


def starts_with(column: sa.Column[str], prefix: str | None) -> sa.ColumnElement[bool]:
    """Whether a name starts with a prefix: as a range, so that an index on names is of use."""
    if not prefix:
        return sa.true()
    return sa.and_(column >= prefix, column < prefix[:-1] + chr(ord(prefix[-1]) + 1))


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
    query = select_models(name=name).where(models.c.version.in_(before))
    found = {one.version: one for one in versions(connection, query)}
    return [found[version] for version in before if found[version].status is not ModelStatus.FAILED]


def insert_version(connection: Connection, row: dict[str, Any]) -> ModelVersion:
    """Register a row under the next version of its name, or find what its run registered meanwhile."""
    name, run_id = row["name"], row["run_id"]
    for _ in range(_ATTEMPTS):
        last = connection.execute(
            sa.select(sa.func.max(models.c.version)).where(models.c.name == name)
        ).scalar()
        number = (last or 0) + 1
        try:
            with connection.begin_nested():
                connection.execute(models.insert().values(version=number, **row))
        except IntegrityError:
            # Somebody took the number, or this run's model is in already.
            if run_id is not None:
                made = find_version(connection, run_id=run_id, name=name)
                if made is not None:
                    return made
            continue
        registered = get_version(connection, name, number)
        reason = f"run {run_id}" if run_id else "registered without a run"
        change(connection, registered, ModelEventType.REGISTERED, "training", reason)
        return registered
    raise Unavailable(f"{_ATTEMPTS} others registered {name} at the same time; try again")


def update_version(connection: Connection, version: ModelVersion, **values: Any) -> None:
    row = models.c.name == version.name, models.c.version == version.version
    connection.execute(models.update().where(*row).values(**values))


def change(
    connection: Connection,
    version: ModelVersion,
    event: ModelEventType,
    actor: str,
    reason: str,
    *,
    previous: int | None = None,
    **values: Any,
) -> None:
    """Give a version new values, with the event that tells of it."""
    if values:
        update_version(connection, version, **values)
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
