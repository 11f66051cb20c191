"""Which model assesses a series: the entity's own, its level's or account's profile, or one learned on the spot."""

import threading
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final, TypeAlias

from adsml_common.database import Database
from adsml_common.domain.degradation import Degradation, DegradationReason, Dependency
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import AdsmlError, InsufficientHistory, Unavailable
from adsml_common.registry.loader import ModelLoader, ModelResolver
from adsml_common.registry.models import ModelVersion, model_name
from adsml_common.store.metrics import MetricStore
from cachetools import LRUCache

from adsml_anomaly.artifacts import FAMILY, entity_model
from adsml_anomaly.histories import stored_series
from adsml_anomaly.models.channels import Days
from adsml_anomaly.models.fitting import DAYS_NEEDED, POOL_DAYS_NEEDED, AccountPool, fit_entity, learn_pool
from adsml_anomaly.models.series_model import SeriesModel

POOLED_METHOD: Final = "robust_z_account_profile"
_POOLS_IN_MEMORY: Final = 8
_POOL_SAMPLE: Final = 20
"""Entities per level of a profile worked out while a caller waits."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What answered."""

    version: ModelVersion | None  # The registered model; None for a method
    pooled: bool  # Whether it is a profile of level or account, not the entity's own
    # The method, where there is no version; why not the first choice
    method: str = ""
    reason: str = ""
    degradations: tuple[Degradation, ...] = ()  # What the answer had to do without

    def without(self, more: tuple[Degradation, ...]) -> "Provenance":
        """With more that the answer had to do without."""
        return replace(self, degradations=(*self.degradations, *more))


@dataclass(frozen=True, slots=True)
class Scorer:
    """A model and where it comes from."""

    model: SeriesModel
    provenance: Provenance


Profiles: TypeAlias = dict[EntityType | None, Scorer | AdsmlError]
"""Profiles of an account's levels (None: the account's) as one request has looked them up."""


class ScorerResolver:
    """Finds models; threads share it. A profile that is not registered is learned from `history_days` of rows."""

    def __init__(self, database: Database, models: ModelLoader[SeriesModel], *, history_days: int) -> None:
        self._metrics = MetricStore(database)
        self.models = models
        self._resolver = ModelResolver(models, instead="a profile assesses the series")
        self._history = timedelta(days=history_days)
        self._lock = threading.Lock()
        self._pools: LRUCache[tuple[int, str], AccountPool] = LRUCache(_POOLS_IN_MEMORY)

    def scorer(self, ref: EntityRef, days: Days, profiles: Profiles) -> Scorer:
        """What assesses an entity of an account: its own model, else a profile.

        An InsufficientHistory where there is no model, and the account has too few rows for a profile.
        """
        own = self._resolver.resolve([entity_model(ref)])
        if own.loaded is not None:
            by = Provenance(own.loaded.version, pooled=False, degradations=own.degradations)
            return Scorer(own.loaded.model, by)
        profile = self.profile(ref.config_id, ref.entity_type, days, profiles)
        by = profile.provenance
        reasons = [*(one.detail for one in own.degradations), *([by.reason] if by.reason else [])]
        degradations = (*own.degradations, *by.degradations)
        return Scorer(profile.model, replace(by, reason="; ".join(reasons), degradations=degradations))

    def profile(self, config_id: int, level: EntityType | None, days: Days, profiles: Profiles) -> Scorer:
        """The profile of a level, or of the account (None), as it applies to a series; raises as `scorer`."""
        if level not in profiles:
            try:
                profiles[level] = self._profile(config_id, level)
            except AdsmlError as error:
                profiles[level] = error
        if isinstance(found := profiles[level], AdsmlError):
            raise found
        return replace(found, model=found.model.for_series(days))

    def for_sent(self, ref: EntityRef, days: Days, first: date, profiles: Profiles) -> Scorer:
        """What assesses a series that was sent along: as if it were stored, where it names an account (not 0).

        Else, and where the account has nothing for it, a model learned from the rows before the assessed ones, which
        begin on `first`, or from all of them where those are too few.
        """
        skipped: tuple[Degradation, ...] = ()
        if ref.config_id > 0:
            try:
                if ref.entity_id:
                    return self.scorer(ref, days, profiles)
                return self.profile(ref.config_id, ref.entity_type, days, profiles)
            except (InsufficientHistory, Unavailable) as error:
                down = isinstance(error, Unavailable)
                reason = DegradationReason.UNAVAILABLE if down else DegradationReason.NO_MODEL
                skipped = (Degradation(Dependency.MODEL, reason, error.message, str(ref)),)
        before = days.until(max(days.index(first) - 1, 0))
        history = before if int(before.delivered.sum()) >= DAYS_NEEDED else days
        pool = learn_pool({ref: history})
        if int(history.delivered.sum()) >= DAYS_NEEDED:
            model = fit_entity(history, pool, ref.entity_type, what=str(ref)).model
        else:
            model = pool.of(ref.entity_type).pooled.for_series(history)
        why = "no registered model applies: learned from the rows sent"
        return Scorer(model, Provenance(None, False, "own_history", why, skipped))

    # -- inside ----------------------------------------------------------------------------------------------

    def _profile(self, config_id: int, level: EntityType | None) -> Scorer:
        """A registered profile, or one learned now from the account's rows."""
        names = [model_name(FAMILY, config_id, one) for one in dict.fromkeys((level, None))]
        resolved = self._resolver.resolve(names, expected=False)
        if (loaded := resolved.loaded) is not None:
            by = Provenance(loaded.version, True, POOLED_METHOD, degradations=resolved.degradations)
            return Scorer(loaded.model, by)
        pool = self._learned(config_id)
        model = (pool.account if level is None else pool.of(level)).pooled
        why = "no profile is registered: learned from the account's rows"
        return Scorer(model, Provenance(None, True, POOLED_METHOD, why, resolved.degradations))

    def _learned(self, config_id: int) -> AccountPool:
        key = (config_id, self._metrics.data_version(config_id))
        with self._lock:
            pool = self._pools.get(key)
        if pool is None:
            last = self._metrics.last_date(config_id)
            if last is None:
                raise InsufficientHistory(f"account {config_id}", had=0, needed=POOL_DAYS_NEEDED)
            rows = stored_series(self._metrics, config_id, start=last - self._history)
            pool = learn_pool(rows, sample=_POOL_SAMPLE)
            with self._lock:
                self._pools[key] = pool
        return pool
