"""The family's jobs: tuned Prophet parameters and ensemble weights, through gates into the registry."""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any, Final, NamedTuple

import numpy as np
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
from adsml_forecasting.models.calibration import Weights, calibrate, combine
from adsml_forecasting.models.method import MEMBERS, Method
from adsml_forecasting.models.methods import MethodOptions
from adsml_forecasting.models.origins import (
    Origin,
    RollingOrigin,
    Task,
    as_forecasts,
    forecast_origins,
    join_pooled,
    newest_rows,
)
from adsml_forecasting.models.pooled_regression import learn
from adsml_forecasting.models.preparation import prepare
from adsml_forecasting.models.prophet.settings import DEFAULTS, Combination
from adsml_forecasting.models.prophet.tuning import TuningOutcome, tune
from adsml_forecasting.models.scores import measure
from adsml_forecasting.models.series import DailySeries

HORIZON: Final = 7
HELD_OUT_WEEKS: Final = 2
"""The newest weeks, on which a candidate is compared and which its training has not seen."""
LEAST_DAYS: Final = 30 + 7 * (HELD_OUT_WEEKS + 2)
GATE: Final = 0.10
"""Tuned parameters serve where their held-out error is lower than the defaults' by this share."""
ORIGINS: Final = 4
_LARGEST_LEVEL: Final = 200


class Gate(NamedTuple):
    """Whether a candidate may serve, and why."""

    passed: bool
    reason: str


def _series_of(store: MetricStore, item: Item, *, least_days: int = 1) -> list[DailySeries]:
    """The item's series that are long enough: the entity's own, or those of every entity of its level."""
    metric = Metric(item.payload["metric"])
    level = item.entity_type or EntityType.CAMPAIGN
    ids = None if item.entity_id is None else [item.entity_id]
    frame = store.daily(item.config_id, entity_type=level, entity_ids=ids)
    last = store.last_date(item.config_id)
    until = None if last is None else day_number(last) - item.payload["attribution_lag_days"]
    found: list[DailySeries] = []
    for name, rows in frame.groupby("entity_id", sort=True):
        with contextlib.suppress(InsufficientHistory):
            one = history(rows, name=f"{level} {name}", until=until)
            found.append(
                prepare(one, metric.value, as_of=one.last_day, horizon=HORIZON, levelled=False).series
            )
    kept = [one for one in found if len(one) >= least_days]
    if not kept:
        raise InsufficientHistory(item.key, had=max(map(len, found), default=0), needed=LEAST_DAYS)
    return sorted(kept, key=lambda one: -one.known)[:_LARGEST_LEVEL]


def train_prophet(
    item: Item, *, store: MetricStore, registry: ModelRegistry, run_id: str | None
) -> ItemResult:
    """Tune one entity's Prophet, register it, and let it serve if the gate does.

    The parameters are chosen on all but the newest two weeks and compared with the defaults on those. Where
    the gate shuts, the version stays READY with the reason and the defaults go on serving.
    """
    series = _series_of(store, item, least_days=LEAST_DAYS)[0]
    result = tune(series.until(len(series) - 7 * HELD_OUT_WEEKS))
    if result.outcome is not TuningOutcome.TUNED:
        return ItemResult(ItemStatus.SKIPPED, result.reason)
    rows = RollingOrigin(newest=HELD_OUT_WEEKS, horizon=HORIZON, period=HORIZON).rows(len(series))

    def error(method: Method, combination: Combination = DEFAULTS) -> float | None:
        task = Task(series, rows, MethodOptions(combination), tidy=True)
        return _wmape(forecast_origins([task], methods=[method], horizon=HORIZON)[0], method)

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
    parameters = asdict(result.combination)
    return _register(item, registry, [series], run_id, gate, result.combination, parameters, metrics)


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
    series = _series_of(store, item, least_days=LEAST_DAYS)
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
        "held_out_wmape": _wmape(newest, before.weights),
        "held_out_wmape_seasonal_naive": _wmape(newest, Method.SEASONAL_NAIVE),
        "held_out_wmape_incumbent": _wmape(newest, _incumbent_weights(incumbent, registry)),
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
    return _register(item, registry, series, run_id, gate, final, parameters, metrics)


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
    ensemble = family == registered.ENSEMBLE
    out: list[Item] = []
    for config_id in config_ids:
        owners: list[tuple[EntityType, str | None]] = []
        for kind in entity_types:
            if ensemble:
                owners.append((kind, None))
            if not ensemble or kind is EntityType.CAMPAIGN:
                names = store.daily(config_id, entity_type=kind)["entity_id"].unique()
                owners += [(kind, str(name)) for name in names]
        for metric in metrics:
            payload = {"metric": metric.value, "attribution_lag_days": attribution_lag_days}
            for kind, name in owners:
                key = "/".join(str(one) for one in (config_id, kind, name, metric) if one is not None)
                out.append(Item(key, config_id, kind, name, payload))
    return out


def _name(family: str, item: Item) -> str:
    return model_name(family, item.config_id, item.entity_type, item.entity_id, item.payload["metric"])


def _register(
    item: Item,
    registry: ModelRegistry,
    series: Sequence[DailySeries],
    run_id: str | None,
    gate: Gate,
    model: registered.Model,
    parameters: dict[str, Any],
    metrics: dict[str, Any],
) -> ItemResult:
    """Register what was learnt of some series, and let the gate decide."""
    family = registered.PROPHET if isinstance(model, Combination) else registered.ENSEMBLE
    candidate = Candidate(
        name=_name(family, item),
        model_type=family,
        config_id=item.config_id,
        entity_type=item.entity_type,
        entity_id=item.entity_id,
        samples_count=sum(one.known for one in series),
        window_start=day_of(min(one.first_day for one in series)),
        window_end=day_of(max(one.last_day for one in series)),
        run_id=run_id,
        files=registered.files(model, metrics),
        parameters=parameters,
        training_metrics=metrics,
    )
    version = registry.register(candidate)
    decide = registry.activate if gate.passed else registry.reject
    decide(version.name, version.version, actor=f"train {family}", reason=gate.reason)
    shown = {name: one for name, one in metrics.items() if isinstance(one, float)}
    return ItemResult(ItemStatus.TRAINED, gate.reason, version, shown)


def _incumbent_weights(incumbent: ModelVersion | None, registry: ModelRegistry) -> Weights | None:
    """None without one, or where it cannot be read: it answers nothing any more, which anything is better than."""
    if incumbent is None:
        return None
    try:
        model = registered.parse(incumbent, registry.read(incumbent))
    except ArtifactCorrupt:
        return None
    return None if isinstance(model, Combination) else model.weights


def _wmape(found: Sequence[Origin], by: Method | Weights | None) -> float | None:
    """The error of a method or of an ensemble."""
    if by is None or not found:
        return None
    gone = np.full(HORIZON, np.nan)
    if isinstance(by, Method):
        points = [one.forecasts.get(by, gone) for one in found]
    else:
        points = [combine(by, one.forecasts)[0] if one.forecasts else gone for one in found]
    return measure(as_forecasts(found, points), level=LEVEL).wmape.value
