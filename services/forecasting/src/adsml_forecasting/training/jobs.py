"""The family's jobs: tuned Prophet parameters and ensemble weights, through gates into the registry."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import ArtifactCorrupt, InsufficientHistory
from adsml_common.domain.metrics import Metric
from adsml_common.registry.models import Candidate, ModelVersion, model_name
from adsml_common.registry.registry import ModelRegistry
from adsml_common.store.metrics import MetricStore
from adsml_common.training.records import Item, ItemResult, ItemStatus

from adsml_forecasting import registered
from adsml_forecasting.decoding import day_number, day_of, history
from adsml_forecasting.evaluation.study import LEVEL
from adsml_forecasting.models.calibration import calibrate
from adsml_forecasting.models.combining import Weights, combine
from adsml_forecasting.models.method import MEMBERS, Method
from adsml_forecasting.models.methods import MethodOptions
from adsml_forecasting.models.origins import Origin, Task, as_forecasts, forecast_origins, join_pooled
from adsml_forecasting.models.pooled_regression import learn
from adsml_forecasting.models.preparation import prepare
from adsml_forecasting.models.prophet.settings import DEFAULTS, Combination
from adsml_forecasting.models.prophet.tuning import TuningOutcome, tune
from adsml_forecasting.models.rolling_origin import RollingOrigin, newest_rows
from adsml_forecasting.models.scores import measure
from adsml_forecasting.models.series import DailySeries, Vector

HORIZON: Final = 7
HELD_OUT_WEEKS: Final = 2
"""The newest weeks, on which a candidate is compared and which its training has not seen."""
LEAST_DAYS: Final = 30 + 7 * (HELD_OUT_WEEKS + 2)
GATE: Final = 0.10
"""Tuned parameters serve where their held-out error is lower than the defaults' by this share."""
ORIGINS: Final = 4
_LARGEST_LEVEL: Final = 200


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a candidate may serve, and why."""

    passed: bool
    reason: str


def _series_of(store: MetricStore, item: Item) -> list[DailySeries]:
    """The item's series: the entity's own, or those of every entity of its level."""
    metric = Metric(item.payload["metric"])
    level = item.entity_type or EntityType.CAMPAIGN
    ids = None if item.entity_id is None else [item.entity_id]
    frame = store.daily(item.config_id, entity_type=level, entity_ids=ids)
    last = store.last_date(item.config_id)
    until = None if last is None else day_number(last) - item.payload["attribution_lag_days"]
    found: list[DailySeries] = []
    for name, rows in frame.groupby("entity_id", sort=True):
        try:
            one = history(rows, name=f"{level} {name}", until=until)
            found.append(
                prepare(one, metric.value, as_of=one.last_day, horizon=HORIZON, levelled=False).series
            )
        except InsufficientHistory:
            continue
    if not found:
        raise InsufficientHistory(item.key, had=0, needed=LEAST_DAYS)
    return sorted(found, key=lambda one: -one.known)[:_LARGEST_LEVEL]


def _long_enough(series: Sequence[DailySeries], item: Item) -> list[DailySeries]:
    kept = [one for one in series if len(one) >= LEAST_DAYS]
    if not kept:
        longest = max(len(one) for one in series)
        raise InsufficientHistory(item.key, had=longest, needed=LEAST_DAYS)
    return kept


def train_prophet(
    item: Item, *, store: MetricStore, registry: ModelRegistry, run_id: str | None
) -> ItemResult:
    """Tune one entity's Prophet, register it, and let it serve if the gate does.

    The parameters are chosen on all but the newest two weeks and compared with the defaults on those. Where
    the gate shuts, the version stays READY with the reason and the defaults go on serving.
    """
    series = _long_enough(_series_of(store, item), item)[0]
    seen = series.until(len(series) - 7 * HELD_OUT_WEEKS)
    days = pd.to_datetime(np.arange(len(seen)) + seen.first_day, unit="D")
    result = tune(pd.DataFrame({"ds": days, "y": seen.values}), name=series.name)
    if result.outcome is not TuningOutcome.TUNED:
        return ItemResult(ItemStatus.SKIPPED, result.reason)
    rows = RollingOrigin(newest=HELD_OUT_WEEKS, horizon=HORIZON, period=HORIZON).rows(len(series))

    def error(method: Method, combination: Combination = DEFAULTS) -> float | None:
        task = Task(series, rows, MethodOptions(combination), tidy=True)
        found = forecast_origins([task], methods=[method], horizon=HORIZON)
        return _method_error(found[0], method)

    tuned, default = error(Method.PROPHET, result.combination), error(Method.PROPHET)
    naive = error(Method.SEASONAL_NAIVE)
    gate = prophet_gate(tuned, default, naive)
    metrics: dict[str, Any] = {
        "held_out_wmape": tuned,
        "held_out_wmape_defaults": default,
        "held_out_wmape_seasonal_naive": naive,
        "tuning_error": result.error,
        "tuning_error_defaults": result.default_error,
        "gate": gate.reason,
    }
    files = registered.prophet_files(result.combination, metrics)
    parameters = asdict(result.combination)
    return _register(item, registry, registered.PROPHET, files, parameters, metrics, [series], run_id, gate)


def prophet_gate(tuned: float | None, default: float | None, naive: float | None) -> Gate:
    """More than 10% lower wMAPE than the defaults on the held-out weeks, and lower than seasonal naive's."""
    if tuned is None or default is None:
        return Gate(False, "no day of the held-out weeks has a value above 0 to measure against")
    if not tuned < (1 - GATE) * default:
        return Gate(False, f"wMAPE {tuned:.1%} is not {GATE:.0%} below the defaults' {default:.1%}")
    if naive is not None and not tuned < naive:
        return Gate(False, f"wMAPE {tuned:.1%} is not below seasonal naive's {naive:.1%}")
    return Gate(True, f"wMAPE {tuned:.1%} against {default:.1%} with defaults on the held-out weeks")


def train_ensemble(
    item: Item, *, store: MetricStore, registry: ModelRegistry, run_id: str | None
) -> ItemResult:
    """Weigh the members for one entity, level or account, and measure the intervals.

    Weights learnt without the newest cutoff are compared there with the incumbent's and with seasonal naive;
    those that pass are learnt again from all cutoffs.
    """
    series = _long_enough(_series_of(store, item), item)
    tasks = [Task(one, newest_rows(len(one), horizon=HORIZON, count=ORIGINS), tidy=True) for one in series]
    alone = tuple(method for method in MEMBERS if method is not Method.POOLED_REGRESSION)
    found = forecast_origins([task for task in tasks if task.rows], methods=alone, horizon=HORIZON)
    # One entity's regression still learns from all of its level.
    kind = series if item.entity_id is None else _series_of(store, replace(item, entity_id=None))
    found = join_pooled(found, kind, horizon=HORIZON)
    newest_day = max(one.last_day for one in kind)
    pooled = learn(kind, cutoffs=[newest_day], horizon=HORIZON).get(newest_day)
    before = calibrate([one[:-1] for one in found], members=MEMBERS, level=LEVEL)
    final = calibrate(found, members=MEMBERS, level=LEVEL, pooled=pooled)
    if before is None or final is None:
        raise InsufficientHistory(item.key, had=min(len(one) for one in series), needed=LEAST_DAYS)
    newest = [one[-1] for one in found]
    incumbent = registry.active(_name(registered.ENSEMBLE, item))
    errors = {
        "held_out_wmape": _ensemble_error(newest, before.weights),
        "held_out_wmape_seasonal_naive": _method_error(newest, Method.SEASONAL_NAIVE),
        "held_out_wmape_incumbent": (
            None if incumbent is None else _incumbent_error(newest, incumbent, registry)
        ),
    }
    gate = ensemble_gate(**errors)
    metrics = errors | {
        "coverage": final.coverage,
        "coverage_samples": final.coverage_samples,
        "losses": dict(final.losses),
        "gate": gate.reason,
    }
    parameters = {
        "combiner": final.weights.combiner.value,
        "weights": {method.value: weight for method, weight in final.weights.weights.items()},
        "horizon": HORIZON,
        "season_length": final.season_length,
        "origins": final.origins,
    }
    files = registered.ensemble_files(final)
    return _register(item, registry, registered.ENSEMBLE, files, parameters, metrics, series, run_id, gate)


def ensemble_gate(
    *,
    held_out_wmape: float | None,
    held_out_wmape_seasonal_naive: float | None,
    held_out_wmape_incumbent: float | None,
) -> Gate:
    """Lower wMAPE on the newest cutoff than seasonal naive's, and not more than 2% above the incumbent's."""
    if held_out_wmape is None:
        return Gate(False, "no day of the newest cutoff has a value above 0 to measure against")
    naive, incumbent = held_out_wmape_seasonal_naive, held_out_wmape_incumbent
    if naive is not None and not held_out_wmape < naive:
        return Gate(False, f"wMAPE {held_out_wmape:.1%} is not below seasonal naive's {naive:.1%}")
    if incumbent is not None and held_out_wmape > 1.02 * incumbent:
        return Gate(False, f"wMAPE {held_out_wmape:.1%} is above the active version's {incumbent:.1%}")
    return Gate(True, f"wMAPE {held_out_wmape:.1%} on the newest cutoff")


def items(
    store: MetricStore,
    *,
    family: str,
    config_ids: Iterable[int],
    entity_types: Sequence[EntityType],
    metrics: Sequence[Metric],
    attribution_lag_days: int,
) -> list[Item]:
    """Everything a run covers: per entity and metric for Prophet; per level and campaign for the ensemble."""
    out: list[Item] = []
    alone = [kind for kind in entity_types if family != registered.ENSEMBLE or kind is EntityType.CAMPAIGN]
    for config_id in config_ids:
        names = {kind: store.daily(config_id, entity_type=kind)["entity_id"].unique() for kind in alone}
        for metric in metrics:
            payload = {"metric": metric.value, "attribution_lag_days": attribution_lag_days}
            for kind in entity_types:
                if family == registered.ENSEMBLE:
                    out.append(Item(f"{config_id}/{kind}/{metric}", config_id, kind, None, payload))
                out += [
                    Item(f"{config_id}/{kind}/{name}/{metric}", config_id, kind, str(name), payload)
                    for name in names.get(kind, ())
                ]
    return out


def _name(family: str, item: Item) -> str:
    return model_name(family, item.config_id, item.entity_type, item.entity_id, item.payload["metric"])


def _register(
    item: Item,
    registry: ModelRegistry,
    family: str,
    files: dict[str, bytes],
    parameters: dict[str, Any],
    metrics: dict[str, Any],
    series: Sequence[DailySeries],
    run_id: str | None,
    gate: Gate,
) -> ItemResult:
    version: ModelVersion = registry.register(
        Candidate(
            name=_name(family, item),
            model_type=family,
            config_id=item.config_id,
            entity_type=item.entity_type,
            entity_id=item.entity_id,
            files=files,
            parameters=parameters,
            training_metrics=metrics,
            samples_count=sum(one.known for one in series),
            window_start=day_of(min(one.first_day for one in series)),
            window_end=day_of(max(one.last_day for one in series)),
            run_id=run_id,
        )
    )
    decide = registry.activate if gate.passed else registry.reject
    decide(version.name, version.version, actor=f"train {family}", reason=gate.reason)
    shown = {name: value for name, value in metrics.items() if isinstance(value, float)}
    return ItemResult(ItemStatus.TRAINED, gate.reason, version, shown)


def _method_error(found: Sequence[Origin], method: Method) -> float | None:
    gone = np.full(HORIZON, np.nan)
    return _wmape(found, [origin.forecasts.get(method, gone) for origin in found])


def _ensemble_error(found: Sequence[Origin], weights: Weights) -> float | None:
    some = [origin for origin in found if origin.forecasts]
    return _wmape(some, [combine(weights, origin.forecasts)[0] for origin in some])


def _incumbent_error(
    found: Sequence[Origin], incumbent: ModelVersion, registry: ModelRegistry
) -> float | None:
    """None where it cannot be read: it answers nothing any more, so there is nothing to be better than."""
    try:
        model = registered.parse(incumbent, registry.read(incumbent))
    except ArtifactCorrupt:
        return None
    return None if isinstance(model, Combination) else _ensemble_error(found, model.weights)


def _wmape(found: Sequence[Origin], points: Sequence[Vector]) -> float | None:
    if not found:
        return None
    return measure(as_forecasts(found, points), level=LEVEL).wmape.value
