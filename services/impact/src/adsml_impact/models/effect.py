"""A comparison in the metric's own unit: effect, interval, counterfactual days, placebo summary, fit."""

from dataclasses import dataclass, field

import numpy as np
from adsml_common.domain.metrics import divide

from adsml_impact.models.arrays import FloatArray
from adsml_impact.models.comparison import Comparison
from adsml_impact.models.design import Design

QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)


@dataclass(frozen=True, slots=True)
class Interval:
    """Lower and upper end (infinite where the data set no bound) and nominal probability."""

    lower: float
    upper: float
    level: float

    def within(self, margin: float) -> bool:
        """Whether it lies inside plus and minus a margin."""
        return self.lower > -margin and self.upper < margin


@dataclass(frozen=True, slots=True)
class PlaceboSummary:
    """Effects found where nothing was changed, in the metric's unit, at the treated's size; 0 and empty without any."""

    # placebo dates (the treated earlier) and controls in the role of the treated
    dates: int
    entities: int
    smallest_p_value: float  # that so many placebos can give
    # of the placebo effects; 0 without any
    mean: float
    standard_deviation: float
    quantiles: tuple[float, ...]  # at `QUANTILES`; empty without any


@dataclass(frozen=True, slots=True)
class Fit:
    """How well the counterfactual followed the treated before the change."""

    rmse: float  # in the metric's unit
    relative_rmse: float  # as a share of the treated's baseline level
    r_squared: float  # share of variance explained; NaN where the treated did not vary
    days: int  # of the baseline
    effective_controls: float  # `1 / sum(omega^2)`; 0 without controls


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a change did to one metric.

    Over a window counts and money are means per day, ratios are ratios of sums. Intervals exclude 0 exactly
    when the p-value is below alpha.
    """

    # level in the window before, after, and after without the change
    before: float
    after: float
    counterfactual: float
    # `after - counterfactual` in the metric's unit
    absolute: float
    absolute_interval: Interval
    # as shares of the counterfactual; NaN where that is not above 0
    relative: float
    relative_interval: Interval
    equivalence_interval: Interval  # relative, of level `1 - 2 alpha`: two one-sided tests at alpha
    p_value: float  # from placebos
    effect_size: float  # effect over the standard deviation of placebo effects; NaN without any
    # see their classes
    placebos: PlaceboSummary
    fit: Fit
    # (5, days): actual, counterfactual, lower and upper end of its interval, and effect so far, by day from the first
    # of the baseline on. NaN where a ratio has no denominator; the effect so far is NaN before the change. Without
    # days where they were not asked for.
    daily: FloatArray
    comparison: Comparison = field(repr=False)  # the relative figures behind it
    # lowest and highest relative effect with one control left out; None without controls
    leave_one_out: tuple[float, float] | None


def window_value(
    numerator: FloatArray, denominator: FloatArray | None, *, scale: float, days: slice
) -> float:
    """A metric over a window of one unit: mean per day, or ratio of sums; NaN where missing."""
    if denominator is None:
        return float(numerator[days].mean())
    return float(divide(numerator[days].sum(), denominator[days].sum(), scale=scale))


def daily_values(numerator: FloatArray, denominator: FloatArray | None, *, scale: float) -> FloatArray:
    """A metric by day of one unit; NaN for a ratio without its denominator."""
    return numerator.copy() if denominator is None else divide(numerator, denominator, scale=scale)


def measure(
    numerator: FloatArray,
    denominator: FloatArray | None,
    *,
    scale: float,
    design: Design,
    comparison: Comparison,
    with_series: bool = True,
) -> Effect:
    """Put a comparison of a numerator and denominator (T,) into the metric's unit, `scale` times their ratio."""
    ratio = denominator is not None
    base = slice(design.change - comparison.baseline, design.change)
    before, after, level = (
        window_value(numerator, denominator, scale=scale, days=days)
        for days in (design.before_window, design.after, base)
    )

    # Effect -> absolute, and -> share of the counterfactual; both rise, so that intervals keep their meaning.
    def absolute(tau: float) -> float:
        if ratio:
            return after * -float(np.expm1(-tau)) if tau > -700 else -np.inf
        return tau * level

    def relative(tau: float) -> float:
        if ratio:
            return float(np.expm1(tau)) if tau < 700 else np.inf
        without = after - tau * level
        return tau * level / without if without > 0 else (np.inf if tau > 0 else np.nan)

    tau = comparison.tau
    low, high = comparison.interval(design.alpha)
    low2, high2 = comparison.interval(2 * design.alpha)
    effect = absolute(tau)
    # Placebo effects at the treated's size, in the metric's unit (a ratio's near its level).
    drawn = comparison.studentised * comparison.size * level
    spread = float(np.sqrt(np.mean(drawn**2))) if drawn.size else 0.0
    top = numerator[base.start :]
    bottom = None if denominator is None else denominator[base.start :]
    window = slice(design.after.start - base.start, design.after.stop - base.start)
    if bottom is None:
        expected = np.asarray(level * (1.0 + comparison.counterfactual))
    else:
        expected = level * np.exp(np.clip(comparison.counterfactual, -20.0, 20.0))
        # Daily figures are linearised; the window's is a ratio of sums. One factor makes them agree.
        mean = float(expected[window] @ bottom[window]) / float(bottom[window].sum())
        expected[comparison.baseline :] *= (after - effect) / mean
    without_one = comparison.leave_one_out[np.isfinite(comparison.leave_one_out)].tolist()
    left_out = [share for share in map(relative, without_one) if np.isfinite(share)]
    return Effect(
        before=before,
        after=after,
        counterfactual=after - effect,
        absolute=effect,
        absolute_interval=Interval(absolute(low), absolute(high), 1 - design.alpha),
        relative=relative(tau) if ratio or after - effect > 0 else np.nan,
        relative_interval=Interval(relative(low), relative(high), 1 - design.alpha),
        equivalence_interval=Interval(relative(low2), relative(high2), 1 - 2 * design.alpha),
        p_value=comparison.p_value,
        effect_size=tau * level / spread if spread > 0 else np.nan,
        placebos=PlaceboSummary(
            dates=comparison.dates,
            entities=comparison.controls,
            smallest_p_value=comparison.reference.smallest,
            mean=float(drawn.mean()) if drawn.size else 0.0,
            standard_deviation=float(drawn.std()) if drawn.size else 0.0,
            quantiles=tuple(float(q) for q in np.quantile(drawn, QUANTILES)) if drawn.size else (),
        ),
        fit=_fit(top, bottom, expected, level=level, scale=scale, comparison=comparison),
        daily=_daily(top, bottom, expected, comparison.band, level, scale, window.start)
        if with_series
        else np.empty((5, 0)),
        comparison=comparison,
        leave_one_out=(min(left_out), max(left_out)) if left_out else None,
    )


def _daily(
    top: FloatArray,
    bottom: FloatArray | None,
    expected: FloatArray,
    band: FloatArray,
    level: float,
    scale: float,
    first: int,
) -> FloatArray:
    """`Effect.daily`; the change takes effect on the day `first`."""
    actual = daily_values(top, bottom, scale=scale)
    so_far = np.full(expected.size, np.nan)
    if bottom is None:
        lower, upper = np.maximum(expected - band * level, 0.0), expected + band * level
    else:
        factor = np.exp(np.minimum(band, 20.0))
        lower, upper = expected / factor, expected * factor
    for d in range(first, expected.size):
        since = slice(first, d + 1)
        if bottom is None:
            so_far[d] = (actual[since] - expected[since]).sum()
        elif (total := float(bottom[since].sum())) > 0:
            reached = scale * float(top[since].sum()) / total
            so_far[d] = reached - float(expected[since] @ bottom[since]) / total
    return np.stack([actual[: expected.size], expected, lower, upper, so_far])


def _fit(
    top: FloatArray,
    bottom: FloatArray | None,
    expected: FloatArray,
    *,
    level: float,
    scale: float,
    comparison: Comparison,
) -> Fit:
    """How the days before were followed; a ratio's by what its numerator was to be, so that days count by volume."""
    days = slice(comparison.baseline)
    weights = np.ones(comparison.baseline) if bottom is None else bottom[days]
    usual = top[days].mean() if bottom is None else level * weights / scale
    errors = scale * (top[days] - expected[days] * weights / scale)
    apart = scale * (top[days] - usual)
    variance = float(np.mean(apart**2))
    volume = float(weights.mean())
    rmse = float(np.sqrt(np.mean(errors**2))) / volume if volume > 0 else np.nan
    squares = float((comparison.omega**2).sum())
    return Fit(
        rmse=rmse,
        relative_rmse=rmse / level if level > 0 else np.nan,
        r_squared=1.0 - float(np.mean(errors**2)) / variance if variance > 0 else np.nan,
        days=comparison.baseline,
        effective_controls=1.0 / squares if squares > 0 else 0.0,
    )
