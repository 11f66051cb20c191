"""What the days to come hold - a stop, a recorded change, a plan - as a factor a day that multiplies every method."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.domain.changes import ChangeType

from adsml_forecasting.models import spend_response
from adsml_forecasting.models.level_shifts import Change
from adsml_forecasting.models.prepared import Caution, CautionKind, Prepared, change_text
from adsml_forecasting.models.series import DailySeries, Vector

_USUAL_DAYS: Final = 28


def look_ahead(prepared: Prepared, money: Vector | None, changes: Sequence[Change]) -> Prepared:
    """With the factors, notes and series that the days to come make of it; `money` is spend on the series' days."""
    factors = prepared.factors.copy()
    notes = list(prepared.notes)
    days = prepared.as_of + 1 + np.arange(len(factors))
    planned = np.isfinite(prepared.planned)
    on = np.full(len(factors), not prepared.stopped)
    ignored = list(prepared.ignored)
    if prepared.stopped:
        text = f"{prepared.stopped}: nothing is forecast as long as that lasts"
        notes.append(Caution(CautionKind.NO_DELIVERY, text))

    def skip(change: Change, why: str) -> None:
        ignored.append((change, why))
        notes.append(Caution(CautionKind.CHANGE_IGNORED, f"{change_text(change)} was not used: {why}"))

    for change in (one for one in changes if one.day > prepared.as_of):
        after = days >= change.day
        used = Caution(CautionKind.OTHER_CHANGES, f"{change_text(change)}, ahead, is taken into the forecast")
        if not after.any():
            skip(change, "it lies beyond the forecast")
        elif change.change_type in (ChangeType.PAUSE, ChangeType.REACTIVATE):
            on[after] = change.change_type is ChangeType.REACTIVATE
            notes.append(used)
        elif (ratio := change.budget_ratio) is not None:
            factors[after & ~planned] *= ratio**prepared.elasticity.value
            notes.append(used)
        else:
            skip(change, "it is ahead, and what it will do is not known")
    factors[~on & ~planned] = 0.0
    series = prepared.series
    if planned.any() and prepared.is_spend:
        # Spend follows its plan, whatever a method says: see `follow_plan`.
        factors = np.where(planned, 1.0, factors)
    elif planned.any():
        usual = float("nan") if money is None else _usual_spend(money)
        if money is None or not usual > 0:
            text = "planned budgets were not used: the history holds no spend to compare them with"
            notes.append(Caution(CautionKind.OPTION_IGNORED, text))
        else:
            smooth = spend_response.smoothed(money)
            block = spend_response.levels(smooth)
            seen = (float(block.min()), float(block.max())) if len(block) else (usual, usual)
            if spend_response.has_moved(smooth):
                usual = float(np.exp(np.log(block[-7:]).mean()))
                series = _at_spend(prepared, smooth, usual)
            budget = _equivalent(prepared.planned, usual * _weekdays(money, series.first_day, days))
            response = spend_response.response(budget, usual, prepared.elasticity, seen=seen)
            factors[planned] *= response[planned]
            if spend_response.outside(prepared.planned, seen):
                text = (
                    f"a planned budget lies outside the spend seen so far ({seen[0]:.2f} to {seen[1]:.2f} a day): "
                    "what it buys is a guess"
                )
                notes.append(Caution(CautionKind.BUDGET_OUTSIDE_HISTORY, text))
    return replace(prepared, series=series, factors=factors, notes=tuple(notes), ignored=tuple(ignored))


def _usual_spend(money: Vector) -> float:
    """Spend a day of the newest four weeks."""
    newest = money[-_USUAL_DAYS:]
    weeks = newest[len(newest) % 7 :] if len(newest) >= 7 else newest
    known = weeks[np.isfinite(weeks)]
    return float(known.mean()) if len(known) else float("nan")


def _at_spend(prepared: Prepared, smooth: Vector, usual: float) -> DailySeries:
    """What values would have been at the spend of the newest days, so that only the plan moves them."""
    series = prepared.series
    values = series.values.copy()
    # Before any change of level was applied: spend explains them.
    for one in prepared.shifts:
        at = one.day - series.first_day
        if 0 < at < len(values):
            values[:at] /= one.ratio
    moved = np.where(smooth > 0, usual / np.where(smooth > 0, smooth, 1.0), 1.0)
    return replace(series, values=values * moved**prepared.elasticity.value)


def _weekdays(money: Vector, first: int, days: npt.NDArray[np.int64]) -> Vector:
    """Spend of each of the days over the mean, by weekday of the last four weeks; its mean over them is 1."""
    newest = money[-_USUAL_DAYS:]
    places = (first + len(money) - len(newest) + np.arange(len(newest))) % 7
    means = np.array([np.nanmean(newest[places == one]) if np.isfinite(newest[places == one]).any() else np.nan
                      for one in range(7)])  # fmt: skip
    means = np.where(np.isfinite(means), means, np.nanmean(newest))
    shape = means[days % 7]
    return shape / shape.mean() if shape.mean() > 0 else np.ones(len(days))


def _equivalent(planned: Vector, usual: Vector) -> Vector:
    """The steady budget that each stretch of the plan is worth: days that share a budget are one stretch.

    So a weekend without budget, after weekends without, changes nothing, and a steady budget keeps the weekdays'
    shape.
    """
    out = planned.copy()
    level = float(usual.mean())
    for budget in np.unique(planned[np.isfinite(planned)]):
        mine = planned == budget
        expected = float(usual[mine].mean())
        if expected > 0:
            out[mine] = budget / expected * level
    return out


def follow_plan(point: Vector, planned: Vector) -> Vector:
    """Spend under a plan (NaN where there is none): days that share a budget share it as the method spreads spend."""
    out = point.copy()
    for budget in np.unique(planned[np.isfinite(planned)]):
        mine = planned == budget
        total = float(point[mine].sum())
        out[mine] = point[mine] * (budget * mine.sum() / total) if total > 0 else budget
    return out
