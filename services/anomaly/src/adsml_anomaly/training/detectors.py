"""The training job of the anomaly detectors: store -> models -> registry, one model at a time."""

import threading
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
from adsml_common.database import Database
from adsml_common.domain.entities import EntityRef
from adsml_common.domain.errors import InsufficientHistory, NotFound
from adsml_common.registry.models import Candidate
from adsml_common.registry.registry import ModelRegistry
from adsml_common.store.metrics import MetricStore
from adsml_common.training.records import Item, ItemResult, ItemStatus

from adsml_anomaly.artifacts import FEATURES, MODEL_TYPE, POOLED_TYPE, to_files
from adsml_anomaly.histories import series
from adsml_anomaly.model_names import account_model, entity_model, level_model
from adsml_anomaly.models.channels import Days
from adsml_anomaly.models.fitting import POOL_DAYS_NEEDED, AccountPool, fit_entity, learn_pool
from adsml_anomaly.models.forest_growth import SUBSAMPLE, TREES
from adsml_anomaly.models.series_model import SeriesModel

HISTORY_DAYS: Final = 180
"""Longer ago than this an entity was another entity."""
MOST_HELD_OUT_ALARMS: Final = 10.0
"""Per 30 held-out days: a model that cries wolf this much is registered, but does not serve."""


@dataclass(frozen=True, slots=True)
class _Account:
    config_id: int
    series: dict[EntityRef, Days]
    pool: AccountPool


class DetectorTrainer:
    """Trains and registers the models of one account after the other on shared connections.

    An account's rows are read, and what its entities have in common is learned, when its first item comes.
    `false_alarms`, per entity and 30 days, is what the models are meant for, kept with their parameters: p-values hold
    for all rates that a request may ask for. `seed` is of forests and samples.
    """

    def __init__(
        self,
        database: Database,
        registry: ModelRegistry,
        *,
        run_id: str,
        false_alarms: float = 1.0,
        seed: int = 0,
    ) -> None:
        self._metrics = MetricStore(database)
        self._registry = registry
        self._run_id = run_id
        self._false_alarms = false_alarms
        self._seed = seed
        self._lock = threading.Lock()
        self._held: _Account | None = None

    def __call__(self, item: Item) -> ItemResult:
        """Train one item, register its model and activate it if it is sane."""
        account = self._account(item.config_id)
        if item.entity_id is None:
            return self._pooled(item, account)
        assert item.entity_type is not None  # noqa: S101  # an entity's item names its level
        ref = EntityRef(item.config_id, item.entity_type, item.entity_id)
        days = account.series.get(ref)
        if days is None:
            raise InsufficientHistory(str(ref), had=0, needed=1)
        fitted = fit_entity(days, account.pool, ref.entity_type, what=str(ref), seed=self._seed)
        alarms = fitted.held_out_alarms_per_month
        metrics = {
            "held_out_days": fitted.held_out_days,
            "days": fitted.days,
            "held_out_alarms_per_month": round(alarms, 3),
        }
        return self._register(item, entity_model(ref), MODEL_TYPE, fitted.model, days, metrics, alarms=alarms)

    def _pooled(self, item: Item, account: _Account) -> ItemResult:
        name, pool = account_model(item.config_id), account.pool.account
        if item.entity_type is not None:
            if item.entity_type not in account.pool.levels:
                what = f"{item.entity_type} level of account {item.config_id}"
                raise InsufficientHistory(what, had=0, needed=POOL_DAYS_NEEDED)
            name = level_model(item.config_id, item.entity_type)
            pool = account.pool.levels[item.entity_type]
        metrics = {"held_out_days": pool.samples, "entities": pool.entities}
        return self._register(item, name, POOLED_TYPE, pool.pooled, account.pool.calendar, metrics)

    def _register(
        self,
        item: Item,
        name: str,
        model_type: str,
        model: SeriesModel,
        days: Days,
        metrics: dict[str, Any],
        *,
        alarms: float = 0.0,
    ) -> ItemResult:
        """Register, and activate unless on held-out days it would have cried wolf."""
        parameters: dict[str, Any] = {
            "false_alarms_per_month": self._false_alarms,
            "contamination": self._false_alarms / 30.0,
            "seed": self._seed,
            "unevenness": dict(zip(FEATURES, np.sqrt(model.dynamics.phi).round(4).tolist(), strict=True)),
            "level_speed": dict(zip(FEATURES, model.dynamics.kappa.tolist(), strict=True)),
        }
        if model.forest is not None:
            parameters |= {"trees": TREES, "subsample": min(SUBSAMPLE, model.forest.subsample)}
        version = self._registry.register(
            Candidate(
                name=name,
                model_type=model_type,
                config_id=item.config_id,
                entity_type=item.entity_type,
                entity_id=item.entity_id,
                files=to_files(model),
                parameters=parameters,
                feature_columns=FEATURES,
                training_metrics=metrics,
                samples_count=metrics["held_out_days"],
                window_start=days.first_day,
                window_end=days.last_day,
                run_id=self._run_id,
            )
        )
        actor = f"training run {self._run_id}"
        if alarms > MOST_HELD_OUT_ALARMS:
            reason = f"{alarms:.1f} alarms a month on held-out days; the level's profile serves instead"
            self._registry.reject(name, version.version, actor=actor, reason=reason)
        else:
            reason = "sane on held-out days"
            version = self._registry.activate(name, version.version, actor=actor, reason=reason)
        return ItemResult(ItemStatus.TRAINED, reason, model=version, metrics=metrics)

    def _account(self, config_id: int) -> _Account:
        with self._lock:
            if self._held is None or self._held.config_id != config_id:
                last = self._metrics.last_date(config_id)
                if last is None:
                    raise NotFound(f"account {config_id} has no daily rows; import some first")
                found = series(self._metrics.daily(config_id, start=first_day(last)), config_id)
                self._held = _Account(config_id, found, learn_pool(found, seed=self._seed))
            return self._held


def first_day(last: date) -> date:
    """First day of the history that is learned from."""
    return last - timedelta(days=HISTORY_DAYS - 1)
