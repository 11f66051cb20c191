"""The training job of the anomaly detectors: store -> models -> registry, one model at a time."""

import threading
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import numpy as np
from adsml_common.database import Database
from adsml_common.domain.entities import EntityRef
from adsml_common.domain.errors import InsufficientHistory, NotFound
from adsml_common.registry.models import Candidate, model_name
from adsml_common.registry.registry import ModelRegistry
from adsml_common.store.metrics import MetricStore
from adsml_common.training.records import Item, ItemResult, ItemStatus

from adsml_anomaly.artifacts import FAMILY, FEATURES, MODEL_TYPE, POOLED_TYPE, to_files
from adsml_anomaly.histories import stored_series
from adsml_anomaly.models.channels import Days
from adsml_anomaly.models.fitting import POOL_DAYS_NEEDED, SEED, AccountPool, fit_entity, learn_pool
from adsml_anomaly.models.forest import SUBSAMPLE, TREES

HISTORY_DAYS: Final = 180
MOST_HELD_OUT_ALARMS: Final = 10.0
"""Per 30 held-out days: a model that cries wolf this much is registered, but does not serve."""


@dataclass
class DetectorTrainer:
    """Trains and registers the models of one account after the other on shared connections.

    An account's rows are read, and what its entities have in common is learned, when its first item comes.
    `false_alarms`, per entity and 30 days, is what the models are meant for, kept with their parameters: p-values hold
    for all rates that a request may ask for.
    """

    database: Database
    registry: ModelRegistry
    run_id: str
    false_alarms: float = 1.0
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _held: tuple[int, dict[EntityRef, Days], AccountPool] | None = field(default=None, init=False)

    def __call__(self, item: Item) -> ItemResult:
        """Train one item, register its model and activate it unless on held-out days it would have cried wolf."""
        series, pool = self._account(item.config_id)
        alarms = 0.0
        if item.entity_id is None:
            known = pool.account if item.entity_type is None else pool.levels.get(item.entity_type)
            if known is None:
                what = f"{item.entity_type} level of account {item.config_id}"
                raise InsufficientHistory(what, had=0, needed=POOL_DAYS_NEEDED)
            model, days, model_type = known.pooled, pool.calendar, POOLED_TYPE
            metrics: dict[str, Any] = {"held_out_days": known.samples, "entities": known.entities}
        else:
            assert item.entity_type is not None  # noqa: S101  # an entity's item names its level
            ref = EntityRef(item.config_id, item.entity_type, item.entity_id)
            if ref not in series:
                raise InsufficientHistory(str(ref), had=0, needed=1)
            days, model_type = series[ref], MODEL_TYPE
            fitted = fit_entity(days, pool, ref.entity_type, what=str(ref))
            model, alarms = fitted.model, fitted.held_out_alarms_per_month
            metrics = {
                "held_out_days": fitted.held_out_days,
                "days": fitted.days,
                "held_out_alarms_per_month": round(alarms, 3),
            }
        parameters: dict[str, Any] = {
            "false_alarms_per_month": self.false_alarms,
            "contamination": self.false_alarms / 30.0,
            "seed": SEED,
            "unevenness": dict(zip(FEATURES, np.sqrt(model.dynamics.phi).round(4).tolist(), strict=True)),
            "level_speed": dict(zip(FEATURES, model.dynamics.kappa.tolist(), strict=True)),
        }
        if model.forest is not None:
            parameters |= {"trees": TREES, "subsample": min(SUBSAMPLE, model.forest.subsample)}
        name = model_name(FAMILY, item.config_id, item.entity_type, item.entity_id)
        version = self.registry.register(
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
                run_id=self.run_id,
            )
        )
        actor = f"training run {self.run_id}"
        if alarms > MOST_HELD_OUT_ALARMS:
            reason = f"{alarms:.1f} alarms a month on held-out days; the level's profile serves instead"
            self.registry.reject(name, version.version, actor=actor, reason=reason)
        else:
            reason = "sane on held-out days"
            version = self.registry.activate(name, version.version, actor=actor, reason=reason)
        return ItemResult(ItemStatus.TRAINED, reason, model=version, metrics=metrics)

    def _account(self, config_id: int) -> tuple[dict[EntityRef, Days], AccountPool]:
        with self._lock:
            if self._held is None or self._held[0] != config_id:
                metrics = MetricStore(self.database)
                last = metrics.last_date(config_id)
                if last is None:
                    raise NotFound(f"account {config_id} has no daily rows; import some first")
                # Longer ago than this an entity was another entity.
                start = last - timedelta(days=HISTORY_DAYS - 1)
                series = stored_series(metrics, config_id, start=start)
                self._held = (config_id, series, learn_pool(series))
            return self._held[1:]
