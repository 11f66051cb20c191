"""Methods compared on the past: rolling-origin forecasts, their scores and the intervals' coverage."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from adsml_common.domain.metrics import Metric

from adsml_forecasting.models.calibration import choose, fit_weights, scaled
from adsml_forecasting.models.combining import Combiner, Weights, combine
from adsml_forecasting.models.conformal import ResidualQuantiles, interval_scale
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.origins import Origin, Task, as_forecasts, forecast_origins, set_intervals
from adsml_forecasting.models.prediction import DEFAULT_MEMBERS
from adsml_forecasting.models.rates import learn_rate
from adsml_forecasting.models.ratios import expected_events, ratio_of
from adsml_forecasting.models.rolling_origin import RollingOrigin
from adsml_forecasting.models.scores import Forecasts, Score, Scores, measure, paired_difference, resamples
from adsml_forecasting.models.series import DailySeries, Vector

Fits = Callable[[int, int], None]
DEFAULT_METHODS: Final = tuple(m for m in Method if m not in (Method.TRANSFER, Method.AUTO_ARIMA))
"""Every method and the ensemble, but for AutoARIMA, which takes a hundred times the others' time: by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestSpec:
    """What to compare, and where to cut; see the contract's `BacktestRequest`."""

    methods: tuple[Method, ...] = DEFAULT_METHODS
    horizon: int = 7
    cutoffs: int = 4
    step: int | None = None
    minimum_days: int = 30
    level: float = 0.9
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
    series: Sequence[Sequence[DailySeries]],
    metric: Metric,
    plan: BacktestSpec,
    *,
    pool: ProcessPoolExecutor | None = None,
    progress: Fits | None = None,
) -> Report:
    """Compare methods on entities that each have at least one cutoff (`BacktestSpec.rows`).

    The ensemble's weights and all intervals at a cutoff come from the other cutoffs: nothing is measured on
    what it was learnt from. With one cutoff the weights are equal and no intervals are measured. A ratio is
    compared over whole horizons: ratio of sums against ratio of sums. `series` holds of each entity the columns
    that the metric is forecast from (`ratios.parts_of`).
    """
    single = [m for m in plan.methods if m is not Method.ENSEMBLE]
    members = plan.members or tuple(m for m in single if m is not Method.AUTO_ARIMA) or DEFAULT_MEMBERS
    needed = tuple(dict.fromkeys([*single, *(members if Method.ENSEMBLE in plan.methods else ())]))
    columns = [_aligned(*one) if metric.is_ratio else tuple(one) for one in series]
    rows = [plan.rows(len(one[0])) for one in columns]
    parts = 2 if metric.is_ratio else 1
    total, done = parts * sum(map(len, rows)) * len(needed), 0

    def tell(origins: int) -> None:
        nonlocal done
        done += origins * len(needed)
        if progress is not None:
            progress(done, total)

    found = [
        forecast_origins(
            [Task(one[part], cut) for one, cut in zip(columns, rows, strict=True)],
            methods=needed,
            horizon=plan.horizon,
            pool=pool,
            progress=tell,
        )
        for part in range(parts)
    ]
    if not metric.is_ratio:
        return _compare(found[0], plan, needed, members)
    origins = [
        [_ratio_origin(above, below, metric, plan.horizon) for above, below in zip(one, other, strict=True)]
        for one, other in zip(*found, strict=True)
    ]
    return _compare(origins, replace(plan, horizon=1), needed, members)


def _aligned(events: DailySeries, exposure: DailySeries) -> tuple[DailySeries, ...]:
    first = max(events.first_day, exposure.first_day)
    last = min(events.last_day, exposure.last_day)
    return tuple(
        replace(
            one,
            first_day=first,
            values=np.nan_to_num(one.values[first - one.first_day : last - one.first_day + 1]),
        )
        for one in (events, exposure)
    )


def _ratio_origin(events: Origin, exposure: Origin, metric: Metric, horizon: int) -> Origin:
    """Both parts' forecasts of a horizon as one forecast of its ratio of sums."""
    days = len(events.history) // horizon * horizon
    blocks = [
        one.history.values[len(one.history) - days :].reshape(-1, horizon).sum(axis=1)
        for one in (events, exposure)
    ]
    past = DailySeries(0, ratio_of(metric, *blocks), True, events.history.name)
    rate = learn_rate(events.history.values, exposure.history.values).value

    def of_sums(counted: Vector, per: Vector) -> Vector:
        return ratio_of(metric, np.array([counted.sum()]), np.array([per.sum()]))

    forecasts = {
        method: of_sums(
            expected_events(counted, exposure.forecasts[method], rate), exposure.forecasts[method]
        )
        for method, counted in events.forecasts.items()
        if method in exposure.forecasts
    }
    finite = {method: value for method, value in forecasts.items() if np.isfinite(value).all()}
    seconds = {m: events.seconds.get(m, 0.0) + exposure.seconds.get(m, 0.0) for m in events.seconds}
    failures = {**exposure.failures, **events.failures}
    return Origin(events.cutoff, past, of_sums(events.actual, exposure.actual), finite, failures, seconds)


def _compare(
    origins: Sequence[Sequence[Origin]],
    plan: BacktestSpec,
    needed: Sequence[Method],
    members: Sequence[Method],
) -> Report:
    """Scores on all origins; the ensemble is weighed by other cutoffs than the one it is measured on."""
    # Each with its series and its cutoff, counted back from the series' end.
    flat = [(index, back, o) for index, one in enumerate(origins) for back, o in enumerate(reversed(one))]
    gone = np.full(plan.horizon, np.nan)
    points = {m: [o.forecasts.get(m, gone) for _, _, o in flat] for m in needed}
    if Method.ENSEMBLE in plan.methods:
        points[Method.ENSEMBLE] = _ensemble(origins, flat, plan, members)
    draws = (
        resamples(len(origins), count=plan.bootstrap_samples, seed=plan.seed)
        if plan.bootstrap_samples and len(origins) > 1
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
        series=len(origins),
        samples=max((one.samples for one in scores.values()), default=0),
        failures={m: sum(m in o.failures for _, _, o in flat) for m in needed},
        seconds={m: sum(o.seconds.get(m, 0.0) for _, _, o in flat) for m in needed},
    )


def _ensemble(
    found: Sequence[Sequence[Origin]],
    flat: Sequence[tuple[int, int, Origin]],
    plan: BacktestSpec,
    members: Sequence[Method],
) -> list[Vector]:
    """The ensemble at each origin, weighed by the other cutoffs."""
    gone = np.full(plan.horizon, np.nan)
    weights: dict[int, Weights] = {}
    for group in sorted({back for _, back, _ in flat}):
        weights[group] = Weights.equal(plan.combiner or Combiner.MEDIAN, members)
        others = [[o for back, o in enumerate(reversed(one)) if back != group][::-1] for one in found]
        errors = scaled([one for one in others if one], members=members)
        learns = plan.combiner in (None, Combiner.STACKED) and len(errors.members) > 0
        if learns and np.isfinite(errors.actual).any():
            candidate, _ = choose(errors)
            weights[group] = fit_weights(errors, candidate, rows=np.ones(len(errors.cutoff), dtype=bool))
    out = []
    for _, back, origin in flat:
        have = {m: origin.forecasts[m] for m in members if m in origin.forecasts}
        out.append(combine(weights[back], have)[0] if have else gone)
    return out


def _bounded(
    points: Sequence[Vector], flat: Sequence[tuple[int, int, Origin]], plan: BacktestSpec
) -> Forecasts:
    """With the intervals that the other cutoffs' residuals give."""
    origins = [o for _, _, o in flat]
    index = np.array([series for series, _, _ in flat], np.int64)
    found = as_forecasts(origins, points, series=index)
    scale = np.array([interval_scale(o.history.values) for o in origins])
    back = np.array([group for _, group, _ in flat])
    residuals = (found.actual - found.point) / scale[:, None]
    for group in np.unique(back):
        quantiles = ResidualQuantiles.of(residuals[back != group]) if (back != group).any() else None
        if quantiles is not None and quantiles.usable:
            rows = np.flatnonzero(back == group).tolist()
            set_intervals(found, origins, rows, quantiles, plan.level)
    return found
