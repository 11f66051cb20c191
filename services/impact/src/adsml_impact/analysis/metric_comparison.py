"""One metric of one change: by controls where enough of them will do, else by the entity's own past, or why not."""

from dataclasses import replace

import numpy as np
from adsml_common.domain.errors import InsufficientHistory
from adsml_common.domain.metrics import RATIOS, Metric

from adsml_impact.analysis.controls import ENOUGH_CONTROLS, large_enough
from adsml_impact.analysis.plan import LABELS, Scope, events_of
from adsml_impact.analysis.prepare import AnalysisContext, whose
from adsml_impact.models.arrays import BoolArray, FloatArray
from adsml_impact.models.comparison import Comparison, compare
from adsml_impact.models.design import Design
from adsml_impact.models.estimators import Estimator
from adsml_impact.models.own_past import MOST_REGRESSORS, compare_with_own_past

_SECONDARY_PLACEBOS = 300


def compare_metric(context: AnalysisContext, metric: Metric) -> tuple[Comparison | None, str]:
    """The comparison of one metric, or None and why there is none."""
    design, estimator = context.design, context.query.options.estimator
    primary = metric is context.plan.primary
    if not primary:
        design = replace(design, most_placebos=min(design.most_placebos, _SECONDARY_PLACEBOS))
    A, B, _ = context.subject.parts(metric)
    reason = _missing(context, metric, A[0], None if B is None else B[0])
    if reason:
        return None, reason
    first = _first_known(A[0], None if B is None else B[0], design)
    needed = min(design.baseline, design.change) + design.washout + design.horizon
    if first and design.change - first < needed:
        if primary:
            raise InsufficientHistory(
                f"{LABELS[metric]} of {whose(context)} before the change",
                had=design.change - first,
                needed=needed,
            )
        return None, f"{LABELS[metric]} is known on {design.change - first} days before the change only"
    design = replace(design, change=design.change - first)
    A, B, changed = A[:, first:], None if B is None else B[:, first:], context.changed[:, first:]
    known = usable_units(context, metric)
    for values in (A, B):
        if values is not None:
            known &= np.isfinite(values[:, : design.end]).all(axis=1)
    comparison = _best(
        A[known],
        None if B is None else B[known],
        design,
        changed[known],
        explicit=estimator is not None and estimator is not Estimator.STRUCTURAL,
        account=context.plan.scope is Scope.ACCOUNT,
    )
    if isinstance(comparison, str):
        return None, comparison
    if comparison is None:
        return None, f"{LABELS[metric]} does not vary over the baseline: nothing tells what chance would do"
    omega = np.zeros(known.size - 1)
    if comparison.omega.size == known.sum() - 1:
        omega[known[1:]] = comparison.omega
    return replace(comparison, omega=omega), ""


def _best(
    A: FloatArray,
    B: FloatArray | None,
    design: Design,
    changed: BoolArray,
    *,
    explicit: bool,
    account: bool,
) -> Comparison | str | None:
    """By controls where there are enough, else by the treated's own past; why not; None where nothing varies.

    `explicit`: an estimator that needs controls was asked for; `account`: the whole account is compared.
    """
    controls = A.shape[0] - 1
    if explicit and controls == 0 and not account:
        return (
            "the estimator asked for needs controls and there are none that will do; leave the estimator open"
        )
    if controls >= (1 if explicit else ENOUGH_CONTROLS):
        comparison = compare(A, B, design, changed=changed)
        if comparison is not None and (explicit or comparison.controls >= ENOUGH_CONTROLS):
            return comparison
    few = 1 + min(controls, MOST_REGRESSORS) if controls < ENOUGH_CONTROLS else 1
    return compare_with_own_past(A[:few], None if B is None else B[:few], design, changed=changed[:few])


def _first_known(top: FloatArray, bottom: FloatArray | None, design: Design) -> int:
    """First day from which on the treated's figures are known (reach may not be, further back)."""
    unknown = np.flatnonzero(~np.isfinite((top if bottom is None else top + bottom)[: design.end]))
    return int(unknown[-1]) + 1 if unknown.size else 0


def usable_units(context: AnalysisContext, metric: Metric) -> BoolArray:
    """Which units bring enough of what a metric rests on; the treated are what they are."""
    known = np.ones(len(context.subject.names), dtype=np.bool_)
    for part in events_of(metric):
        known &= large_enough(context.subject.values[part], context.design)
    known[0] = True
    return known


def _missing(context: AnalysisContext, metric: Metric, top: FloatArray, bottom: FloatArray | None) -> str:
    """Why a metric of the treated can't be compared; empty where it can."""
    design = context.design
    base = design.base
    label = LABELS[metric]
    ratio = RATIOS.get(metric)
    windows = [(base, "before the change")]
    if design.observed:
        windows.append((design.after, "after the change"))
    for days, when in windows:
        parts = [(top, metric.value if ratio is None else ratio.numerator)]
        if bottom is not None and ratio is not None:
            parts.append((bottom, ratio.denominator))
        for values, name in parts:
            if not np.isfinite(values[days]).all():
                return f"{name} is not known on every day {when}, so that {label} can't be compared"
            if values[days].sum() <= 0 and (ratio is not None or days is base):
                return (
                    f"there are no {name} in the {values[days].size} days {when}, so that {label} is missing"
                )
    return ""
