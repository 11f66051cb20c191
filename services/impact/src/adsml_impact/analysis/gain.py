"""What a change is worth: the chance that it helped, and leads and money a week."""

from collections.abc import Mapping

import numpy as np
from adsml.common.v1 import metrics_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.metrics import Metric

from adsml_impact.analysis.metric_comparison import MetricResult
from adsml_impact.analysis.plan import is_neutral, lower_is_better
from adsml_impact.encoding import or_none
from adsml_impact.models.effect import Effect
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


def weekly_gain(results: Mapping[Metric, MetricResult]) -> pb.WeeklyGain | None:
    """Leads a week that the change brings at the spend after it, and what those would have cost without it.

    By cost per lead where it was compared: of L leads after, ``L (1 - exp(tau))`` would not have come for the
    same money. Else by leads.
    """
    price, count = results.get(Metric.CPL), results.get(Metric.LEADS)
    if price is not None and price.effect is not None and count is not None:
        comparison, after = price.effect.comparison, count.message.after
        level = price.effect.relative_interval.level
        low, high = comparison.interval(1.0 - level)

        def gained(tau: float) -> float:
            return -_WEEK * after * float(np.expm1(min(tau, 50.0)))

        leads, lower, upper = gained(comparison.tau), gained(high), gained(low)
        money = leads * price.effect.counterfactual
    elif count is not None and count.effect is not None:
        interval, leads = count.effect.absolute_interval, _WEEK * count.effect.absolute
        lower, upper, level = _WEEK * interval.lower, _WEEK * interval.upper, interval.level
        money = (
            leads * price.message.before if price is not None and price.message.HasField("before") else np.nan
        )
    else:
        return None
    span = metrics_pb2.Interval(lower=lower, upper=upper, level=level)
    return pb.WeeklyGain(leads=leads, leads_interval=span, money=or_none(money))
