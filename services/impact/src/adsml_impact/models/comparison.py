"""One metric of one change against its counterfactual: effect, chance size, reference, counterfactual series.

`compare` uses controls; `adsml_impact.models.own_past.compare_with_own_past` the treated's own past. Everything here
is relative: 0.1 is 10% of the baseline level, or 0.1 in the logarithm of a ratio. `adsml_impact.models.effect` turns
it into the metric's unit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from adsml_impact.models.arrays import BoolArray, FloatArray, IntArray
from adsml_impact.models.design import Dates, Design, choose_dates
from adsml_impact.models.estimators import Estimator
from adsml_impact.models.gaps import KINDS, RIDGE, SIMPLEX, UNIFORM, Gaps, gaps
from adsml_impact.models.placebos import Placebos, independent_placebos, studentise
from adsml_impact.models.reference import Reference
from adsml_impact.models.regression import regress_on_placebos
from adsml_impact.models.sizes import learn_sizes, mean_level
from adsml_impact.models.weighting import Mixture, learn_mixture

LONGEST_LAG: Final = 27
"""Days over which a gap is taken to remember itself when sizes are carried over to other windows."""
_LONGEST: Final = 400
_STILL: Final = 1e-9
"""Gaps below this do not move: every entity repeats itself day by day."""
_FIXED: Final = {
    Estimator.DIFFERENCE_IN_DIFFERENCES: (UNIFORM, -2),
    Estimator.SYNTHETIC_DIFFERENCE_IN_DIFFERENCES: (RIDGE, -1),
}
"""Donor weights and window before the change of estimators that leave no choice: the whole baseline, time weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a comparison found, in relative units."""

    estimator: Estimator  # the one that was used
    tau: float  # the effect; NaN where the change is only planned
    size: float  # what the effect is divided by before it is compared with `reference`
    reference: Reference  # what a studentised effect does by chance
    # (L + washout + H,) deviation from the baseline level by day, from the first day of the baseline; before the
    # change it is the fit
    counterfactual: FloatArray
    band: FloatArray  # (L + washout + H,) half width around it that holds a single day at level 1 - alpha
    omega: FloatArray  # (N_co,) weights of the controls, zeros without any
    share: float  # of the controls' movement that was taken off the treated; 0 without controls
    # (N_co,) effect with each control left out; NaN where that leaves no synthetic control. Empty without controls.
    leave_one_out: FloatArray
    date_correlation: float  # of two units' placebo effects on one date
    studentised: FloatArray  # (M,) placebo effects
    # placebo dates and controls used
    dates: int
    controls: int
    # placebo analyses that came out below alpha, and all of them
    significant: int
    analyses: int
    baseline: int  # L, days
    size_for: Callable[[int], float]  # `size` for another number of days after the change

    @property
    def p_value(self) -> float:
        """Of no effect; NaN where the change is only planned."""
        return self.reference.p_value(self.tau / self.size) if np.isfinite(self.tau) else np.nan

    def interval(self, alpha: float) -> tuple[float, float]:
        """All effects that the test does not reject: excludes 0 exactly when the p-value is below alpha."""
        half = self.reference.critical(alpha) * self.size
        return self.tau - half, self.tau + half


def variance_of_means(gap: FloatArray, longest: int) -> FloatArray:
    """Variance of the mean of 1, 2, ... `longest` days of a series that remembers itself, (longest,).

    ``(gamma_0 + 2 sum_k (1 - k / H) gamma_k) / H`` with autocovariances pooled over the series (N, L), each of mean 0
    and divided by its size, up to `LONGEST_LAG` and never below what lag 0 alone gives.
    """
    L = gap.shape[1]
    lags = min(LONGEST_LAG, L - 1)
    gamma = np.array([float((gap[:, : L - k] * gap[:, k:]).sum()) / gap.size for k in range(lags + 1)])
    H = np.arange(1, longest + 1)
    k = np.arange(1, lags + 1)
    overlap = np.clip(1.0 - k[None, :] / H[:, None], 0.0, None)
    return np.asarray(np.maximum(gamma[0] + 2.0 * overlap @ gamma[1:], gamma[0]) / H)


def struck_out(changed: BoolArray, origins: IntArray, design: Design) -> BoolArray:
    """Which placebos are none because something was changed around them, (O, N); `changed` is (N, T)."""
    out = np.zeros((len(origins), changed.shape[0]), dtype=np.bool_)
    for o, t in enumerate(origins[:-1]):
        out[o] = changed[:, max(0, t - design.before + 1) : t + design.washout + design.horizon].any(axis=1)
    return out


def compare(
    numerator: FloatArray, denominator: FloatArray | None, design: Design, *, changed: BoolArray | None = None
) -> Comparison | None:
    """Compare the treated with controls.

    Parameters
    ----------
    numerator, denominator
        (N, T) by day, the treated in row 0; the denominator None for counts and money.
    changed
        (N, T) days of other, recorded changes; placebos that they overlap are struck out.

    Returns
    -------
    Comparison or None
        None where no control has a level to be compared with, the treated has none, or nothing moves at all.
    """
    estimator = design.estimator or Estimator.POOLED_PLACEBO
    chosen = choose_dates(design, units=numerator.shape[0])
    L = int(chosen.lengths[-1])
    past = (3, design.before, 2 * design.before, 4 * design.before, L)
    all_gaps = gaps(
        numerator,
        denominator,
        chosen,
        design,
        windows=tuple(sorted({min(days, L) for days in past})),
        kinds=(_FIXED[estimator][0],) if estimator in _FIXED else (UNIFORM, RIDGE, SIMPLEX),
        timed=estimator is Estimator.SYNTHETIC_DIFFERENCE_IN_DIFFERENCES,
    )
    if changed is not None:
        all_gaps.valid[struck_out(changed, chosen.origins, design)] = False
    if not all_gaps.valid[-1, 0] or not (all_gaps.scale[all_gaps.valid] > _STILL).any():
        return None
    parts = [values for values in (numerator, denominator) if values is not None]
    volumes = [mean_level(values, chosen.origins, chosen.lengths) for values in parts]
    return _test_effect(all_gaps, chosen, design, estimator, volumes)


def _test_effect(
    all_gaps: Gaps, chosen: Dates, design: Design, estimator: Estimator, volumes: list[FloatArray]
) -> Comparison:
    controls = int(all_gaps.valid[-1, 1:].sum())
    independent = independent_placebos(chosen.origins, horizon=design.horizon, controls=controls)
    learned_from = max(independent - max(controls - 1, 0), 0.0)
    past = all_gaps.valid.copy()
    past[-1] = False

    # A floor, so that a unit that never moved does not outweigh all others.
    moving = all_gaps.scale[all_gaps.valid & (all_gaps.scale > 0)]
    scale = np.maximum(all_gaps.scale, 0.1 * float(np.median(moving)))
    for _ in range(2):  # sizes decide how placebos are weighed when weights are learned, and those the sizes
        by_date = _weights(all_gaps, scale, estimator=estimator, independent=learned_from)
        effects = np.concatenate([mixture.effects(all_gaps, dates) for mixture, dates in by_date])
        scale = learn_sizes(effects, all_gaps.scale, volumes, past=past, independent=learned_from)
    mixture = by_date[-1][0]

    without = np.concatenate([one.effects_without(all_gaps, dates) for one, dates in by_date])
    sizes, studentised = studentise(effects, without, scale, all_gaps.valid if design.observed else past)
    placebos = Placebos(studentised, chosen.origins, design)
    size = float(sizes[-1, 0])
    L = int(chosen.lengths[-1])
    omega = np.einsum("k,kij->ij", mixture.kinds, all_gaps.omega[-1])
    deviation = all_gaps.relative - 1.0
    gap = deviation - mixture.share * (omega @ deviation)
    level = float(mixture.level(all_gaps, slice(-1, None))[0, :, 0] @ mixture.kinds)
    day = (design.change - L + np.arange(gap.shape[1])) % 7
    counterfactual = deviation[0] - (gap[0] - level) + all_gaps.weekday[day]
    significant, analyses = placebos.measured_rate()
    usable = all_gaps.valid[-1]
    variances = variance_of_means(gap[usable, :L] / scale[-1, usable, None], _LONGEST)
    level_variance = variances[min(L, _LONGEST) - 1]

    def size_for(days: int) -> float:
        own = variances[design.horizon - 1] + level_variance
        return size * float(np.sqrt((variances[days - 1] + level_variance) / own))

    band = _daily_band(all_gaps, mixture, sizes, placebos, gap[0, :L], alpha=design.alpha)
    return Comparison(
        estimator=estimator,
        tau=float(effects[-1, 0]) if design.observed else np.nan,
        size=size,
        reference=placebos.reference(),
        counterfactual=counterfactual,
        band=np.full(gap.shape[1], band),
        omega=omega[0, 1:],
        share=mixture.share,
        leave_one_out=np.where(omega[0, 1:] > 0, without[-1, 0, 1:], np.nan),
        date_correlation=placebos.date_correlation,
        studentised=placebos.others,
        dates=placebos.dates,
        controls=controls,
        significant=significant,
        analyses=analyses,
        baseline=L,
        size_for=size_for,
    )


def _weights(
    all_gaps: Gaps, scale: FloatArray, *, estimator: Estimator, independent: float
) -> list[tuple[Mixture, slice]]:
    """The weights an estimator stands for, learned where it leaves a choice, each with the dates they hold for.

    The change's own come last.
    """
    windows = np.zeros((KINDS, all_gaps.pre.shape[-1]))
    if estimator in _FIXED:
        kind, window = _FIXED[estimator]
        windows[:, window] = 1.0
        return [(Mixture(kinds=np.eye(KINDS)[kind], windows=windows), slice(None))]
    past = all_gaps.valid[:-1]
    s = scale[:-1][past]
    learned = learn_mixture(
        np.moveaxis(all_gaps.post[:-1], 1, 0)[:, past] / s,
        np.moveaxis(all_gaps.pre[:-1], 1, 0)[:, past][:, :, :-1] / s[:, None],
        independent=independent,
    )
    windows[:, :-1] = learned.windows
    mixture = Mixture(kinds=learned.kinds, windows=windows)
    if estimator is Estimator.POOLED_PLACEBO:
        return regress_on_placebos(all_gaps, mixture, scale, independent=independent)
    return [(mixture, slice(None))]


def _daily_band(
    all_gaps: Gaps, mixture: Mixture, sizes: FloatArray, placebos: Placebos, fit: FloatArray, *, alpha: float
) -> float:
    """Half width that held the single days of placebo windows, in units of the treated's size.

    Never narrower than what the days of its own baseline show.
    """
    level = mixture.level(all_gaps, slice(None))
    unshared = (1.0 - mixture.share) * (all_gaps.own_daily[:, None] - all_gaps.daily)
    daily = np.einsum("oknd,k->ond", all_gaps.daily + unshared - level[..., None], mixture.kinds)
    own = float(np.quantile(np.abs(fit), 1.0 - alpha))
    usable = np.isfinite(placebos.studentised)
    usable[-1, 0] = False
    if usable.sum() < 20:
        return max(own, float(placebos.reference().critical(alpha)) * float(sizes[-1, 0]))
    errors = np.abs(daily[usable] / sizes[usable][:, None])
    return max(own, float(np.quantile(errors, 1.0 - alpha)) * float(sizes[-1, 0]))
