"""What people say of an answer: a tier of theirs, a true or a false alarm."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, Final

import sqlalchemy as sa

from adsml_common.database import Database
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import Violations
from adsml_common.store.keys import key_of, named
from adsml_common.store.tables import entities
from adsml_common.store.tables import feedback as table


@dataclass(frozen=True, slots=True)
class Feedback:
    """One judgement by one person of a family's answer for an entity and day.

    `label` is in the family's own words, e.g. ``"high_performer"`` or ``"false_alarm"``.
    """

    family: str
    entity: EntityRef
    date: date
    person: str
    label: str
    note: str | None = None
    recorded_at: datetime = field(default_factory=lambda: datetime.now(UTC))


_SAID: Final = ("label", "note", "recorded_at")


class FeedbackStore:
    """Reads and appends feedback; nothing is ever changed or removed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, feedback: Feedback) -> tuple[bool, Feedback | None]:
        """Append a judgement; whether it was new, and this person's last word on entity and day before it.

        Nothing is written where that is the same already. Raises `NotFound` for an unknown entity, `InvalidInput`
        for an empty family, person or label.
        """
        found = Violations()
        for name in ("family", "person", "label"):
            if not getattr(feedback, name).strip():
                found.add(name, "is empty")
        found.raise_if_any()
        with self._database.write() as connection:
            key = key_of(connection, feedback.entity)
            self._database.lock(connection, f"feedback {key}")
            last = connection.execute(
                sa.select(*table.c[_SAID])
                .where(
                    table.c.entity_key == key,
                    table.c.family == feedback.family,
                    table.c.date == feedback.date,
                    table.c.person == feedback.person,
                )
                .order_by(table.c.feedback_key.desc())
                .limit(1)
            ).one_or_none()
            before = None if last is None else replace(feedback, **last._asdict())
            if before is not None and (before.label, before.note) == (feedback.label, feedback.note):
                return False, before
            values = {name: getattr(feedback, name) for name in ("family", "date", "person", *_SAID)}
            connection.execute(table.insert().values(entity_key=key, **values))
            return True, before

    def latest(
        self, family: str, config_id: int, *, entity_ids: Collection[str] | None = None
    ) -> list[Feedback]:
        """The last word on every entity and day, whoever spoke it, sorted by level, id and day."""
        spoken = self.history(family, config_id, entity_ids=entity_ids)
        last: dict[tuple[EntityRef, date], Feedback] = {(one.entity, one.date): one for one in spoken}
        return [last[key] for key in sorted(last)]

    def history(
        self, family: str, config_id: int, *, entity_ids: Collection[str] | None = None
    ) -> list[Feedback]:
        """Every judgement, in the order in which they were recorded."""
        query: sa.Select[Any] = (
            sa.select(*entities.c["entity_type", "entity_id"], *table.c[("date", "person", *_SAID)])
            .join_from(table, entities)
            .where(table.c.family == family)
            .order_by(table.c.feedback_key)
        )
        with self._database.read() as connection:
            wanted = named(connection, config_id, entity_ids=entity_ids)
            rows = connection.execute(query.where(wanted)).all()
        return [
            Feedback(family, EntityRef(config_id, EntityType(row.entity_type), row.entity_id), *row[2:])
            for row in rows
        ]
