"""Cautions: each function looks at one thing and returns what there is to say of it, or None."""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import EntityType
from adsml_common.domain.metrics import Metric, divide
from scipy.special import betaincinv

from adsml_impact.analysis.controls import ENOUGH_CONTROLS, Choice, Tree, lineage
from adsml_impact.analysis.report import Caution, ManipulationCheck, MeasuredRate, WarningType
from adsml_impact.models.comparison import Comparison, Design
from adsml_impact.models.effect import Interval
from adsml_impact.models.estimators import Estimator
from adsml_impact.models.reference import Student

FloatArray = npt.NDArray[np.float64]

FEW_CONTROLS = 6
_POOR_FIT = 0.0
_EXTREME = 2.0
_LAG_DAYS = 3
_GAP_SHARE = 0.15


def few_controls(comparison: Comparison, choice: Choice) -> Caution | None:
    """No controls, or too few to know a market-wide movement from an effect."""
    left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(choice.left_out.items()))
    why = f" ({left_out})" if left_out else ""
    if comparison.estimator is Estimator.STRUCTURAL and not len(choice.rows):
        return Caution(
            WarningType.NO_CONTROLS,
            f"there is nobody to compare with{why}: the entity's own past stands in, and a movement of the "
            "whole market would pass for an effect",
        )
    number = min(len(choice.rows), comparison.controls or len(choice.rows))
    if number < FEW_CONTROLS:
        how = (
            f"; a placebo test over entities needs {ENOUGH_CONTROLS}, so they serve as regressors of the "
            "entity's own past"
            if comparison.estimator is Estimator.STRUCTURAL
            else ""
        )
        return Caution(
            WarningType.FEW_CONTROLS,
            f"only {number} entities to compare with{why}{how}; a movement of the whole market is hard to "
            "tell from an effect",
        )
    return None


def contaminated_controls(choice: Choice) -> Caution | None:
    """Given controls that the change may have moved."""
    if not choice.contaminated:
        return None
    named = "; ".join(f"{name} {reason}" for name, reason in choice.contaminated[:5])
    more = f" and {len(choice.contaminated) - 5} more" if len(choice.contaminated) > 5 else ""
    return Caution(
        WarningType.CONTAMINATED_CONTROLS, f"controls that may have moved themselves: {named}{more}"
    )


def poor_fit(comparison: Comparison, r_squared: float, rmse_percent: float) -> Caution | None:
    """A counterfactual that did not follow the treated before."""
    if comparison.estimator is Estimator.STRUCTURAL or not r_squared < _POOR_FIT:
        return None
    return Caution(
        WarningType.POOR_FIT,
        "before the change the controls did not follow the entity's days better than its plain mean would "
        f"(typical miss {rmse_percent:.0f}% of its level); the interval is wide for it",
    )


def regression_to_the_mean(
    numerator: FloatArray, denominator: FloatArray | None, design: Design, metric: Metric
) -> Caution | None:
    """An extreme window before the change: part of the way back would have come anyway.

    The window before is measured against the other windows of its length in the baseline.
    """
    length = design.before
    start = max(0, design.change - design.baseline)
    blocks = (design.change - start) // length
    if blocks < 4:
        return None
    days = slice(design.change - blocks * length, design.change)
    top = numerator[days].reshape(blocks, length).sum(axis=1)
    if denominator is None:
        values = top / length
    else:
        values = divide(top, denominator[days].reshape(blocks, length).sum(axis=1))
    earlier = values[:-1][np.isfinite(values[:-1])]
    if earlier.size < 3 or not np.isfinite(values[-1]) or not earlier.std(ddof=1) > 0:
        return None
    z = (float(values[-1]) - float(earlier.mean())) / float(earlier.std(ddof=1))
    if abs(z) < _EXTREME:
        return None
    side = "high" if z > 0 else "low"
    back = "fallen" if z > 0 else "risen"
    return Caution(
        WarningType.REGRESSION_TO_THE_MEAN,
        f"in the {length} days before the change {metric} was unusually {side} ({abs(z):.1f} standard "
        f"deviations of such windows): part of it would have {back} again by itself. The estimate allows for "
        "that; a plain before and after does not",
    )


def incomplete_days(*, after_last: date, today: date | None, dropped: int) -> Caution | None:
    """A window that ends too close to today for all leads to have been reported."""
    if today is None:
        return None
    age = (today - after_last).days
    if age > _LAG_DAYS:
        return None
    return Caution(
        WarningType.INCOMPLETE_DAYS,
        f"the window ended {age} days ago and its last days may still be filling up (leads are reported "
        f"late); {dropped} days were dropped at the end, set drop_last_days to drop more",
    )


def other_changes(
    events: Sequence[ChangeEvent],
    *,
    tree: Tree,
    entity_type: EntityType,
    treated: Sequence[str],
    change_type: ChangeType,
    day: date,
    first: date,
    last: date,
) -> Caution | None:
    """Other changes to the treated, or above them, inside the windows."""
    concerned = {key for name in treated for key in lineage(tree, entity_type, name)}
    own = {(entity_type, name) for name in treated}
    others = [
        event
        for event in events
        if first <= event.date <= last
        and (event.entity.entity_type, event.entity.entity_id) in concerned
        and not (
            event.date == day
            and event.change_type is change_type
            and (event.entity.entity_type, event.entity.entity_id) in own
        )
    ]
    if not others:
        return None
    named = "; ".join(
        f"{event.change_type.replace('_', ' ')} of {event.entity.entity_type} {event.entity.entity_id} on "
        f"{event.date}"
        for event in sorted(others, key=lambda event: (event.date, event.entity))[:5]
    )
    more = f" and {len(others) - 5} more" if len(others) > 5 else ""
    return Caution(
        WarningType.OTHER_CHANGES,
        f"other changes inside the windows: {named}{more}. What they did can't be told apart from this one",
    )


def short_window(
    design: Design, *, before_wanted: int, after_wanted: int, baseline_wanted: int, baseline: int
) -> Caution | None:
    """Fewer days than were asked for."""
    short = []
    if design.before < before_wanted:
        short.append(f"{design.before} of {before_wanted} days before")
    if design.horizon < after_wanted:
        short.append(f"{design.horizon} of {after_wanted} days after")
    if baseline < min(28, baseline_wanted):
        short.append(f"a baseline of {baseline} days (28 or more are better, {baseline_wanted} are used)")
    if not short:
        return None
    return Caution(WarningType.SHORT_WINDOW, "short history: " + ", ".join(short))


def few_placebos(comparison: Comparison, alpha: float) -> Caution | None:
    """A test that rests on a fitted distribution, or cannot reach alpha."""
    if comparison.reference.smallest >= alpha:
        return Caution(
            WarningType.FEW_PLACEBOS,
            f"the placebos can give no p-value below {comparison.reference.smallest:.3f}; nothing can be "
            f"significant at {alpha:g}",
        )
    if isinstance(comparison.reference, Student) and comparison.studentised.size < 20:
        return Caution(
            WarningType.FEW_PLACEBOS,
            f"only {comparison.studentised.size} placebos: the p-value rests on Student's t with "
            f"{comparison.reference.df:.1f} degrees of freedom",
        )
    return None


def gaps(present: npt.NDArray[np.bool_], what: str) -> Caution | None:
    """Days without a row between the first and the last."""
    missing = int((~present).sum())
    if missing <= _GAP_SHARE * present.size:
        return None
    return Caution(
        WarningType.GAPS,
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


def false_positive_rate(rate: MeasuredRate) -> Caution | None:
    """A measured rate well above alpha."""
    if rate.interval is None or rate.rate is None or rate.interval.lower <= rate.nominal:
        return None
    if rate.rate < 1.5 * rate.nominal:
        return None
    return Caution(
        WarningType.FALSE_POSITIVE_RATE,
        f"on this account's own history this analysis found an effect in {100 * rate.rate:.0f}% of "
        f"{rate.analyses} cases where nothing was changed, against {100 * rate.nominal:g}% asked for; "
        "mistrust effects that are barely significant",
    )


def manipulation(check: ManipulationCheck | None) -> Caution | None:
    """A change that does not show in spend."""
    if check is None or check.passed:
        return None
    return Caution(WarningType.MANIPULATION_NOT_SEEN, check.message)


def account_unknown(*, known: bool) -> Caution | None:
    """A pause judged without the account."""
    if known:
        return None
    return Caution(
        WarningType.ACCOUNT_UNKNOWN,
        "the account's own rows were not sent: treated and controls together stand for it, and money that "
        "went elsewhere is not seen",
    )


def window_dates(first: date, design: Design) -> tuple[date, date]:
    """First day of the window before and last day of the window after."""
    return (
        first + timedelta(days=design.change - design.before),
        first + timedelta(days=design.after.stop - 1),
    )
