"""The treated against its own past: a structural time series, checked on earlier dates.

For when nobody is there to compare with, or only one or two, which then serve as regressors. A market-wide
movement that no regressor shows is indistinguishable from an effect; no method can help that, and the answer
says so.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from adsml_impact.models.comparison import BoolArray, Comparison, Design, struck_out
from adsml_impact.models.dates import Dates, choose_dates
from adsml_impact.models.estimators import Estimator
from adsml_impact.models.reference import Reference, Student
from adsml_impact.models.relative import change_from_baseline, to_relative
from adsml_impact.models.structural import Forecast, forecast

FloatArray = npt.NDArray[np.float64]

MOST_REGRESSORS: Final = 2
_MODEL_WEIGHT: Final = 2.0
"""What the model's own interval counts against placebo dates, in independent dates."""
_MOST_DATES: Final = 30
_UNKNOWN_CORRELATION: Final = 0.3
"""Of the errors of two entities on the same days, where a market-wide movement is in both."""


def _reference(z: FloatArray, *, independent: float) -> Student:
    """Student's t: the model's intervals widened by what placebo dates showed, and never narrowed."""
    mean_square = float(np.mean(z**2)) if z.size else 1.0
    df = _MODEL_WEIGHT + independent
    pooled = (_MODEL_WEIGHT + independent * mean_square) / df
    return Student(scale=max(1.0, float(np.sqrt(pooled))), df=df)


def _independent(origins: npt.NDArray[np.int64], horizon: int) -> float:
    return 1.0 + float(origins[-1] - origins[0]) / horizon if origins.size else 0.0


class _Past:
    """The series around any date, and its forecast."""

    def __init__(self, numerator: FloatArray, denominator: FloatArray | None, design: Design) -> None:
        self.A = np.ascontiguousarray(numerator, dtype=np.float64)
        self.B = (
            np.empty((0, 0)) if denominator is None else np.ascontiguousarray(denominator, dtype=np.float64)
        )
        self.design = design

    def relative(self, t: int, L: int, days: int) -> tuple[FloatArray, FloatArray, bool]:
        """Relative, weekday-adjusted series (N, L + days), profiles, and whether all have a level."""
        N = self.A.shape[0]
        r = np.zeros((N, L + days))
        level, valid, profile = np.zeros(N), np.zeros(N, dtype=np.bool_), np.zeros((N, 7))
        to_relative(self.A, self.B, t, L, days, self.design.weekly, r, level, valid, profile)
        return r, profile, bool(valid.all())

    def forecast(self, r: FloatArray, L: int, days: int) -> Forecast | None:
        """Of the treated's first L days for the rest; None where they do not vary."""
        y = r[0, :L]
        if y.std() <= 1e-9:
            return None
        X = r[1:].T
        regressors = (X[:L], X[L : L + days]) if X.shape[1] and X.shape[0] >= L + days else (None, None)
        washout = self.design.washout
        return forecast(y, horizon=days - washout, washout=washout, X=regressors[0], X_post=regressors[1])

    def z(self, t: int, L: int) -> float:
        """Studentised effect of a placebo date; NaN where it has none."""
        days = self.design.washout + self.design.horizon
        r, profile, usable = self.relative(t, L, days)
        predicted = self.forecast(r, L, days) if usable else None
        if predicted is None:
            return np.nan
        moved = change_from_baseline(
            self.A, self.B, 0, t, L, t + self.design.washout, self.design.horizon, r, profile
        )
        return (moved - (predicted.window_mean - 1.0)) / predicted.window_sd


def compare_with_own_past(
    numerator: FloatArray,
    denominator: FloatArray | None,
    design: Design,
    *,
    changed: BoolArray | None = None,
) -> Comparison | None:
    """Compare the treated with a forecast of itself.

    Parameters
    ----------
    numerator, denominator
        (1 + k, T): the treated, then up to two series that the change can't have touched.
    design
        The change.
    changed
        (1 + k, T) days of other, recorded changes; placebo dates that one of the treated overlaps are struck out.

    Returns
    -------
    Comparison or None
        None where the treated has no level, or does not vary.
    """
    past = _Past(numerator, denominator, design)
    chosen = choose_dates(
        design.change,
        baseline=design.baseline,
        horizon=design.horizon,
        washout=design.washout,
        most=min(_MOST_DATES, design.most_placebos),
        weekly=design.weekly,
    )
    t, L = design.change, int(chosen.lengths[-1])
    days = design.washout + design.horizon
    r, profile, usable = past.relative(t, L, design.ahead)
    predicted = past.forecast(r, L, days) if usable else None
    if predicted is None:
        return None
    tau = np.nan
    if design.observed:
        moved = change_from_baseline(past.A, past.B, 0, t, L, t + design.washout, design.horizon, r, profile)
        if not np.isfinite(moved):
            return None
        tau = moved - (predicted.window_mean - 1.0)
    z = np.array(
        [
            past.z(int(o), int(length))
            for o, length in zip(chosen.origins[:-1], chosen.lengths[:-1], strict=True)
        ]
    )
    if changed is not None:
        z[struck_out(changed[:1], chosen.origins, design)[:-1, 0]] = np.nan
    usable_dates = np.isfinite(z)
    reference = _reference(
        z[usable_dates], independent=_independent(chosen.origins[:-1][usable_dates], design.horizon)
    )
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
        size_for=lambda horizon: _size_for(r[0, :L], horizon, design.washout),
    )


def _size_for(y: FloatArray, horizon: int, washout: int) -> float:
    return forecast(y, horizon=horizon, washout=washout).window_sd


def _measured_rate(z: FloatArray, chosen: Dates, design: Design) -> tuple[int, int]:
    """Placebo dates judged by those whose window had ended by then: (significant, analyses)."""
    span = design.washout + design.horizon
    significant = analyses = 0
    for o in np.flatnonzero(np.isfinite(z)):
        known = np.flatnonzero(np.isfinite(z) & (chosen.origins[:-1] + span <= chosen.origins[o]))
        if known.size == 0:
            continue
        reference: Reference = _reference(
            z[known], independent=_independent(chosen.origins[known], design.horizon)
        )
        analyses += 1
        significant += int(reference.p_value(float(z[o])) < design.alpha)
    return significant, analyses
