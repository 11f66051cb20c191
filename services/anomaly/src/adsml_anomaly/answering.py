"""Answers for stored entities and for series sent along: what judges them, their changes, their thresholds."""

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final

from adsml_common.database import Database
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.degradation import Degradation, DegradationReason
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.domain.errors import AdsmlError, ArtifactCorrupt, InsufficientHistory, NotFound, Unavailable
from adsml_common.registry.loader import Loaded, ModelLoader
from adsml_common.registry.models import ModelVersion
from adsml_common.store.changes import ChangeStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.feedback import FeedbackStore
from adsml_common.store.metrics import MetricStore

from adsml_anomaly.changes import RELATED_DAYS
from adsml_anomaly.channels import Days
from adsml_anomaly.detect import LOOK_BACK_DAYS, Options, Subject, assess
from adsml_anomaly.fitting import DAYS_NEEDED, AccountPool, fit_entity, learn_pool
from adsml_anomaly.history import Histories, series
from adsml_anomaly.model import SeriesModel
from adsml_anomaly.naming import FAMILY, account_model, entity_model, level_model
from adsml_anomaly.report import Report, Threshold
from adsml_anomaly.thresholds import DEFAULT_FALSE_ALARMS, Judged, Judgement, moved

POOLED_METHOD: Final = "robust_z_account_profile"
OWN_METHOD: Final = "own_history"
_POOLS_KEPT: Final = 8
_POOL_SAMPLE: Final = 20
"""Entities per level of a profile worked out while a caller waits."""
_ACTIVE: Final = frozenset({"ACTIVE", "IN_PROCESS", "WITH_ISSUES", ""})


@dataclass(frozen=True, slots=True)
class By:
    """What answered.

    Attributes
    ----------
    version
        The registered model; None for a method.
    pooled
        Whether it is a profile of level or account, not the entity's own.
    method, reason
        The method, where there is no version; why not the first choice.
    degradations
        What the answer had to do without.
    """

    version: ModelVersion | None
    pooled: bool
    method: str = ""
    reason: str = ""
    degradations: tuple[Degradation, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A report and what gave it."""

    report: Report
    by: By


@dataclass(frozen=True, slots=True)
class _Judge:
    model: SeriesModel
    by: By


@dataclass(slots=True)
class _Context:
    """What a batch of one account shares."""

    entities: dict[EntityRef, Entity]
    series: dict[EntityRef, Days]
    changes: dict[EntityRef, list[ChangeEvent]]
    judged: dict[EntityRef, list[Judged]]
    pools: dict[EntityType, _Judge | AdsmlError] = field(default_factory=dict)


class Detector:
    """Judges series with the registry's models; threads share it.

    Parameters
    ----------
    database
        Where rows, entities, changes and feedback are.
    models
        The loader.
    history_days
        Days before the first assessed one that are read.
    histories_in_memory
        Series kept while their rows do not change.
    """

    def __init__(
        self,
        database: Database,
        models: ModelLoader[SeriesModel],
        *,
        history_days: int = 120,
        histories_in_memory: int = 10_000,
    ) -> None:
        self._metrics = MetricStore(database)
        self._entities = EntityStore(database)
        self._changes = ChangeStore(database)
        self._feedback = FeedbackStore(database)
        self._histories = Histories(self._metrics, capacity=histories_in_memory)
        self._models = models
        self._history = timedelta(days=history_days)
        self._lock = threading.Lock()
        self._pools: OrderedDict[int, tuple[str, AccountPool]] = OrderedDict()

    def stored(
        self, config_id: int, refs: Sequence[EntityRef], options: Options
    ) -> list[Answer | AdsmlError]:
        """Judge stored entities of one account; one query for each kind of thing, whatever their number."""
        last = self._metrics.last_date(config_id)
        if last is None:
            return [_unknown(ref) for ref in refs]
        context = self._gather(config_id, refs, options, last)
        self._models.prefetch(entity_model(ref) for ref in refs if ref in context.entities)
        return [self._one(ref, context, options) for ref in refs]

    def sent(self, ref: EntityRef, days: Days, options: Options, *, what: str) -> Answer:
        """Judge a series sent along.

        Parameters
        ----------
        ref
            Its level and name; account 0 where none was named: no registered model is looked up then.
        days
            Its rows.
        what
            Where it stands in the request, for errors.

        Raises
        ------
        InsufficientHistory, InvalidInput
            As `detect.assess`.
        """
        judge = self._for_sent(ref, days, options, what)
        subject = Subject(
            name=what if not ref.entity_id else str(ref),
            days=days,
            model=judge.model,
            threshold=Threshold(DEFAULT_FALSE_ALARMS),
        )
        return Answer(assess(subject, options), judge.by)

    def threshold(self, ref: EntityRef) -> Threshold:
        """An entity's threshold as people's judgements have it now."""
        return self._moved(self._judged(ref.config_id, [ref.entity_id]).get(ref, []))

    def require(self, ref: EntityRef) -> None:
        """Raise NotFound for an entity that is not stored."""
        if not self._entities.list(ref.config_id, entity_type=ref.entity_type, entity_ids=[ref.entity_id]):
            raise _unknown(ref)

    # -- inside ----------------------------------------------------------------------------------------------

    def _gather(self, config_id: int, refs: Sequence[EntityRef], options: Options, last: date) -> _Context:
        ids = sorted({ref.entity_id for ref in refs})
        first = min(options.first_date or last, options.last_date or last)
        start = first - self._history - timedelta(days=LOOK_BACK_DAYS)
        levels = {ref.entity_type for ref in refs}
        level = next(iter(levels)) if len(levels) == 1 else None
        found = {one.ref: one for one in self._entities.list(config_id, entity_type=level, entity_ids=ids)}
        days = self._histories.of(config_id, entity_type=level, entity_ids=ids, start=start, last_day=last)
        parents = {one.parent_id for one in found.values() if one.parent_id is not None}
        above = self._entities.list(config_id, entity_ids=sorted(parents)) if parents else []
        found |= {one.ref: one for one in above if one.ref not in found}
        changes: dict[EntityRef, list[ChangeEvent]] = {}
        for event in self._changes.list(config_id, start=start - timedelta(days=RELATED_DAYS)):
            changes.setdefault(event.entity, []).append(event)
        return _Context(found, days, changes, self._judged(config_id, ids))

    def _judged(self, config_id: int, ids: Collection[str]) -> dict[EntityRef, list[Judged]]:
        out: dict[EntityRef, list[Judged]] = {}
        for one in self._feedback.latest(FAMILY, config_id, entity_ids=ids):
            out.setdefault(one.entity, []).append(Judged(one.date, Judgement(one.label)))
        return out

    @staticmethod
    def _moved(judged: Sequence[Judged]) -> Threshold:
        return moved(judged, today=datetime.now(UTC).date())

    def _one(self, ref: EntityRef, context: _Context, options: Options) -> Answer | AdsmlError:
        entity, days = context.entities.get(ref), context.series.get(ref)
        if entity is None:
            return _unknown(ref)
        if days is None:
            return InsufficientHistory(str(ref), had=0, needed=8)
        try:
            judge = self._for_stored(ref, days, context)
            subject = Subject(
                name=str(ref),
                days=days,
                model=judge.model,
                threshold=self._moved(context.judged.get(ref, ())),
                changes=self._changes_of(entity, context),
                switched_off=(entity.status or "").upper() not in _ACTIVE,
            )
            return Answer(assess(subject, options), judge.by)
        except AdsmlError as error:
            return error

    @staticmethod
    def _changes_of(entity: Entity, context: _Context) -> list[ChangeEvent]:
        """Its own changes and its parents': a campaign's budget is spent by its ad sets."""
        out: list[ChangeEvent] = []
        at: Entity | None = entity if context.changes else None
        while at is not None:
            out.extend(context.changes.get(at.ref, ()))
            level = at.ref.entity_type.parent_type
            if level is None or at.parent_id is None:
                break
            at = context.entities.get(EntityRef(at.ref.config_id, level, at.parent_id))
        return out

    def _for_stored(self, ref: EntityRef, days: Days, context: _Context) -> _Judge:
        own, why = self._load(entity_model(ref))
        if own is not None:
            return _Judge(own.model, By(own.version, pooled=False, degradations=own.degradations))
        if ref.entity_type not in context.pools:
            try:
                context.pools[ref.entity_type] = self._pool(ref.config_id, ref.entity_type)
            except AdsmlError as error:
                context.pools[ref.entity_type] = error
        pool = context.pools[ref.entity_type]
        if isinstance(pool, AdsmlError):
            raise pool
        by = By(
            pool.by.version, pooled=True, method=POOLED_METHOD,
            reason=f"{why.detail}; {pool.by.reason}" if pool.by.reason else why.detail,
            degradations=(why, *pool.by.degradations),
        )  # fmt: skip
        return _Judge(pool.model.for_series(days), by)

    def _pool(self, config_id: int, level: EntityType) -> _Judge:
        """A registered profile of level or account, or one learned now from the account's rows."""
        told: list[Degradation] = []
        for name in (level_model(config_id, level), account_model(config_id)):
            loaded, why = self._load(name)
            if loaded is not None:
                return _Judge(
                    loaded.model, By(loaded.version, pooled=True, degradations=(*told, *loaded.degradations))
                )
            told.append(why)
        model = self._learned(config_id).of(level).pooled
        return _Judge(
            model, By(None, pooled=True, reason="no profile is registered: learned from the account's rows")
        )

    def _learned(self, config_id: int) -> AccountPool:
        version = self._metrics.data_version(config_id)
        with self._lock:
            kept = self._pools.get(config_id)
            if kept is not None and kept[0] == version:
                self._pools.move_to_end(config_id)
                return kept[1]
        last = self._metrics.last_date(config_id)
        start = None if last is None else last - self._history
        pool = learn_pool(series(self._metrics.daily(config_id, start=start), config_id), sample=_POOL_SAMPLE)
        with self._lock:
            self._pools[config_id] = (version, pool)
            while len(self._pools) > _POOLS_KEPT:
                self._pools.popitem(last=False)
        return pool

    def _for_sent(self, ref: EntityRef, days: Days, options: Options, what: str) -> _Judge:
        told: tuple[Degradation, ...] = ()
        if ref.config_id > 0:
            if ref.entity_id:
                own, why = self._load(entity_model(ref))
                if own is not None:
                    return _Judge(own.model, By(own.version, pooled=False, degradations=own.degradations))
                told = (why,)
            for name in (level_model(ref.config_id, ref.entity_type), account_model(ref.config_id)):
                loaded, why = self._load(name)
                if loaded is not None:
                    by = By(loaded.version, True, POOLED_METHOD, "", (*told, *loaded.degradations))
                    return _Judge(loaded.model.for_series(days), by)
                told = (*told, why)
        first = options.first_date or options.last_date or days.last_day
        known = Days(days.first_day, days.rows[: max(days.index(first), 0)])
        # Learn from before the assessed days where that is enough, else from all.
        history = known if int(known.delivered.sum()) >= DAYS_NEEDED else days
        pool = learn_pool({ref: history})
        if int(history.delivered.sum()) >= DAYS_NEEDED:
            model = fit_entity(history, pool, ref.entity_type, what=what).model
        else:
            model = pool.of(ref.entity_type).pooled.for_series(history)
        reason = "no registered model applies: learned from the rows sent"
        return _Judge(model, By(None, pooled=False, method=OWN_METHOD, reason=reason, degradations=told))

    def _load(self, name: str) -> tuple[Loaded[SeriesModel] | None, Degradation]:
        nothing = Degradation(
            f"model {name}", DegradationReason.NO_MODEL, f"no model {name} is registered and active"
        )
        try:
            return self._models.get(name), nothing
        except ArtifactCorrupt as error:
            return None, Degradation(f"model {name}", DegradationReason.CORRUPT, error.message)
        except Unavailable as error:
            return None, Degradation(f"model {name}", DegradationReason.UNAVAILABLE, error.message)


def _unknown(ref: EntityRef) -> NotFound:
    return NotFound(f"{ref} is not stored")
