"""What a change is worth: the chance that it helped, and leads and money a week."""

from collections.abc import Mapping

import numpy as np
from adsml_common.domain.metrics import Metric

from adsml_impact.analysis.plan import is_neutral, lower_is_better
from adsml_impact.analysis.report import MetricReport, WeeklyGain
from adsml_impact.models.effect import Effect, Interval
from adsml_impact.models.meta_analysis import probability_below

_WEEK = 7


def standard_error(effect: Effect) -> float:
    """Of the effect on the scale of comparisons: half the 95% interval over the normal quantile."""
    low, high = effect.comparison.interval(0.05)
    return (high - low) / 2 / 1.959964


def probability_helped(metric: Metric, effect: Effect) -> float:
    """That the true effect on a metric is a good one; NaN where that cannot be said."""
    tau, error = effect.comparison.tau, standard_error(effect)
    if is_neutral(metric) or not np.isfinite(tau) or not np.isfinite(error):
        return np.nan
    below = probability_below(tau, error)
    return below if lower_is_better(metric) else 1.0 - below


def weekly_gain(reports: Mapping[Metric, MetricReport]) -> WeeklyGain | None:
    """Leads a week that the change brings at the spend after it, and what those would have cost without it.

    By cost per lead where it was compared: of L leads after, ``L (1 - exp(tau))`` would not have come for the
    same money. Else by leads.
    """
    price, count = reports.get(Metric.CPL), reports.get(Metric.LEADS)
    if price is not None and price.effect is not None and count is not None:
        comparison, after = price.effect.comparison, count.after
        level = price.effect.relative_interval.level
        low, high = comparison.interval(1.0 - level)

        def gained(tau: float) -> float:
            return -_WEEK * after * float(np.expm1(min(tau, 50.0)))

        leads, interval = gained(comparison.tau), Interval(gained(high), gained(low), level)
        return WeeklyGain(leads, interval, leads * price.effect.counterfactual)
    if count is None or count.effect is None:
        return None
    absolute, leads = count.effect.absolute_interval, _WEEK * count.effect.absolute
    interval = Interval(_WEEK * absolute.lower, _WEEK * absolute.upper, absolute.level)
    return WeeklyGain(leads, interval, leads * (price.before if price is not None else np.nan))
