"""Measures every method and the ensemble on a file's held-out days, by the code that the service runs.

Nothing is learnt from the test days: members, combiner, the best single model and the intervals come from
rolling origins inside the training part.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from adsml_forecasting.evaluation.long_csv import HeldOut
from adsml_forecasting.models.calibration import Calibration, calibrate
from adsml_forecasting.models.combining import Combiner, Weights, combine, inverse_mape
from adsml_forecasting.models.method import CLASSIC, INTERMITTENT, MEMBERS, Method
from adsml_forecasting.models.origins import (
    Origin,
    Progress,
    Task,
    as_forecasts,
    forecast_origins,
    set_intervals,
)
from adsml_forecasting.models.rolling_origin import newest_rows
from adsml_forecasting.models.scores import NAMES, Scores, measure
from adsml_forecasting.models.series import Vector
from adsml_forecasting.models.totals import total_interval, total_spread

_FOUR: Final[tuple[Method, ...]] = (
    Method.AUTO_ETS,
    Method.AUTO_CES,
    Method.DYNAMIC_OPTIMIZED_THETA,
    Method.SEASONAL_NAIVE,
)
"""The four statistical models whose median is the thing to beat."""
LEVEL: Final = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What was measured.

    `combinations` are others for comparison: the asked-for one, the median of four statistical models.
    `calibration` is what the ensemble learnt, None where histories are too short for it; `validation` the
    scaled absolute error of each method on the validation cutoffs, by which `best_single` is chosen. `totals`
    are of the ensemble's sums over the horizon: wMAPE, and coverage and mean relative width of the intervals.
    """

    methods: Mapping[Method, Scores]
    ensemble: Scores
    combinations: Mapping[str, Scores]
    calibration: Calibration | None
    best_single: Method
    validation: Mapping[Method, float]
    totals: dict[str, float | None]
    series: int
    seconds: float
    method_seconds: Mapping[Method, float]
    failures: Mapping[Method, int]

    def as_json(self) -> dict[str, Any]:
        """The object of `adsml evaluate forecasting --json`."""
        best = self.methods[self.best_single]
        learnt = self.calibration
        return {
            "methods": {method.value: _row(scores) for method, scores in self.methods.items()},
            "ensemble": _row(self.ensemble)
            | {
                "combiner": None if learnt is None else learnt.weights.combiner,
                "weights": {} if learnt is None else dict(learnt.weights.weights),
                "validation_coverage": None if learnt is None else learnt.coverage,
                "totals": self.totals,
            },
            "combinations": {name: _row(scores) for name, scores in self.combinations.items()},
            "best_single_on_validation": {"name": self.best_single.value}
            | {name: getattr(best, name).value for name in ("wmape", "smape", "mase")},
            "validation": {method.value: error for method, error in self.validation.items()},
            "failures": {method.value: count for method, count in self.failures.items()},
            "series": self.series,
            "seconds": round(self.seconds, 2),
            "method_seconds": {
                method.value: round(seconds, 2) for method, seconds in self.method_seconds.items()
            },
        }


def _row(scores: Scores) -> dict[str, Any]:
    row = {name: getattr(scores, name).value for name in NAMES}
    return row | {"coverage_90": row.pop("coverage"), "mape_dropped_share": scores.mape_dropped_share}


def members_for(series: Sequence[HeldOut]) -> tuple[Method, ...]:
    """`MEMBERS`, and the intermittent-demand methods where more than a fifth of all known days are 0."""
    known = np.concatenate([one.series.values[: one.rows] for one in series])
    known = known[np.isfinite(known)]
    return MEMBERS + INTERMITTENT if (known == 0).mean() > 0.2 else MEMBERS


def evaluate(
    series: Sequence[HeldOut],
    *,
    horizon: int,
    season_length: int,
    methods: Sequence[Method] | None = None,
    origins: int = 3,
    pool: ProcessPoolExecutor | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Forecast the test days of every series and measure.

    `methods` (None: `members_for` the data) are compared, and members chosen from them, by so many validation
    `origins`. `progress` is called with the number of origins done; `origins` + 1 per series at most.
    """
    began = time.perf_counter()
    chosen = tuple(methods) if methods is not None else members_for(series)
    tasks = [
        Task(one.series, [*newest_rows(one.rows, horizon=horizon, count=origins), one.rows], tidy=True)
        for one in series
    ]
    found = forecast_origins(
        tasks, methods=chosen, horizon=horizon, season_length=season_length, pool=pool, progress=progress
    )
    return summarise(
        [one[:-1] for one in found],
        [one[-1] for one in found],
        methods=chosen,
        horizon=horizon,
        season_length=season_length,
        seconds=time.perf_counter() - began,
    )


def summarise(
    validation: Sequence[Sequence[Origin]],
    test: Sequence[Origin],
    *,
    methods: Sequence[Method],
    horizon: int,
    season_length: int,
    seconds: float,
) -> Evaluation:
    """Learn from the validation origins and measure on the test ones."""
    gone = np.full(horizon, np.nan)

    def learnt(members: Sequence[Method], weights: Weights | None = None) -> Calibration | None:
        return calibrate(
            validation, members=members, season_length=season_length, level=LEVEL, weights=weights
        )

    def scored(points: Sequence[Vector], calibration: Calibration | None) -> Scores:
        found = as_forecasts(test, points, season_length=season_length)
        if calibration is not None:
            set_intervals(found, test, range(len(test)), calibration.quantiles, LEVEL)
        return measure(found, level=LEVEL)

    def combined(weights: Weights, members: Sequence[Method]) -> list[Vector]:
        return [combine(weights, have)[0] if (have := _only(o, members)) else gone for o in test]

    calibration = learnt(methods)
    own = {method: learnt([method], Weights.equal(Combiner.MEAN, [method])) for method in methods}
    scores = {m: scored([o.forecasts.get(m, gone) for o in test], own[m]) for m in methods}
    weights = Weights.equal(Combiner.MEDIAN, methods) if calibration is None else calibration.weights
    ensemble = [combine(weights, o.forecasts)[0] if o.forecasts else gone for o in test]
    combinations: dict[str, Scores] = {}
    if set(CLASSIC) <= set(methods):
        points = _classic(validation, test, gone)
        combinations["PROPHET_EMA_LINEAR_INVERSE_MAPE"] = scored(points, None)
    if set(_FOUR) <= set(methods):
        four = Weights.equal(Combiner.MEDIAN, _FOUR)
        combinations["MEDIAN_OF_FOUR"] = scored(combined(four, _FOUR), learnt(_FOUR, four))
    losses = {m: float("inf") if c is None else c.losses.get(m.value, float("inf")) for m, c in own.items()}
    both = [o for one in (*validation, test) for o in one]
    return Evaluation(
        methods=scores,
        ensemble=scored(ensemble, calibration),
        combinations=combinations,
        calibration=calibration,
        best_single=min(losses, key=lambda m: losses[m]),
        validation=losses,
        totals=_totals(test, ensemble, calibration),
        series=len(test),
        seconds=seconds,
        method_seconds={m: sum(o.seconds.get(m, 0.0) for o in both) for m in methods},
        failures={m: sum(m in o.failures for o in both) for m in methods},
    )


def _totals(
    test: Sequence[Origin], points: Sequence[Vector], calibration: Calibration | None
) -> dict[str, float | None]:
    """How the sums over the horizon did; series with a day missing in it are left out."""
    inside: list[bool] = []
    widths: list[float] = []
    miss = actual = 0.0
    for origin, point in zip(test, points, strict=True):
        if not (np.isfinite(origin.actual).all() and np.isfinite(point).all()):
            continue
        total, expected = float(origin.actual.sum()), float(point.sum())
        miss, actual = miss + abs(total - expected), actual + abs(total)
        spread = total_spread(origin.history.values, horizon=len(point))
        reach = spread.reach(LEVEL) if calibration is None else calibration.total_reach(spread, LEVEL)
        lower, upper = total_interval(expected, spread, reach=reach)
        inside.append(lower <= total <= upper)
        widths.append(upper - lower)
    if not inside or not actual:
        return {"wmape": None, "coverage_90": None, "relative_width": None}
    return {
        "wmape": miss / actual,
        "coverage_90": float(np.mean(inside)),
        "relative_width": float(np.sum(widths)) / actual,
    }


def _only(origin: Origin, methods: Sequence[Method]) -> dict[Method, Vector]:
    return {method: origin.forecasts[method] for method in methods if method in origin.forecasts}


def _classic(validation: Sequence[Sequence[Origin]], test: Sequence[Origin], gone: Vector) -> list[Vector]:
    """The asked-for ensemble, weighed per series on the newest validation cutoff."""
    out = []
    for before, now in zip(validation, test, strict=True):
        have = _only(now, CLASSIC)
        if not have:
            out.append(gone)
            continue
        weights = Weights.equal(Combiner.INVERSE_MAPE, list(have))
        if before and set(have) <= set(before[-1].forecasts):
            weights = inverse_mape(before[-1].actual, _only(before[-1], list(have)))
        out.append(combine(weights, have)[0])
    return out
