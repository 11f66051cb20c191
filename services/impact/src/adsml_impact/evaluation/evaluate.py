"""Every estimator on one file: the body of ``adsml evaluate impact``."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from adsml_impact.evaluation.long_panel import read_long_panel
from adsml_impact.evaluation.study import OURS, cells_of, run_study
from adsml_impact.models.arrays import FloatArray
from adsml_impact.models.comparison import compare
from adsml_impact.models.design import Design
from adsml_impact.models.difference_in_differences import difference_in_differences
from adsml_impact.models.effect import measure
from adsml_impact.models.panel import Estimate, Panel
from adsml_impact.models.placebo_variance import placebo_test
from adsml_impact.models.synthetic_control import synthetic_control
from adsml_impact.models.synthetic_did import synthetic_did

_MOST_CELLS = 400


def evaluate_file(
    path: Path,
    *,
    demeaned: bool | None = None,
    alpha: float = 0.05,
    placebo_study: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **columns: Any,
) -> dict[str, Any]:
    """All estimators on a long table, as one object for ``--json``.

    Parameters
    ----------
    demeaned
        Whether ``synthetic_control`` allows a difference of level. None: for days, where units differ in size
        and season, yes (as GeoLift does); for years and other periods, no (as Abadie et al. do). The other
        form is reported beside it.
    progress
        Called with (done, all) during the placebo study.
    **columns
        What is where in the table, as of `read_long_panel`, which also says what is raised.

    Returns
    -------
    dict
        ``methods`` (name -> ``att``, ``percent``, ``p_value``, ``interval``, ``incremental`` and more),
        ``weights`` of ``synthetic_control``, and what was compared. Infinite or missing figures are None.
    """
    data = read_long_panel(path, **columns)
    panel, level = data.panel, data.daily if demeaned is None else demeaned
    design = Design(
        change=panel.T_pre,
        horizon=panel.T_post,
        before=min(panel.T_post, panel.T_pre),
        baseline=min(56, panel.T_pre) if data.daily else panel.T_pre,
        alpha=alpha,
        weekly=data.daily,
    )
    estimates: dict[str, Callable[[Panel], Estimate]] = {
        "did": difference_in_differences,
        "synthetic_control": partial(synthetic_control, demeaned=level),
        f"synthetic_control_{'plain' if level else 'demeaned'}": partial(
            synthetic_control, demeaned=not level
        ),
        "sdid": synthetic_did,
    }
    methods = {name: _published(panel, estimate, alpha) for name, estimate in estimates.items()}
    ours = _ours(panel, design)
    if ours is not None:
        methods[OURS] = ours
    result: dict[str, Any] = {
        "methods": methods,
        "weights": _weights(panel, estimates["synthetic_control"](panel).omega),
        "synthetic_control_demeaned": level,
        "treated": list(panel.units[: panel.N_tr]),
        "start": str(panel.times[panel.T_pre]),
        "units": panel.N_tr + panel.N_co,
        "controls": panel.N_co,
        "periods_before": panel.T_pre,
        "periods_after": panel.T_post,
        "dropped_units": list(data.dropped),
        "alpha": alpha,
    }
    return result | _study(panel, design, progress) if placebo_study else result


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _weights(panel: Panel, omega: FloatArray) -> dict[str, float]:
    order = np.argsort(-omega, kind="stable")
    return {panel.units[panel.N_tr + i]: float(omega[i]) for i in order if omega[i] > 0}


def _published(panel: Panel, estimate: Callable[[Panel], Estimate], alpha: float) -> dict[str, Any]:
    result, test = estimate(panel), placebo_test(panel, estimate, alpha=alpha)
    gap = (panel.y - result.counterfactual)[: panel.T_pre]
    return {
        "att": result.tau,
        "percent": _number(result.percent),
        "incremental": result.tau * panel.N_tr * panel.T_post,
        "standard_error": _number(test.se),
        "p_value": _number(test.p_value),
        "interval": [_number(test.lower), _number(test.upper)],
        "pre_period_rmse": float(np.sqrt(np.mean(gap**2))),
    }


def _ours(panel: Panel, design: Design) -> dict[str, Any] | None:
    """The estimator of the service; None where outcomes are negative or a level is 0."""
    Y = np.concatenate([panel.Y[: panel.N_tr].sum(axis=0, keepdims=True), panel.controls])
    result = None if (Y < 0).any() else compare(Y, None, design)
    if result is None:
        return None
    effect = measure(Y[0], None, scale=1.0, design=design, comparison=result, with_series=False)
    units, interval = panel.N_tr, effect.absolute_interval
    return {
        "att": effect.absolute / units,
        "percent": _number(100.0 * effect.relative),
        "incremental": effect.absolute * panel.T_post,
        "p_value": _number(effect.p_value),
        "interval": [_number(interval.lower / units), _number(interval.upper / units)],
        "placebos": int(result.studentised.size),
        "measured_false_positive_rate": result.significant / result.analyses if result.analyses else None,
        "weights": _weights(panel, result.omega),
    }


def _study(panel: Panel, design: Design, progress: Callable[[int, int], None] | None) -> dict[str, Any]:
    """A/A study on the controls, which nothing was done to, at the window lengths of the analysis itself."""
    horizon, baseline, alpha = design.horizon, design.baseline, design.alpha
    Y, stride = panel.controls[(panel.controls >= 0).all(axis=1)], max(1, horizon // 2)
    cells = cells_of([Y], horizon=horizon, baseline=baseline, stride=stride, most=_MOST_CELLS, seed=0)
    result = run_study(
        [Y], cells, horizon=horizon, baseline=baseline, alpha=alpha, weekly=design.weekly, progress=progress
    )
    return {
        "false_positive_rate": result[OURS].false_positive_rate,
        "power_1sd": result[OURS].power_1sd,
        "placebo_study": {
            name: {key: _number(value) for key, value in rate._asdict().items()} | {"analyses": rate.analyses}
            for name, rate in result.items()
        },
    }
