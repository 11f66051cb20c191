"""Methods compared on the past: rolling-origin forecasts, their scores and the intervals' coverage."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from adsml_forecasting.models.calibration import choose, fit_weights, scaled
from adsml_forecasting.models.combining import Combiner, Weights, combine
from adsml_forecasting.models.conformal import ResidualQuantiles, interval_scale
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.origins import Origin, Task, forecast_origins
from adsml_forecasting.models.prediction import DEFAULT_MEMBERS
from adsml_forecasting.models.rolling_origin import RollingOrigin
from adsml_forecasting.models.scores import (
    Forecasts,
    Score,
    Scores,
    mase_scale,
    measure,
    paired_difference,
    resamples,
    rmsse_scale,
)
from adsml_forecasting.models.series import DailySeries, Vector

Fits = Callable[[int, int], None]
DEFAULT_METHODS: Final = tuple(m for m in Method if m not in (Method.TRANSFER, Method.AUTO_ARIMA))
"""Every method and the ensemble, but for AutoARIMA, which takes a hundred times the others' time: by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to compare, and where to cut; see the contract's `BacktestRequest`."""

    methods: tuple[Method, ...] = DEFAULT_METHODS
    horizon: int = 7
    cutoffs: int = 4
    step: int | None = None
    minimum_days: int = 30
    level: float = 0.9
    season_length: int = 7
    members: tuple[Method, ...] = ()
    combiner: Combiner | None = None
    bootstrap_samples: int = 1000
    seed: int = 0

    def rows(self, days: int) -> list[int]:
        """Days of history at each cutoff, ascending; empty where there are too few."""
        split = RollingOrigin(
            initial=max(self.minimum_days - 1, 1),
            period=self.step or self.horizon,
            horizon=self.horizon,
            newest=self.cutoffs,
        )
        return split.rows(days)


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Scores by method on the same days; `paired` are wMAPE less the reference's."""

    scores: Mapping[Method, Scores]
    paired: Mapping[Method, Score]
    reference: Method
    series: int
    samples: int
    failures: Mapping[Method, int]
    seconds: Mapping[Method, float]


def backtest(
    series: Sequence[DailySeries],
    plan: Plan,
    *,
    pool: ProcessPoolExecutor | None = None,
    progress: Fits | None = None,
) -> Report:
    """Compare methods on series that each have at least one cutoff (`Plan.rows`).

    The ensemble's weights and all intervals at a cutoff come from the other cutoffs: nothing is measured on
    what it was learnt from. With one cutoff the weights are equal and no intervals are measured.
    """
    single = [m for m in plan.methods if m is not Method.ENSEMBLE]
    members = plan.members or tuple(m for m in single if m is not Method.AUTO_ARIMA) or DEFAULT_MEMBERS
    needed = tuple(dict.fromkeys([*single, *(members if Method.ENSEMBLE in plan.methods else ())]))
    tasks = [Task(one, plan.rows(len(one))) for one in series]
    total = sum(len(task.rows) for task in tasks) * len(needed)
    done = 0

    def tell(origins: int) -> None:
        nonlocal done
        done += origins * len(needed)
        if progress is not None:
            progress(done, total)

    found = forecast_origins(
        tasks,
        methods=needed,
        horizon=plan.horizon,
        season_length=plan.season_length,
        pool=pool,
        progress=tell,
    )
    flat = [(index, back, o) for index, one in enumerate(found) for back, o in enumerate(reversed(one))]
    gone = np.full(plan.horizon, np.nan)
    points = {m: [o.forecasts.get(m, gone) for _, _, o in flat] for m in needed}
    if Method.ENSEMBLE in plan.methods:
        points[Method.ENSEMBLE] = _ensemble(found, flat, plan, members)
    draws = (
        resamples(len(series), count=plan.bootstrap_samples, seed=plan.seed)
        if plan.bootstrap_samples and len(series) > 1
        else None
    )
    forecasts = {m: _bounded(points[m], flat, plan) for m in plan.methods}
    reference = Method.SEASONAL_NAIVE if Method.SEASONAL_NAIVE in plan.methods else plan.methods[0]
    scores = {m: measure(one, level=plan.level, draws=draws) for m, one in forecasts.items()}
    return Report(
        scores=scores,
        paired={
            m: paired_difference(one, forecasts[reference], level=plan.level, draws=draws)
            for m, one in forecasts.items()
        },
        reference=reference,
        series=len(series),
        samples=max((one.samples for one in scores.values()), default=0),
        failures={m: sum(m in o.failures for _, _, o in flat) for m in needed},
        seconds={m: sum(o.seconds.get(m, 0.0) for _, _, o in flat) for m in needed},
    )


def _ensemble(
    found: Sequence[Sequence[Origin]],
    flat: Sequence[tuple[int, int, Origin]],
    plan: Plan,
    members: Sequence[Method],
) -> list[Vector]:
    """The ensemble at each origin, weighed by the other cutoffs."""
    gone = np.full(plan.horizon, np.nan)
    groups = sorted({back for _, back, _ in flat})
    weights: dict[int, Weights] = {}
    for group in groups:
        equal = Weights.equal(plan.combiner or Combiner.MEDIAN, members)
        others = [[o for back, o in enumerate(reversed(one)) if back != group][::-1] for one in found]
        errors = scaled([one for one in others if one], members=members, season_length=plan.season_length)
        learns = plan.combiner in (None, Combiner.STACKED) and len(errors.members) > 0
        if not learns or not np.isfinite(errors.actual).any():
            weights[group] = equal
            continue
        candidate, _ = choose(errors)
        weights[group] = fit_weights(errors, candidate, rows=np.ones(len(errors.cutoff), dtype=bool))
    out = []
    for _, back, origin in flat:
        have = {m: origin.forecasts[m] for m in members if m in origin.forecasts}
        out.append(combine(weights[back], have)[0] if have else gone)
    return out


def _bounded(points: Sequence[Vector], flat: Sequence[tuple[int, int, Origin]], plan: Plan) -> Forecasts:
    point = np.array(points)
    actual = np.array([o.actual for _, _, o in flat])
    scale = np.array([interval_scale(o.history.values) for _, _, o in flat])
    back = np.array([group for _, group, _ in flat])
    residuals = (actual - point) / scale[:, None]
    lower, upper = np.full_like(point, np.nan), np.full_like(point, np.nan)
    for group in np.unique(back):
        quantiles = ResidualQuantiles.of(residuals[back != group]) if (back != group).any() else None
        if quantiles is None or not quantiles.usable:
            continue
        for row in np.flatnonzero(back == group):
            if np.isfinite(point[row]).all():
                lower[row], upper[row] = quantiles.interval(
                    point[row],
                    scale=float(scale[row]),
                    level=plan.level,
                    nonnegative=flat[int(row)][2].history.nonnegative,
                )
    return Forecasts(
        series=np.array([index for index, _, _ in flat], np.int64),
        actual=actual,
        point=point,
        lower=lower,
        upper=upper,
        mase_scale=np.array(
            [mase_scale(o.history.values, season_length=plan.season_length) for _, _, o in flat]
        ),
        rmsse_scale=np.array([rmsse_scale(o.history.values) for _, _, o in flat]),
    )
