"""Cautions of an answer, each where it applies: on who is compared with, on the days, on the account, on the effect."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date

import numpy as np
from adsml.common.v1 import metrics_pb2, warning_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.metrics import Metric, divide
from scipy.special import betaincinv

from adsml_impact.analysis.controls import ENOUGH_CONTROLS, STOPPED
from adsml_impact.analysis.plan import LABELS, PRIMARY
from adsml_impact.analysis.prepare import AnalysisContext
from adsml_impact.analysis.query import USUAL_BASELINE, USUAL_DAYS
from adsml_impact.analysis.tree import CHANGED
from adsml_impact.models.comparison import Comparison
from adsml_impact.models.effect import Effect
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


def of_comparison(context: AnalysisContext, comparison: Comparison) -> Iterator[warning_pb2.Warning]:
    """Who is compared with, and what their placebos can tell."""
    choice, alpha, reference = context.choice, context.query.options.alpha, comparison.reference
    if not context.plan.account:
        yield from _few_controls(context, comparison)
    # Asked for, or such as would have been taken.
    named = [one for one in choice.excluded if choice.given or one.kind in (STOPPED, CHANGED)]
    if named:
        shown = _some([f"{context.label(one.name)} {one.reason}" for one in named])
        yield caution("CONTAMINATED_CONTROLS", f"{len(named)} entities are not compared with: {shown}")
    if reference.smallest >= alpha:
        yield caution(
            "FEW_PLACEBOS",
            f"the placebos can give no p-value below {reference.smallest:.3f}; nothing can be significant at {alpha:g}",
        )
    elif isinstance(reference, Student) and comparison.studentised.size < 20:
        yield caution(
            "FEW_PLACEBOS",
            f"only {comparison.studentised.size} placebos: the p-value rests on Student's t with {reference.df:.1f} "
            "degrees of freedom",
        )


def _few_controls(context: AnalysisContext, comparison: Comparison) -> Iterator[warning_pb2.Warning]:
    """No controls, or too few to know a market-wide movement from an effect."""
    choice, structural = context.choice, comparison.estimator is Estimator.STRUCTURAL
    left_out = Counter(one.kind for one in choice.excluded)
    why = f" ({', '.join(f'{count} {kind}' for kind, count in sorted(left_out.items()))})" if left_out else ""
    number = comparison.controls or len(choice.rows)
    if structural and not choice.rows:
        yield caution(
            "NO_CONTROLS",
            f"no comparable entity{why}: the entity's own past stands in, and a movement of the whole market would "
            "pass for an effect",
        )
    elif number < FEW_CONTROLS:
        how = (
            f"; a placebo test over entities needs {ENOUGH_CONTROLS}, so they serve as regressors of the entity's own "
            "past"
        )
        yield caution(
            "FEW_CONTROLS",
            f"only {number} entities to compare with{why}{how if structural else ''}; a movement of the whole market "
            "is hard to tell from an effect",
        )


def of_days(context: AnalysisContext, baseline: int) -> Iterator[warning_pb2.Warning]:
    """Fewer days than were asked for, gaps, other changes, old data; `baseline`: days that were fitted on."""
    design, options = context.design, context.query.options
    before, after = options.before_days or USUAL_DAYS, options.after_days or USUAL_DAYS
    wanted = options.baseline_days or USUAL_BASELINE
    short = []
    if design.before < before:
        short.append(f"{design.before} of {before} days before")
    if design.horizon < after:
        short.append(f"{design.horizon} of {after} days after")
    if baseline < min(28, wanted):
        short.append(f"a baseline of {baseline} days (28 or more are better, {wanted} are used)")
    if short:
        yield caution("SHORT_HISTORY", "short history: " + ", ".join(short))
    present = context.subject.present[0, design.base]
    missing = int((~present).sum())
    if missing > _GAP_SHARE * present.size:
        yield caution(
            "GAPS",
            f"{'the account' if context.plan.account else 'the entity'} has no row on {missing} of the baseline's "
            f"{present.size} days; they count as days without delivery",
        )
    if context.overlapping:
        yield caution(
            "OTHER_CHANGES",
            f"other changes inside the windows: {context.data.tree.describe(context.overlapping)}. What they did "
            "can't be told apart from this one",
        )
    last, today = context.data.series.last, context.data.today
    if not options.as_of and today is not None and (today - last).days > _STALE_DAYS:
        yield caution(
            "STALE_DATA", f"the account's last day with data is {last}, {(today - last).days} days ago"
        )


def of_account(context: AnalysisContext) -> Iterator[warning_pb2.Warning]:
    """A verdict on the whole account, to which nothing is comparable."""
    if context.plan.account:
        yield caution(
            "NO_CONTROLS",
            f"the account's {LABELS[context.plan.primary]} is compared with its own past, since no entity is "
            "comparable to a whole account: a movement of the whole market would pass for an effect",
        )
        if not context.data.account_known:
            yield caution(
                "ACCOUNT_UNKNOWN",
                "the account's own rows were not sent: treated and controls together stand for it, and money that "
                "went elsewhere is not seen",
            )


def of_baseline(context: AnalysisContext, effect: Effect) -> Iterator[warning_pb2.Warning]:
    """A counterfactual that followed badly, an extreme window before the change, leads that are still coming in."""
    fit = effect.fit
    if effect.comparison.estimator is not Estimator.STRUCTURAL and fit.r_squared < _POOR_FIT:
        mean = fit.relative_rmse / float(np.sqrt(1.0 - fit.r_squared))
        yield caution(
            "POOR_FIT",
            f"before the change the counterfactual missed the entity's days by {100 * fit.relative_rmse:.0f}% of its "
            f"level, its plain mean would have by {100 * mean:.0f}%: the controls say little about this entity; the "
            "interval allows for it",
        )
    yield from _regression_to_the_mean(context)
    age = (context.data.series.last - context.series.day(context.design.after.stop - 1)).days
    completion = context.data.completion
    if age < len(completion) and completion[age] < _COMPLETE:
        yield caution(
            "INCOMPLETE_DAYS",
            f"the window's last day holds {100 * completion[age]:.0f}% of its leads so far; leads of the last "
            f"{len(completion)} days were scaled up by how they usually come in",
        )
    elif not completion and age <= _LAG_DAYS:
        yield caution(
            "INCOMPLETE_DAYS",
            f"the window ends {age} days before the last loaded day and its last days may still be filling up (leads "
            f"are reported late); {context.query.options.attribution_lag_days} days were left out, "
            "attribution_lag_days leaves out more",
        )


def _regression_to_the_mean(context: AnalysisContext) -> Iterator[warning_pb2.Warning]:
    """A window before the change that is extreme among the baseline's: part of the way back would have come anyway."""
    design, metric = context.design, context.plan.primary
    numerator, denominator, _ = context.subject.parts(metric)
    length = design.before
    blocks = (design.change - design.base.start) // length
    if blocks < 4:
        return
    days = slice(design.change - blocks * length, design.change)
    values = numerator[0, days].reshape(blocks, length).sum(axis=1)
    if denominator is not None:
        values = divide(values, denominator[0, days].reshape(blocks, length).sum(axis=1))
    earlier = values[:-1][np.isfinite(values[:-1])]
    if earlier.size < 3 or not np.isfinite(values[-1]) or not earlier.std(ddof=1) > 0:
        return
    z = (float(values[-1]) - float(earlier.mean())) / float(earlier.std(ddof=1))
    if abs(z) >= _EXTREME:
        side, back = ("high", "fallen") if z > 0 else ("low", "risen")
        yield caution(
            "REGRESSION_TO_THE_MEAN",
            f"in the {length} days before the change {LABELS[metric]} was unusually {side} ({abs(z):.1f} standard "
            f"deviations of such windows): part of it would have {back} again by itself. The estimate allows for "
            "that; a plain before and after does not",
        )


def of_result(
    context: AnalysisContext,
    vanished: Metric | None,
    outliers: Sequence[tuple[str | None, date, Metric]],
    rate: pb.FalsePositiveRate,
    manipulation: pb.ManipulationCheck | None,
) -> Iterator[warning_pb2.Warning]:
    """A ratio without its count, days that were replaced, many false positives, a change that spend does not show."""
    if vanished is not None:
        wanted = context.query.options.primary_metric or PRIMARY[context.query.change_type]
        yield caution(
            "FEW_LEADS",
            f"there are no {vanished} in the {context.design.horizon} days after the change, at continued spend, so "
            f"that {LABELS[wanted]} has no value: the verdict rests on {vanished}",
        )
    if outliers:
        shown = [
            f"{metric} of {'the treated' if name is None else context.label(name)} on {day}"
            for name, day, metric in outliers
        ]
        yield caution(
            "OUTLIERS", f"far out of line and replaced by what the days around suggest: {_some(shown)}"
        )
    yield from false_positives(rate)
    if manipulation is not None and not manipulation.passed:
        yield caution("MANIPULATION_NOT_SEEN", manipulation.message)


def false_positives(rate: pb.FalsePositiveRate) -> Iterator[warning_pb2.Warning]:
    """A measured rate well above alpha."""
    if rate.analyses and rate.interval.lower > rate.nominal and rate.rate >= 1.5 * rate.nominal:
        yield caution(
            "FALSE_POSITIVE_RATE",
            f"on this account's own history this analysis found an effect in {100 * rate.rate:.0f}% of "
            f"{rate.analyses} cases where nothing was changed, against {100 * rate.nominal:g}% asked for; "
            "mistrust effects that are barely significant",
        )


def measured_rate(comparison: Comparison, alpha: float) -> pb.FalsePositiveRate:
    """How often this very setting said "significant" where nothing had happened, with its exact binomial interval.

    Clopper and Pearson (1934), Biometrika 26:404-413. Placebos overlap, so that the true interval is wider.
    """
    k, n = comparison.significant, comparison.analyses
    if not n:
        return pb.FalsePositiveRate(nominal=alpha)
    lower = float(betaincinv(k, n - k + 1, 0.025)) if k else 0.0
    upper = float(betaincinv(k + 1, n - k, 0.975)) if k < n else 1.0
    interval = metrics_pb2.Interval(lower=lower, upper=upper, level=0.95)
    return pb.FalsePositiveRate(rate=k / n, interval=interval, nominal=alpha, analyses=n)
