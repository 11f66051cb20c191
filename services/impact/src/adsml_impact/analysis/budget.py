"""Did the change happen, and where did the money go: both read off spend."""

from collections.abc import Sequence

import numpy as np
from adsml_common.domain.changes import ChangeType

from adsml_impact.analysis.query import ImpactQuery
from adsml_impact.analysis.report import BudgetShift, ManipulationCheck
from adsml_impact.analysis.series import Series
from adsml_impact.models.arrays import FloatArray
from adsml_impact.models.design import Design

_OFF = 0.1
_FOLLOWED = 0.25
_SHOWN = 10
_MATTERS = 0.02


def manipulation_check(spend: FloatArray, design: Design, query: ImpactQuery) -> ManipulationCheck | None:
    """Whether spend (T,), currency per day, moved as the change says; None for changes that do not act on spend.

    After a pause it must be below a tenth of what it was; after a reactivation at least ten times that;
    after a change of budget it must have moved in its direction by a quarter of the step (in logs) or, where
    the budgets are not known, by 5%.
    """
    before = float(spend[design.before_window].mean())
    after = float(spend[design.after].mean())
    movement = f"spend went from {before:.2f} to {after:.2f} a day"
    match query.change_type:
        case ChangeType.PAUSE:
            passed = before > 0 and after <= _OFF * before
            message = movement if passed else f"{movement}: a pause would have brought it to 0"
        case ChangeType.REACTIVATE:
            passed = after > 0 and before <= _OFF * after
            message = movement if passed else f"{movement}: it was not off before, or did not come back"
        case ChangeType.BUDGET_CHANGE:
            ratio = after / before if before > 0 else np.inf
            old, new = query.value_before, query.value_after
            if old and new and before > 0 and after > 0:
                step = float(np.log(new / old))
                passed = step * float(np.log(ratio)) >= _FOLLOWED * step**2
                movement = f"{movement} after the budget went from {old:.2f} to {new:.2f}"
            else:
                passed = abs(ratio - 1.0) >= 0.05
            message = movement if passed else f"{movement}: the new budget does not show in it"
        case _:
            return None
    return ManipulationCheck(before=before, after=after, passed=passed, message=message)


def budget_shifts(series: Series, design: Design, treated: Sequence[int]) -> tuple[BudgetShift, ...]:
    """How the spend of the others moved when the treated was switched off or on; the largest first.

    Each against its own window before, both put on the same weekdays by its profile over the baseline where
    there are two weeks of it. Entities that moved by less than 2% of the treated's own change are left out.
    """
    spend = series.values["spend"]
    leads = series.values["leads"]
    adjusted = _without_weekdays(spend, design)
    before = adjusted[:, design.before_window].mean(axis=1)
    after = adjusted[:, design.after].mean(axis=1)
    moved = after - before
    own = float(moved[list(treated)].sum())
    if own == 0:
        return ()
    out = []
    for i in np.argsort(-np.abs(moved), kind="stable"):
        if int(i) in treated or abs(moved[i]) < _MATTERS * abs(own):
            continue
        got = float(leads[i, design.after].sum())
        out.append(
            BudgetShift(
                entity_id=series.names[i],
                spend_per_day=float(moved[i]),
                share=-float(moved[i]) / own,
                cpl_after=float(spend[i, design.after].sum()) / got if got > 0 else np.nan,
            )
        )
    return tuple(out[:_SHOWN])


def _without_weekdays(spend: FloatArray, design: Design) -> FloatArray:
    weeks = min(design.baseline, design.change) // 7
    if weeks < 2:
        return spend
    base = spend[:, design.change - 7 * weeks : design.change].reshape(spend.shape[0], weeks, 7)
    profile = base.mean(axis=1) - base.mean(axis=(1, 2))[:, None]
    position = (np.arange(spend.shape[1]) - design.change) % 7
    return np.asarray(spend - profile[:, position])
