"""Cautions: each function looks at one thing and returns what there is to say of it, or None."""

from collections.abc import Sequence
from datetime import date

import numpy as np
from adsml.common.v1 import warning_pb2
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.metrics import Metric, divide
from scipy.special import betaincinv

from adsml_impact.analysis.controls import ENOUGH_CONTROLS, Choice
from adsml_impact.analysis.plan import LABELS, PRIMARY, Plan
from adsml_impact.analysis.prepare import AnalysisContext
from adsml_impact.analysis.query import USUAL_BASELINE, USUAL_DAYS, ImpactQuery, Options
from adsml_impact.analysis.report import ManipulationCheck, MeasuredRate, Outlier
from adsml_impact.models.arrays import BoolArray
from adsml_impact.models.comparison import Comparison
from adsml_impact.models.design import Design
from adsml_impact.models.effect import Fit, Interval
from adsml_impact.models.estimators import Estimator
from adsml_impact.models.reference import Student

FEW_CONTROLS = 6
_POOR_FIT = -0.1
_EXTREME = 2.0
_LAG_DAYS = 3
_STALE_DAYS = 7
_COMPLETE = 0.98
_GAP_SHARE = 0.15


def caution(kind: str, message: str) -> warning_pb2.Warning:
    """One thing to be careful about; `kind` as in the contract, without its prefix."""
    return warning_pb2.Warning(type=warning_pb2.WarningType.Value(f"WARNING_TYPE_{kind}"), message=message)


def _some(items: Sequence[str]) -> str:
    return "; ".join(items[:5]) + (f"; and {len(items) - 5} more" if len(items) > 5 else "")


def few_controls(comparison: Comparison, choice: Choice) -> warning_pb2.Warning | None:
    """No controls, or too few to know a market-wide movement from an effect."""
    left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(choice.reasons.items()))
    why = f" ({left_out})" if left_out else ""
    if comparison.estimator is Estimator.STRUCTURAL and not len(choice.rows):
        return caution(
            "NO_CONTROLS",
            f"no comparable entity{why}: the entity's own past stands in, and a movement of the "
            "whole market would pass for an effect",
        )
    number = comparison.controls or len(choice.rows)
    if number < FEW_CONTROLS:
        how = (
            f"; a placebo test over entities needs {ENOUGH_CONTROLS}, so they serve as regressors of the "
            "entity's own past"
            if comparison.estimator is Estimator.STRUCTURAL
            else ""
        )
        return caution(
            "FEW_CONTROLS",
            f"only {number} entities to compare with{why}{how}; a movement of the whole market is hard to "
            "tell from an effect",
        )
    return None


def excluded_controls(choice: Choice) -> warning_pb2.Warning | None:
    """Controls that were asked for, or would have been taken, and won't do."""
    named = [
        (name, reason)
        for name, reason in choice.excluded
        if choice.given or reason.startswith(("stopped", "was changed", "its ")) or " of its " in reason
    ]
    if not named:
        return None
    shown = _some([f"{name} {reason}" for name, reason in named])
    return caution("CONTAMINATED_CONTROLS", f"{len(named)} entities are not compared with: {shown}")


def no_controls(plan: Plan) -> warning_pb2.Warning:
    """A verdict on the whole account, to which nothing is comparable."""
    return caution(
        "NO_CONTROLS",
        f"the account's {LABELS[plan.primary]} is compared with its own past, since no entity is comparable to a whole "
        "account: a movement of the whole market would pass for an effect",
    )


def no_events(vanished: Metric | None, query: ImpactQuery, horizon: int) -> warning_pb2.Warning | None:
    """A ratio without its count after the change."""
    if vanished is None:
        return None
    wanted = query.options.primary_metric or PRIMARY[query.change_type]
    return caution(
        "FEW_LEADS",
        f"there are no {vanished} in the {horizon} days after the change, at continued spend, so that "
        f"{LABELS[wanted]} has no value: the verdict rests on {vanished}",
    )


def outliers(days: Sequence[Outlier]) -> warning_pb2.Warning | None:
    """Single days far out of line that were replaced."""
    if not days:
        return None
    shown = _some([f"{one.metric} of {one.entity_id or 'the treated'} on {one.date}" for one in days])
    return caution("OUTLIERS", f"far out of line and replaced by what the days around suggest: {shown}")


def stale(last_day: date, today: date | None) -> warning_pb2.Warning | None:
    """Data that end long ago."""
    if today is None or (today - last_day).days <= _STALE_DAYS:
        return None
    return caution(
        "STALE_DATA",
        f"the account's last day with data is {last_day}, {(today - last_day).days} days ago",
    )


def poor_fit(comparison: Comparison, fit: Fit) -> warning_pb2.Warning | None:
    """A counterfactual that followed the treated's days worse than their plain mean would have."""
    if comparison.estimator is Estimator.STRUCTURAL or not fit.r_squared < _POOR_FIT:
        return None
    mean = fit.relative_rmse / float(np.sqrt(1.0 - fit.r_squared))
    return caution(
        "POOR_FIT",
        f"before the change the counterfactual missed the entity's days by {100 * fit.relative_rmse:.0f}% of its "
        f"level, its plain mean would have by {100 * mean:.0f}%: the controls say little about this entity; the "
        "interval allows for it",
    )


def regression_to_the_mean(context: AnalysisContext) -> warning_pb2.Warning | None:
    """An extreme window before the change: part of the way back would have come anyway.

    The window before is measured against the other windows of its length in the baseline.
    """
    design, metric = context.design, context.plan.primary
    numerator, denominator, _ = context.subject.parts(metric)
    length = design.before
    blocks = (design.change - design.base.start) // length
    if blocks < 4:
        return None
    days = slice(design.change - blocks * length, design.change)
    values = numerator[0, days].reshape(blocks, length).sum(axis=1)
    if denominator is not None:
        values = divide(values, denominator[0, days].reshape(blocks, length).sum(axis=1))
    earlier = values[:-1][np.isfinite(values[:-1])]
    if earlier.size < 3 or not np.isfinite(values[-1]) or not earlier.std(ddof=1) > 0:
        return None
    z = (float(values[-1]) - float(earlier.mean())) / float(earlier.std(ddof=1))
    if abs(z) < _EXTREME:
        return None
    side = "high" if z > 0 else "low"
    back = "fallen" if z > 0 else "risen"
    return caution(
        "REGRESSION_TO_THE_MEAN",
        f"in the {length} days before the change {LABELS[metric]} was unusually {side} ({abs(z):.1f} standard "
        f"deviations of such windows): part of it would have {back} again by itself. The estimate allows for "
        "that; a plain before and after does not",
    )


def incomplete_days(context: AnalysisContext, completion: Sequence[float]) -> warning_pb2.Warning | None:
    """A window that ends too close to the last loaded day for all leads to have been reported."""
    last_compared = context.series.day(context.design.after.stop - 1)
    age = (context.freshness.account_last_date - last_compared).days
    if age < len(completion) and completion[age] < _COMPLETE:
        return caution(
            "INCOMPLETE_DAYS",
            f"the window's last day holds {100 * completion[age]:.0f}% of its leads so far; leads of the last "
            f"{len(completion)} days were scaled up by how they usually come in",
        )
    if completion or age > _LAG_DAYS:
        return None
    return caution(
        "INCOMPLETE_DAYS",
        f"the window ends {age} days before the last loaded day and its last days may still be filling up (leads are "
        f"reported late); {context.query.options.attribution_lag_days} days were left out, attribution_lag_days "
        "leaves out more",
    )


def other_changes(events: Sequence[ChangeEvent]) -> warning_pb2.Warning | None:
    """Other changes of the treated, above them or below them, inside the windows."""
    if not events:
        return None
    return caution(
        "OTHER_CHANGES",
        f"other changes inside the windows: {describe_changes(events)}. What they did can't be told apart from "
        "this one",
    )


def describe_changes(events: Sequence[ChangeEvent]) -> str:
    """Changes in a few words, those of one kind and day on one level together."""
    groups: dict[tuple[date, str, str], list[str]] = {}
    for event in events:
        key = (event.date, event.change_type.replace("_", " "), event.entity.entity_type.value)
        groups.setdefault(key, []).append(event.entity.entity_id)
    shown = [
        f"{kind} of {level} {names[0]} on {day}"
        if len(names) == 1
        else f"{kind} of {len(names)} {level}s ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}) on {day}"
        for (day, kind, level), names in sorted(groups.items())
    ]
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    return "; ".join(shown[:5]) + more


def short_window(design: Design, options: Options, baseline: int) -> warning_pb2.Warning | None:
    """Fewer days than were asked for."""
    before_wanted, after_wanted = options.before_days or USUAL_DAYS, options.after_days or USUAL_DAYS
    baseline_wanted = options.baseline_days or USUAL_BASELINE
    short = []
    if design.before < before_wanted:
        short.append(f"{design.before} of {before_wanted} days before")
    if design.horizon < after_wanted:
        short.append(f"{design.horizon} of {after_wanted} days after")
    if baseline < min(28, baseline_wanted):
        short.append(f"a baseline of {baseline} days (28 or more are better, {baseline_wanted} are used)")
    if not short:
        return None
    return caution("SHORT_HISTORY", "short history: " + ", ".join(short))


def few_placebos(comparison: Comparison, alpha: float) -> warning_pb2.Warning | None:
    """A test that rests on a fitted distribution, or cannot reach alpha."""
    if comparison.reference.smallest >= alpha:
        return caution(
            "FEW_PLACEBOS",
            f"the placebos can give no p-value below {comparison.reference.smallest:.3f}; nothing can be "
            f"significant at {alpha:g}",
        )
    if isinstance(comparison.reference, Student) and comparison.studentised.size < 20:
        return caution(
            "FEW_PLACEBOS",
            f"only {comparison.studentised.size} placebos: the p-value rests on Student's t with "
            f"{comparison.reference.df:.1f} degrees of freedom",
        )
    return None


def gaps(present: BoolArray, what: str) -> warning_pb2.Warning | None:
    """Days without a row between the first and the last."""
    missing = int((~present).sum())
    if missing <= _GAP_SHARE * present.size:
        return None
    return caution(
        "GAPS",
        f"{what} has no row on {missing} of the baseline's {present.size} days; they count as days without "
        "delivery",
    )


def measured_rate(comparison: Comparison, alpha: float) -> MeasuredRate:
    """The share of placebo analyses that came out significant, with its exact binomial interval.

    Clopper and Pearson (1934), Biometrika 26:404-413.
    """
    k, n = comparison.significant, comparison.analyses
    interval = None
    if n:
        lower = float(betaincinv(k, n - k + 1, 0.025)) if k else 0.0
        upper = float(betaincinv(k + 1, n - k, 0.975)) if k < n else 1.0
        interval = Interval(lower, upper, 0.95)
    return MeasuredRate(significant=k, analyses=n, nominal=alpha, interval=interval)


def false_positive_rate(rate: MeasuredRate) -> warning_pb2.Warning | None:
    """A measured rate well above alpha."""
    if rate.interval is None or rate.rate is None or rate.interval.lower <= rate.nominal:
        return None
    if rate.rate < 1.5 * rate.nominal:
        return None
    return caution(
        "FALSE_POSITIVE_RATE",
        f"on this account's own history this analysis found an effect in {100 * rate.rate:.0f}% of "
        f"{rate.analyses} cases where nothing was changed, against {100 * rate.nominal:g}% asked for; "
        "mistrust effects that are barely significant",
    )


def manipulation(check: ManipulationCheck | None) -> warning_pb2.Warning | None:
    """A change that does not show in spend."""
    if check is None or check.passed:
        return None
    return caution("MANIPULATION_NOT_SEEN", check.message)


def account_unknown() -> warning_pb2.Warning:
    """A pause judged without the account."""
    return caution(
        "ACCOUNT_UNKNOWN",
        "the account's own rows were not sent: treated and controls together stand for it, and money that "
        "went elsewhere is not seen",
    )
