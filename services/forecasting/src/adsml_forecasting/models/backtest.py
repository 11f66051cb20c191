"""Methods compared on the past: rolling-origin forecasts, their scores and the intervals' coverage."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from adsml_common.domain.metrics import Metric

from adsml_forecasting.models.calibration import Combiner, Weights, choose, combine, scaled
from adsml_forecasting.models.intervals import cross_reach
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.origins import (
    Origin,
    RollingOrigin,
    Task,
    as_forecasts,
    forecast_each,
    interval_scales,
    join_pooled,
    set_intervals,
)
from adsml_forecasting.models.prediction import DEFAULT_MEMBERS
from adsml_forecasting.models.ratios import aligned, expected_events, learn_rate, ratio_of
from adsml_forecasting.models.scores import Score, Scores, measure, paired_difference, resamples
from adsml_forecasting.models.series import DailySeries, Vector

DEFAULT_METHODS: Final = tuple(m for m in Method if m not in (Method.TRANSFER, Method.AUTO_ARIMA))
"""Every method and the ensemble, but for AutoARIMA, which takes a hundred times the others' time: by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestSpec:
    """What to compare, and where to cut; see the contract's `BacktestRequest`."""

    methods: tuple[Method, ...] = DEFAULT_METHODS
    horizon_days: int = 7
    cutoffs: int = 4
    step_days: int | None = None
    min_history_days: int = 30
    interval_level: float = 0.9
    members: tuple[Method, ...] = ()
    combiner: Combiner | None = None
    bootstrap_samples: int = 1000
    seed: int = 0

    def rows(self, days: int) -> list[int]:
        """Days of history at each cutoff, ascending; empty where there are too few."""
        split = RollingOrigin(
            initial=max(self.min_history_days - 1, 1),
            period=self.step_days or self.horizon_days,
            horizon=self.horizon_days,
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
) -> Iterator[tuple[int, int] | Report]:
    """Compare methods on entities that each have at least one cutoff (`BacktestSpec.rows`): fits done, of how many, ...

    The ensemble's weights and all intervals at a cutoff come from the other cutoffs: nothing is measured on
    what it was learnt from. With one cutoff the weights are equal and no intervals are measured. A ratio is
    compared over whole horizons: ratio of sums against ratio of sums. `series` holds of each entity the columns
    that the metric is forecast from (`ratios.parts_of`). The report comes last.
    """
    single = [m for m in plan.methods if m is not Method.ENSEMBLE]
    members = plan.members or tuple(m for m in single if m is not Method.AUTO_ARIMA) or DEFAULT_MEMBERS
    needed = tuple(dict.fromkeys([*single, *(members if Method.ENSEMBLE in plan.methods else ())]))
    if metric.is_ratio:
        series = [
            [
                replace(part, first_day=max(p.first_day for p in one), values=np.nan_to_num(same))
                for part, same in zip(one, aligned(*one), strict=True)
            ]
            for one in series
        ]
    rows = [plan.rows(len(one[0])) for one in series]
    parts = 2 if metric.is_ratio else 1
    total, done = parts * sum(map(len, rows)) * len(needed), 0
    found = []
    for part in range(parts):
        tasks = [Task(one[part], cut) for one, cut in zip(series, rows, strict=True)]
        forecasts = []
        for origins in forecast_each(tasks, methods=needed, horizon=plan.horizon_days, pool=pool):
            forecasts.append(origins)
            done += len(origins) * len(needed)
            yield done, total
        if Method.POOLED_REGRESSION in needed:
            forecasts = join_pooled(forecasts, [task.series for task in tasks], horizon=plan.horizon_days)
        found.append(forecasts)
    if not metric.is_ratio:
        yield _compare(found[0], plan, needed, members)
        return
    ratios = [
        [
            _ratio_origin(above, below, metric, plan.horizon_days)
            for above, below in zip(one, other, strict=True)
        ]
        for one, other in zip(*found, strict=True)
    ]
    yield _compare(ratios, replace(plan, horizon_days=1), needed, members)


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
    # Newest first; and which cutoff each is of, counted back from its series' end.
    flat = [o for one in origins for o in reversed(one)]
    index = np.repeat(np.arange(len(origins)), [len(one) for one in origins])
    back = np.concatenate([np.arange(len(one)) for one in origins])
    gone = np.full(plan.horizon_days, np.nan)
    points = {m: [o.forecasts.get(m, gone) for o in flat] for m in needed}
    if Method.ENSEMBLE in plan.methods:
        weights = {group: _weights(origins, plan, members, group) for group in np.unique(back).tolist()}
        some = [o.only(members) for o in flat]
        points[Method.ENSEMBLE] = [
            combine(weights[group], have)[0] if have else gone
            for group, have in zip(back.tolist(), some, strict=True)
        ]
    draws = None
    if plan.bootstrap_samples and len(origins) > 1:
        draws = resamples(len(origins), count=plan.bootstrap_samples, seed=plan.seed)
    forecasts = {m: as_forecasts(flat, points[m], series=index) for m in plan.methods}
    for one in forecasts.values():
        residuals = (one.actual - one.point) / interval_scales(flat)
        set_intervals(one, flat, cross_reach(residuals, back, level=plan.interval_level))
    reference = Method.SEASONAL_NAIVE if Method.SEASONAL_NAIVE in plan.methods else plan.methods[0]
    scores = {m: measure(one, level=plan.interval_level, draws=draws) for m, one in forecasts.items()}
    return Report(
        scores=scores,
        paired={m: paired_difference(one, forecasts[reference], draws=draws) for m, one in forecasts.items()},
        reference=reference,
        series=len(origins),
        samples=max((one.samples for one in scores.values()), default=0),
        failures={m: sum(m in o.failures for o in flat) for m in needed},
        seconds={m: sum(o.seconds.get(m, 0.0) for o in flat) for m in needed},
    )


def _weights(
    found: Sequence[Sequence[Origin]], plan: BacktestSpec, members: Sequence[Method], group: int
) -> Weights:
    """The ensemble's at one cutoff, by the others."""
    others = [[o for back, o in enumerate(reversed(one)) if back != group][::-1] for one in found]
    errors = scaled([one for one in others if one], members=members)
    learns = plan.combiner in (None, Combiner.STACKED)
    if learns and errors is not None and np.isfinite(errors.actual).any():
        return choose(errors)[0]
    return Weights.equal(plan.combiner or Combiner.MEDIAN, members)
