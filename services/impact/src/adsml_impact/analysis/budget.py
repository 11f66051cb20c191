"""Did the change happen, and where did the money go: both read off spend."""

import numpy as np
from adsml.common.v1 import metrics_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeType

from adsml_impact.analysis.prepare import AnalysisContext
from adsml_impact.analysis.query import ImpactQuery
from adsml_impact.models.arrays import FloatArray
from adsml_impact.models.design import Design

_OFF = 0.1
_FOLLOWED = 0.25
_SHOWN = 10
_MATTERS = 0.02


def manipulation_check(spend: FloatArray, design: Design, query: ImpactQuery) -> pb.ManipulationCheck | None:
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
            wrong = "a pause would have brought it to 0"
        case ChangeType.REACTIVATE:
            passed = after > 0 and before <= _OFF * after
            wrong = "it was not off before, or did not come back"
        case ChangeType.BUDGET_CHANGE:
            ratio = after / before if before > 0 else np.inf
            old, new = query.change.value_before, query.change.value_after
            if old and new and before > 0 and after > 0:
                step = float(np.log(new / old))
                passed = step * float(np.log(ratio)) >= _FOLLOWED * step**2
                movement = f"{movement} after the budget went from {old:.2f} to {new:.2f}"
            else:
                passed = abs(ratio - 1.0) >= 0.05
            wrong = "the new budget does not show in it"
        case _:
            return None
    message = movement if passed else f"{movement}: {wrong}"
    return pb.ManipulationCheck(
        metric=metrics_pb2.METRIC_SPEND, before=before, after=after, passed=passed, message=message
    )


def budget_shifts(context: AnalysisContext) -> list[pb.BudgetShift]:
    """How the spend of the others moved when the treated was switched off or on; the largest first.

    Each against its own window before, both put on the same weekdays by its profile over the baseline where
    there are two weeks of it. Entities that moved by less than 2% of the treated's own change are left out.
    """
    series, design = context.series, context.design
    spend, leads = series.values["spend"], series.values["leads"]
    adjusted = _without_weekdays(spend, design)
    moved = adjusted[:, design.after].mean(axis=1) - adjusted[:, design.before_window].mean(axis=1)
    own = float(moved[context.treated].sum())
    if own == 0:
        return []
    out = []
    for i in np.argsort(-np.abs(moved), kind="stable"):
        if int(i) in context.treated or abs(moved[i]) < _MATTERS * abs(own):
            continue
        got = float(leads[i, design.after].sum())
        out.append(
            pb.BudgetShift(
                entity=context.query.ref(series.names[i]),
                spend_per_day=moved[i],
                share=-float(moved[i]) / own,
                cpl_after=float(spend[i, design.after].sum()) / got if got > 0 else None,
            )
        )
    return out[:_SHOWN]


def _without_weekdays(spend: FloatArray, design: Design) -> FloatArray:
    weeks = min(design.baseline, design.change) // 7
    if weeks < 2:
        return spend
    base = spend[:, design.change - 7 * weeks : design.change].reshape(spend.shape[0], weeks, 7)
    profile = base.mean(axis=1) - base.mean(axis=(1, 2))[:, None]
    position = (np.arange(spend.shape[1]) - design.change) % 7
    return np.asarray(spend - profile[:, position])
