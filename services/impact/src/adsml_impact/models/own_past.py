"""The treated against its own past: a structural time series, checked on earlier dates.

For when nobody is there to compare with, or only one or two, which then serve as regressors. A market-wide
movement that no regressor shows is indistinguishable from an effect; no method can help that, and the answer
says so.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from adsml_impact.models.arrays import BoolArray, FloatArray, IntArray
from adsml_impact.models.comparison import Comparison, struck_out
from adsml_impact.models.design import Dates, Design, choose_dates
from adsml_impact.models.estimators import Estimator
from adsml_impact.models.reference import Student
from adsml_impact.models.relative import as_parts, change_from_baseline, to_relative
from adsml_impact.models.structural import Forecast, forecast

MOST_REGRESSORS: Final = 2
_MODEL_WEIGHT: Final = 2.0
"""What the model's own interval counts against placebo dates, in independent dates."""
_MOST_DATES: Final = 30
_UNKNOWN_CORRELATION: Final = 0.3
"""Of the errors of two entities on the same days, where a market-wide movement is in both."""


def _reference(z: FloatArray, origins: IntArray, horizon: int) -> Student:
    """Student's t: the model's intervals widened by what placebos on some dates showed, and never narrowed."""
    independent = 1.0 + float(origins[-1] - origins[0]) / horizon if origins.size else 0.0
    mean_square = float(np.mean(z**2)) if z.size else 1.0
    df = _MODEL_WEIGHT + independent
    pooled = (_MODEL_WEIGHT + independent * mean_square) / df
    return Student(scale=max(1.0, float(np.sqrt(pooled))), df=df)


def _forecast(
    numerator: FloatArray, denominator: FloatArray | None, design: Design, t: int, L: int, *, observed: bool
) -> tuple[Forecast | None, float, FloatArray, FloatArray]:
    """The forecast from a date on (None without a level, or where nothing varies), the effect, series and weekdays."""
    A, B = as_parts(numerator, denominator)
    days, N = design.washout + design.horizon, A.shape[0]
    r = np.zeros((N, L + (days if observed else 0)))
    valid, profile = np.zeros(N, dtype=np.bool_), np.zeros((N, 7))
    to_relative(A, B, t, L, r.shape[1] - L, design.weekly, r, valid, profile)
    y, X = r[0, :L], r[1:].T
    if not valid.all() or y.std() <= 1e-9:
        return None, np.nan, r, profile
    known = X.shape[1] > 0 and X.shape[0] >= L + days
    predicted = forecast(
        y,
        horizon=design.horizon,
        washout=design.washout,
        X=X[:L] if known else None,
        X_post=X[L : L + days] if known else None,
    )
    tau = np.nan
    if observed:
        moved = change_from_baseline(A, B, 0, t, L, design.washout, design.horizon, r, profile)
        tau = moved - (predicted.window_mean - 1.0)
    return predicted, tau, r, profile


def compare_with_own_past(
    numerator: FloatArray, denominator: FloatArray | None, design: Design, *, changed: BoolArray | None = None
) -> Comparison | None:
    """Compare the treated with a forecast of itself; None where it has no level, or does not vary.

    Parameters
    ----------
    numerator, denominator
        (1 + k, T): the treated, then up to two series that the change can't have touched.
    changed
        (1 + k, T) days of other, recorded changes; placebo dates that one of the treated overlaps are struck out.
    """
    chosen = choose_dates(replace(design, most_placebos=min(_MOST_DATES, design.most_placebos)))
    t, L = design.change, int(chosen.lengths[-1])
    predicted, tau, r, profile = _forecast(numerator, denominator, design, t, L, observed=design.observed)
    if predicted is None or (design.observed and not np.isfinite(tau)):
        return None
    z = np.full(chosen.origins.size - 1, np.nan)
    for k, (date, length) in enumerate(zip(chosen.origins[:-1], chosen.lengths[:-1], strict=True)):
        earlier, effect, _, _ = _forecast(
            numerator, denominator, design, int(date), int(length), observed=True
        )
        if earlier is not None:
            z[k] = effect / earlier.window_sd
    if changed is not None:
        z[struck_out(changed[:1], chosen.origins, design)[:-1, 0]] = np.nan
    usable_dates = np.isfinite(z)
    reference = _reference(z[usable_dates], chosen.origins[:-1][usable_dates], design.horizon)
    significant, analyses = _measured_rate(z, chosen, design)
    one_day = reference.critical(design.alpha)
    outlook = np.concatenate([predicted.fitted, predicted.mean[: design.ahead]])
    spread = np.concatenate([np.full(L, predicted.sd[0]), predicted.sd[: design.ahead]])
    weekday = profile[0][(t - L + np.arange(outlook.size)) % 7]
    return Comparison(
        estimator=Estimator.STRUCTURAL,
        tau=float(tau),
        size=predicted.window_sd,
        reference=reference,
        counterfactual=outlook - 1.0 + weekday,
        band=one_day * spread,
        omega=np.zeros(numerator.shape[0] - 1),
        share=0.0,
        leave_one_out=np.empty(0),
        date_correlation=_UNKNOWN_CORRELATION,
        studentised=z[usable_dates],
        dates=int(usable_dates.sum()),
        controls=0,
        significant=significant,
        analyses=analyses,
        baseline=L,
        size_for=lambda days: forecast(r[0, :L], horizon=days, washout=design.washout).window_sd,
    )


def _measured_rate(z: FloatArray, chosen: Dates, design: Design) -> tuple[int, int]:
    """Placebo dates judged by those whose window had ended by then: (significant, analyses)."""
    span = design.washout + design.horizon
    significant = analyses = 0
    for o in np.flatnonzero(np.isfinite(z)):
        known = np.flatnonzero(np.isfinite(z) & (chosen.origins[:-1] + span <= chosen.origins[o]))
        if known.size == 0:
            continue
        reference = _reference(z[known], chosen.origins[known], design.horizon)
        analyses += 1
        significant += int(reference.p_value(float(z[o])) < design.alpha)
    return significant, analyses
