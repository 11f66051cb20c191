"""Placebo effects over dates and entities, studentised by unit and by date, and the reference they make.

An effect is divided by two sizes: that of its unit, from how unsteady the unit's gap was over the baseline, and
that of its date, from how far the other units were off on the same date. A market-wide shock that hits units
unequally makes every gap larger on its date; the second size knows, even if there was no such day before.
What is left is compared with the same figure for every control on every earlier date and on the change's own.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from adsml_impact.reference import Empirical, Reference, Student

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

ENOUGH: Final = 40.0
"""Independent placebos from which on they are ranked; with fewer, Student's t is fitted to them."""
_PRIOR: Final = 1.0
"""Weight of a common size over dates, in units, when a date's own size is worked out."""


@dataclass(frozen=True, slots=True)
class Placebos:
    """Effects of nothing.

    Attributes
    ----------
    effects
        (O, N) in relative units; NaN where there is none. Row O-1, column 0 is the change itself.
    sizes
        (O, N) what each is divided by.
    studentised
        (O, N) their quotient.
    """

    effects: FloatArray
    sizes: FloatArray
    studentised: FloatArray

    def others(self) -> FloatArray:
        """All studentised placebo effects, (M,)."""
        return _pool(self.studentised)


def _pool(S: FloatArray) -> FloatArray:
    kept = np.isfinite(S)
    kept[-1, 0] = False
    return S[kept]


def studentise(effects: FloatArray, without: FloatArray, scale: FloatArray, valid: BoolArray) -> Placebos:
    """Divide effects by the size of their unit and of their date.

    The date's size for a unit is the root mean square of the other controls' effects (each over its unit's
    size, and with the unit struck from its donors, whose surprise would else come back mirrored), drawn
    towards the mean over all dates by the weight of one unit.

    Parameters
    ----------
    effects, scale, valid
        (O, N); column 0 is the treated, which has no say in any date's size.
    without
        (O, N, N): effect of unit i with j struck from its donors.
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
    date = (_PRIOR * common + np.nansum(squares, axis=1)) / (_PRIOR + number)
    sizes = scale * np.sqrt(date)
    return Placebos(
        effects=np.where(np.isfinite(u), effects, np.nan), sizes=sizes, studentised=u / np.sqrt(date)
    )


def independent_placebos(origins: npt.NDArray[np.int64], *, horizon: int, controls: int) -> float:
    """How many independent placebos overlapping windows of dependent units amount to.

    Windows count by the days they cover over `horizon`; the gaps of n controls against each other hold n - 1
    independent ones.
    """
    among = max(controls - 1, 0)
    if origins.size < 2:
        return float(among)
    windows = 1.0 + float(origins[-2] - origins[0]) / horizon
    return windows * (among + 1) + among


def reference(S: FloatArray, *, independent: float, controls: int) -> Reference:
    """The distribution under no effect.

    Parameters
    ----------
    S
        (M,) studentised placebo effects.
    independent
        How many independent ones they amount to.
    controls
        Number of controls: the date's size rests on so many squares.
    """
    if independent >= ENOUGH:
        return Empirical(np.sort(np.abs(S)))
    if S.size == 0:
        return Student(scale=1.0, df=1.0)
    # The date's size has controls - 1 independent squares beside its prior; with none it is a constant.
    squares = max(controls - 1, 0)
    df = 1.0 / (1.0 / max(independent, 1.0) + (1.0 / (squares + _PRIOR) if squares else 0.0))
    df = max(df, 1.0)
    scale = float(np.median(np.abs(S))) / float(stdtrit(df, 0.75))
    if df > 2.5:
        scale = max(scale, float(np.sqrt(np.mean(S**2) * (df - 2.0) / df)))
    return Student(scale=scale, df=df)


def measured_rate(S: FloatArray, *, alpha: float, independent: float, controls: int) -> tuple[int, int]:
    """How often the placebos, each against those of other units (or other dates), come out below alpha.

    Returns
    -------
    (significant, analyses)
    """
    significant = analyses = 0
    O, N = S.shape
    for o in range(O):
        for i in range(N):
            if (o == O - 1 and i == 0) or not np.isfinite(S[o, i]):
                continue
            rest = S.copy()
            rest[-1, 0] = np.nan
            rest[:, i] = np.nan
            against = rest[np.isfinite(rest)]
            analyses += 1
            significant += (
                reference(against, independent=independent, controls=controls).p_value(float(S[o, i])) < alpha
            )
    return significant, analyses
