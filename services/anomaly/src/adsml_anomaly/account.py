"""What a question about one account's entities rests on, read in a few queries whatever their number."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final

from adsml_common.database import Database
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.completion import CompletionCurve
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.store.accounts import Account, AccountStore
from adsml_common.store.changes import ChangeStore
from adsml_common.store.completion import CompletionCurves
from adsml_common.store.entities import EntityStore
from adsml_common.store.feedback import FeedbackStore
from adsml_common.store.metrics import MetricStore

from adsml_anomaly.artifacts import FAMILY
from adsml_anomaly.histories import Histories
from adsml_anomaly.models.assessment import LOOK_BACK_DAYS
from adsml_anomaly.models.changes import RELATED_DAYS
from adsml_anomaly.models.channels import Days
from adsml_anomaly.models.results import Threshold
from adsml_anomaly.models.thresholds import USUAL, Judgement, moved
from adsml_anomaly.resolver import Profiles
from adsml_anomaly.settings import AnomalySettings

_ACTIVE: Final = frozenset({"ACTIVE", "IN_PROCESS", "WITH_ISSUES", ""})
_FEW: Final = 2_000
"""More entities than this are read as the whole account."""


@dataclass(frozen=True, slots=True)
class AccountContext:
    """An account's entities with what is known of them."""

    config_id: int
    last_day: date | None  # Its last day with a row: the clock. None: it has none.
    # The first and the last assessed day
    first: date
    as_of: date
    entities: Mapping[EntityRef, Entity]  # Those asked for, and their parents
    # Of those with rows in the history of the assessed days; each runs to the last one
    series: Mapping[EntityRef, Days]
    changes: Mapping[EntityRef, Sequence[ChangeEvent]]
    thresholds: Mapping[EntityRef, Threshold]  # As people's judgements have moved them; of any entity
    details: Account
    # How complete its young days are; None where nothing was restated, or too little
    curve: CompletionCurve | None
    profiles: Profiles = field(default_factory=dict)  # Models of its levels, as looked up

    def switched_off(self, ref: EntityRef) -> bool:
        """Whether it, or what it belongs to, is known not to run now."""
        return any((one.status or "").upper() not in _ACTIVE for one in self._upward(ref))

    def changes_of(self, ref: EntityRef) -> list[ChangeEvent]:
        """Its own changes and its parents': a campaign's budget is spent by its ad sets."""
        if not self.changes:
            return []
        refs = [one.ref for one in self._upward(ref)] or [ref]
        return [event for one in refs for event in self.changes.get(one, ())]

    def parent(self, ref: EntityRef) -> EntityRef | None:
        """The entity one level above; None where there is none or it is not known."""
        entity, level = self.entities.get(ref), ref.entity_type.parent_type
        if entity is None or entity.parent_id is None or level is None:
            return None
        return EntityRef(ref.config_id, level, entity.parent_id)

    def _upward(self, ref: EntityRef) -> list[Entity]:
        out: list[Entity] = []
        at: EntityRef | None = ref
        while at is not None and (entity := self.entities.get(at)) is not None:
            out.append(entity)
            at = self.parent(at)
        return out


class AccountReader:
    """Reads accounts; threads share it."""

    def __init__(self, database: Database, settings: AnomalySettings) -> None:
        self.metrics = MetricStore(database)
        self.entities = EntityStore(database)
        self._changes = ChangeStore(database)
        self._feedback = FeedbackStore(database)
        self.accounts = AccountStore(database)
        self._histories = Histories(self.metrics, capacity=settings.histories_in_memory)
        self._curves = CompletionCurves(self.metrics)
        self.history: Final = timedelta(days=settings.history_days)

    def read(
        self,
        config_id: int,
        refs: Sequence[EntityRef],
        *,
        first: date | None,
        as_of: date | None,
        sent: Mapping[EntityRef, Days] | None = None,
    ) -> AccountContext:
        """What is known of entities of one account; rows that were sent along are used in place of the stored ones.

        `first` and `as_of` are as asked for; None: the last day alone, the account's last day.
        """
        last = self.metrics.last_date(config_id)
        clock = last if sent is None else max((days.last_day for days in sent.values()), default=last)
        until = as_of or clock or datetime.now(UTC).date()
        first = min(first or until, until)
        start = first - self.history - timedelta(days=LOOK_BACK_DAYS)
        ids = None if len(refs) > _FEW else sorted({ref.entity_id for ref in refs})
        levels = {ref.entity_type for ref in refs}
        level = next(iter(levels)) if len(levels) == 1 else None
        entities = {one.ref: one for one in self.entities.list(config_id, entity_type=level, entity_ids=ids)}
        self._add_parents(config_id, entities)
        series: Mapping[EntityRef, Days] = {} if sent is None else sent
        if sent is None and last is not None:
            series = self._histories.of(
                config_id, entity_type=level, entity_ids=ids, start=start, last_day=last
            )
        if sent is not None or (last is not None and until > last):
            # Up to the last assessed day, with absent ones where rows end before.
            series = {ref: days.until(max(days.index(until), 0)) for ref, days in series.items()}
        changes: defaultdict[EntityRef, list[ChangeEvent]] = defaultdict(list)
        for event in self._changes.list(config_id, start=start - timedelta(days=RELATED_DAYS)):
            changes[event.entity].append(event)
        thresholds, account = self.thresholds(config_id, ids), self.accounts.get(config_id)
        curve = self._curves.of(config_id) if sent is None else None
        return AccountContext(
            config_id, clock, first, until, entities, series, changes, thresholds, account, curve
        )

    def thresholds(self, config_id: int, ids: Collection[str] | None) -> dict[EntityRef, Threshold]:
        """Each entity's threshold (of any), as people's judgements have moved it by now."""
        judged: defaultdict[EntityRef, list[tuple[date, Judgement]]] = defaultdict(list)
        for one in self._feedback.latest(FAMILY, config_id, entity_ids=ids):
            judged[one.entity].append((one.date, Judgement(one.label)))
        today = datetime.now(UTC).date()
        known = {ref: moved(several, today=today) for ref, several in judged.items()}
        return defaultdict(lambda: USUAL, known)

    def _add_parents(self, config_id: int, entities: dict[EntityRef, Entity]) -> None:
        for level in (EntityType.ADSET, EntityType.CAMPAIGN):
            below = (one for one in entities.values() if one.ref.entity_type.parent_type is level)
            missing = sorted(
                {one.parent_id for one in below if one.parent_id is not None}
                - {ref.entity_id for ref in entities if ref.entity_type is level}
            )
            if missing:
                ids = missing if len(missing) <= _FEW else None
                more = self.entities.list(config_id, entity_type=level, entity_ids=ids)
                entities.update({one.ref: one for one in more})
