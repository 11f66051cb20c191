"""Placebo effects over dates and entities, studentised by unit and by date, and the reference they make.

An effect is divided by two sizes: that of its unit, from how unsteady the unit's gap was over the baseline,
and that of its date, from how far the other units were off on the same date. A market-wide shock that hits
units unequally makes every gap larger on its date; the second size knows, even if there was no such day
before. What is left is compared with the same figure for every control on every earlier date and on the
change's own.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import stdtrit

from adsml_impact.models.arrays import BoolArray, FloatArray, IntArray
from adsml_impact.models.design import Design
from adsml_impact.models.reference import Empirical, Reference, Student

ENOUGH: Final = 40.0
"""Independent placebos from which on they are ranked; with fewer, Student's t is fitted to them."""
_MANY: Final = 15
"""Units from which on it makes no odds whether a placebo is itself among those it is judged by."""
_PRIOR: Final = 8.0
"""Weight of a common size over dates, in units, when a date's own size is worked out; less on a date that surprises."""


@dataclass(frozen=True, slots=True)
class Placebos:
    """Effects of nothing, and in the last row and first column the effect of the change."""

    studentised: FloatArray  # (O, N): effects over their sizes; NaN where there is none
    origins: IntArray  # (O,) day indices of the dates; the last is the change's
    design: Design

    @property
    def others(self) -> FloatArray:
        """All studentised placebo effects, (M,)."""
        return _pool(self.studentised)

    @property
    def dates(self) -> int:
        """Dates with a placebo effect of the treated."""
        return int(np.isfinite(self.studentised[:-1, 0]).sum())

    @property
    def controls(self) -> int:
        """Controls with a placebo effect on the change's date or, where it lies ahead, on the latest one."""
        rows = np.isfinite(self.studentised[:, 1:]).sum(axis=1)
        return int(rows[-1] or (rows[-2] if rows.size > 1 else 0))

    @property
    def date_correlation(self) -> float:
        """Of two controls' placebo effects on one date: mean product of pairs over the mean square; 0 where unknown."""
        S = self.studentised[:, 1:]
        known = np.isfinite(S)
        number = known.sum(axis=1)
        total, squares = np.nansum(S, axis=1), np.nansum(S**2, axis=1)
        pairs = float((number * (number - 1)).sum())
        if not pairs or not squares.sum() > 0:
            return 0.0
        return float((total**2 - squares).sum()) / pairs / (float(squares.sum()) / float(number.sum()))

    def reference(self) -> Reference:
        """What the change's studentised effect is compared with."""
        independent = independent_placebos(self.origins, horizon=self.design.horizon, controls=self.controls)
        return make_reference(self.others, independent=independent, controls=self.controls)

    def measured_rate(self) -> tuple[int, int]:
        """How often this analysis found an effect where nothing happened: (significant, analyses).

        Every placebo is judged as the change is: against what was known on its date, which is the placebos
        whose window had ended by then, and the other units on the same date.
        """
        significant = analyses = 0
        alpha, horizon = self.design.alpha, self.design.horizon
        span = self.design.washout + horizon
        for o in range(self.origins.size):
            row = self.studentised[o, 1:] if o == self.origins.size - 1 else self.studentised[o]
            row = row[np.isfinite(row)]
            ended = self.origins[:o] + span <= self.origins[o]
            earlier = self.studentised[:o][ended]
            earlier = earlier[np.isfinite(earlier)]
            known = np.concatenate([self.origins[:o][ended], self.origins[o : o + 1]])
            others = max(row.size - 1, 0)
            independent = independent_placebos(known, horizon=horizon, controls=others)
            if row.size + earlier.size < 4:
                continue
            analyses += row.size
            every = np.concatenate([earlier, row])
            if independent >= ENOUGH:
                # Ranks against the whole date, itself among them, which the rank's own "1 +" stands for.
                above = every.size - np.searchsorted(np.sort(np.abs(every)), np.abs(row), side="left")
                significant += int((above / every.size < alpha).sum())
            elif row.size >= _MANY:
                common = make_reference(every, independent=independent, controls=others)
                significant += int((np.abs(row) > common.critical(alpha)).sum())
            else:
                for i in range(row.size):
                    against = np.delete(every, earlier.size + i)
                    own = make_reference(against, independent=independent, controls=others)
                    significant += int(own.p_value(float(row[i])) < alpha)
        return significant, analyses


def _pool(S: FloatArray) -> FloatArray:
    usable = np.isfinite(S)
    usable[-1, 0] = False
    return S[usable]


def studentise(
    effects: FloatArray, without: FloatArray, scale: FloatArray, valid: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Divide effects (O, N) by the size of their unit and of their date: sizes and quotients, each (O, N).

    The date's size for a unit is the root mean square of the other controls' effects (each over its unit's
    size, and with the unit struck from its donors, whose surprise would else come back mirrored), drawn
    towards the mean over all dates by the weight of eight units, less where the date surprises. Column 0, the treated,
    has no say in any date's size. `without` (O, N, N): effect of unit i with j struck from its donors.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.where(valid & (scale > 0), effects / scale, np.nan)
        squares = (without / scale[:, :, None]) ** 2
    squares[~np.isfinite(u)] = np.nan
    squares[:, 0, :] = np.nan
    diagonal = np.arange(effects.shape[1])
    squares[:, diagonal, diagonal] = np.nan
    typical = _pool(u) ** 2
    typical = typical[typical <= 16.0 * np.median(typical)] if typical.size else typical
    common = float(typical.mean()) if typical.size else 1.0
    number = np.isfinite(squares).sum(axis=1)
    total = np.nansum(squares, axis=1)
    # A date on which all others were off by much more than usual is believed: it is a shock, not chance.
    surprise = np.maximum(total / np.maximum(number, 1) / common, 1.0) if common > 0 else np.ones(total.shape)
    prior = _PRIOR / surprise**2
    date = (prior * common + total) / (prior + number)
    date = np.sqrt(np.where(date > 0, date, 1.0))
    return scale * date, u / date


def independent_placebos(origins: IntArray, *, horizon: int, controls: int) -> float:
    """How many independent placebos overlapping windows of dependent units amount to.

    Windows count by the days they cover over `horizon`; the gaps of n controls against each other hold n - 1
    independent ones, the treated's own past one more. The last of the origins (O,) is the change's own.
    """
    among = max(controls - 1, 0)
    if origins.size < 2:
        return float(among)
    windows = 1.0 + float(origins[-2] - origins[0]) / horizon
    return windows * (among + 1) + among


def make_reference(S: FloatArray, *, independent: float, controls: int) -> Reference:
    """The distribution under no effect, from studentised placebo effects (M,).

    `controls`: the date's size rests on so many squares less one.
    """
    if independent >= ENOUGH:
        return Empirical(np.sort(np.abs(S)))
    squares = max(controls - 1, 0)
    df = max(1.0 / (1.0 / max(independent, 1.0) + (1.0 / (squares + _PRIOR) if squares else 0.0)), 1.0)
    if S.size == 0:
        return Student(scale=1.0, df=df)
    # The middle of the placebos sets the scale, or their tails where those reach further than t's.
    scale = float(np.median(np.abs(S))) / float(stdtrit(df, 0.75))
    if df > 2.5:
        scale = max(scale, float(np.sqrt(np.mean(S**2) * (df - 2.0) / df)))
    return Student(scale=scale if scale > 0 else 1.0, df=df)
