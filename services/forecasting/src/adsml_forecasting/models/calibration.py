"""What rolling origins teach an ensemble: which members to keep, how to combine them, how wide to be.

One rule for all data. Members are ranked by their scaled absolute error over all cutoffs; those that lose to
the best by more than a tolerance are pruned, at least three stay. The candidates (median, mean, stacked
weights; of the members kept at several tolerances; the best single member is half of each forecast) are compared
on each cutoff by weights learnt from the other cutoffs, and the one with the least error wins; among those that
tie within one percent, the first of `CANDIDATES`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adsml_forecasting.models.combining import Combiner, Weights, combine, stacking_weights
from adsml_forecasting.models.conformal import (
    ResidualQuantiles,
    conformal_quantile,
    cross_measured,
    interval_scale,
    residual_scale,
    thinned,
)
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.origins import Origin
from adsml_forecasting.models.pooled_regression import PooledRegression
from adsml_forecasting.models.series import Vector
from adsml_forecasting.models.totals import TotalSpread, total_spread

Matrix = npt.NDArray[np.float64]

_FORMAT: Final = 3
"""Of what `Calibration.as_json` writes. Format 1 held signed residuals over another scale, format 2 none of totals:
intervals made of them would be too wide or too narrow without a word, so they are refused."""
_TOLERANCES: Final = (0.15, 0.05, 0.4)
"""Members that lose to the best by more than this share are pruned."""
_LEAST_MEMBERS: Final = 3
_TIE: Final = 0.01
_PRESENT: Final = 0.8
_OWN_TOTALS: Final = 20


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """Scaled forecasts and actual values of N origins, each divided by its series' `scale`, shape (N,).

    `actual` has shape (N, H), NaN where missing; `forecasts` of the M members that forecast at least most of
    the origins have shape (M, N, H): where one failed, the median of the others. `cutoff` says which cutoff
    each origin belongs to, counted back from the series' end; `interval_scale` what intervals are in units of;
    shape (N,) each. `spreads` say how far each origin's sums moved before it.
    """

    members: tuple[Method, ...]
    actual: Matrix
    forecasts: npt.NDArray[np.float64]
    cutoff: npt.NDArray[np.int64]
    scale: Vector
    interval_scale: Vector
    spreads: tuple[TotalSpread, ...] = ()


def scaled(
    origins: Sequence[Sequence[Origin]], *, members: Sequence[Method], season_length: int = 7
) -> Errors:
    """Origins by series as arrays; origins that no member could forecast are left out."""
    flat = [(back, origin) for one in origins for back, origin in enumerate(reversed(one))]
    flat = [(back, origin) for back, origin in flat if any(m in origin.forecasts for m in members)]
    kept = tuple(m for m in members if sum(m in o.forecasts for _, o in flat) >= _PRESENT * max(len(flat), 1))
    flat = [(back, origin) for back, origin in flat if any(m in origin.forecasts for m in kept)]
    if not flat:
        nothing = np.empty((0, 0))
        return Errors((), nothing, np.empty((0, 0, 0)), np.empty(0, np.int64), np.empty(0), np.empty(0))
    horizon = len(flat[0][1].actual)
    scale = np.array([residual_scale(o.history.values, season_length=season_length) for _, o in flat])
    gone = np.full(horizon, np.nan)
    forecasts = np.array([[o.forecasts.get(m, gone) for _, o in flat] for m in kept])
    forecasts = np.where(np.isfinite(forecasts), forecasts, np.nanmedian(forecasts, axis=0))
    return Errors(
        kept,
        np.array([o.actual for _, o in flat]) / scale[:, None],
        forecasts / scale[:, None],
        np.array([back for back, _ in flat], np.int64),
        scale,
        np.array([interval_scale(o.history.values) for _, o in flat]),
        tuple(total_spread(o.history.values, horizon=horizon) for _, o in flat),
    )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to combine: a combiner over the members within a tolerance of the best."""

    combiner: Combiner
    tolerance: float


CANDIDATES: Final[tuple[Candidate, ...]] = tuple(
    Candidate(combiner, tolerance)
    for combiner in (Combiner.STACKED, Combiner.MEAN, Combiner.MEDIAN)
    for tolerance in _TOLERANCES
)
"""In the order of what they did on validation cutoffs over several kinds of data: see docs/forecasting.md."""


def member_errors(errors: Errors, *, rows: npt.NDArray[np.bool_] | None = None) -> Vector:
    """Mean scaled absolute error of each member, shape (M,)."""
    at = slice(None) if rows is None else rows
    return np.asarray(
        np.nanmean(np.abs(errors.forecasts[:, at] - errors.actual[at]), axis=(1, 2)), dtype=np.float64
    )


def fit_weights(errors: Errors, candidate: Candidate, *, rows: npt.NDArray[np.bool_]) -> Weights:
    """Prune and weigh by some of the origins."""
    loss = member_errors(errors, rows=rows)
    order = np.argsort(loss, kind="stable")
    least = min(_LEAST_MEMBERS, len(order))
    within = max(int((loss <= loss[order[0]] * (1 + candidate.tolerance)).sum()), least)
    kept = np.sort(order[:within])
    weights = np.zeros(len(errors.members))
    if candidate.combiner is Combiner.STACKED:
        used = np.isfinite(errors.actual[rows])
        miss = np.stack([(errors.forecasts[m, rows] - errors.actual[rows])[used] for m in kept], axis=1)
        # One wild day must not set the weights.
        limit = np.quantile(np.abs(miss), 0.99)
        weights[kept] = stacking_weights(np.clip(miss, -limit, limit))
    else:
        weights[kept] = 1.0 / len(kept)
    return Weights(
        candidate.combiner,
        dict(zip(errors.members, weights.tolist(), strict=True)),
        anchor=errors.members[int(order[0])],
    )


def combined(errors: Errors, weights: Weights) -> Matrix:
    """The scaled combination, shape (N, H)."""
    return combine(weights, dict(zip(errors.members, errors.forecasts, strict=True)))[0]


def choose(errors: Errors) -> tuple[Candidate, dict[str, float]]:
    """The candidate with the least error on cutoffs that its weights have not seen, and all their errors."""
    groups = np.unique(errors.cutoff)
    losses: list[float] = []
    for candidate in CANDIDATES:
        total = 0.0
        days = 0
        for group in groups:
            held = errors.cutoff == group
            seen = ~held if len(groups) > 1 else held
            weights = fit_weights(errors, candidate, rows=seen)
            miss = np.abs(combined(errors, weights)[held] - errors.actual[held])
            total += float(np.nansum(miss))
            days += int(np.isfinite(miss).sum())
        losses.append(total / days if days else np.inf)
    limit = min(losses) * (1 + _TIE)
    chosen = next(c for c, loss in zip(CANDIDATES, losses, strict=True) if loss <= limit)
    names = [f"{c.combiner} within {c.tolerance:.0%}" for c in CANDIDATES]
    return chosen, dict(zip(names, losses, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What an ensemble (or a single method) learnt from rolling origins.

    `quantiles` are residuals over `interval_scale`, by day of the horizon; `coverage` is the share of held-out
    days inside the intervals of nominal probability `level`, each cutoff's made from the others'; None if not
    measured. `losses` are scaled absolute errors: of each candidate on cutoffs not seen, and of each member.
    `pooled` is the regression learnt from all its series, where that is a member. `totals` are absolute misses
    of the horizons' sums over `TotalSpread.unit`, ascending.
    """

    weights: Weights
    quantiles: ResidualQuantiles
    level: float
    coverage: float | None
    coverage_samples: int
    season_length: int
    origins: int
    series: int
    losses: Mapping[str, float]
    pooled: PooledRegression | None = None
    totals: Vector = field(default_factory=lambda: np.empty(0))

    def total_reach(self, spread: TotalSpread, level: float) -> float:
        """Standard deviations of a series' sums that hold a share `level` of them.

        Half by what the series' own past says, half by the misses of all (split conformal), less by few.
        """
        own = spread.reach(level)
        n = len(self.totals)
        share = 0.5 * n / (n + _OWN_TOTALS)
        return (1 - share) * own + share * conformal_quantile(self.totals, level) if n else own

    def as_json(self) -> dict[str, Any]:
        """As a registered model keeps it."""
        return {
            "format": _FORMAT,
            "combiner": self.weights.combiner.value,
            "weights": {method.value: weight for method, weight in self.weights.weights.items()},
            "calibrated": self.weights.calibrated,
            "anchor": None if self.weights.anchor is None else self.weights.anchor.value,
            "quantiles": [[round(float(v), 6) for v in step] for step in self.quantiles.steps],
            "residuals": self.quantiles.residuals,
            "level": self.level,
            "coverage": self.coverage,
            "coverage_samples": self.coverage_samples,
            "season_length": self.season_length,
            "origins": self.origins,
            "series": self.series,
            "losses": dict(self.losses),
            "totals": [round(float(value), 6) for value in self.totals],
            "pooled": None if self.pooled is None else self.pooled.as_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Calibration":
        """What `as_json` wrote; ValueError where it is of another format, or not a calibration at all."""
        try:
            if data["format"] != _FORMAT:
                raise ValueError(
                    f"ensemble weights of format {data['format']}; this version reads format {_FORMAT}: "
                    "train again with `adsml train ensemble-weights`"
                )
            weights = {Method(name): float(weight) for name, weight in data["weights"].items()}
            total = sum(weights.values())
            if not weights or min(weights.values()) < 0 or not np.isclose(total, 1.0, atol=1e-6):
                raise ValueError("weights are not a share of 1 each")
            steps = tuple(np.array(step, dtype=np.float64) for step in data["quantiles"])
            if not steps or any(
                np.isnan(step).any() or (step < 0).any() or (np.diff(step) < 0).any() for step in steps
            ):
                raise ValueError("residuals are not sorted numbers from 0 on")
            totals = np.array(data["totals"], dtype=np.float64)
            if np.isnan(totals).any() or (totals < 0).any() or (np.diff(totals) < 0).any():
                raise ValueError("misses of totals are not sorted numbers from 0 on")
            coverage, pooled = data["coverage"], data.get("pooled")
            return cls(
                weights=Weights(
                    Combiner(data["combiner"]),
                    weights,
                    bool(data["calibrated"]),
                    None if data["anchor"] is None else Method(data["anchor"]),
                ),
                quantiles=ResidualQuantiles(steps, int(data["residuals"])),
                level=float(data["level"]),
                coverage=None if coverage is None else float(coverage),
                coverage_samples=int(data["coverage_samples"]),
                season_length=int(data["season_length"]),
                origins=int(data["origins"]),
                series=int(data["series"]),
                losses={str(name): float(loss) for name, loss in data["losses"].items()},
                pooled=None if pooled is None else PooledRegression.from_json(pooled),
                totals=totals,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a calibration: {type(error).__name__}: {error}") from error


def total_misses(errors: Errors, weights: Weights) -> Vector:
    """Absolute misses of each origin's sum over one standard deviation of it, ascending and thinned."""
    scale = errors.scale[:, None]
    point, actual = combined(errors, weights) * scale, errors.actual * scale
    known = np.isfinite(actual)
    whole = known.mean(axis=1) >= _PRESENT
    # A day that is missing is thought to be as the others of its horizon.
    share = known.mean(axis=1).clip(1e-9)
    miss = np.abs(np.where(known, actual - point, 0.0).sum(axis=1)) / share
    units = np.array(
        [one.unit(float(total)) for one, total in zip(errors.spreads, point.sum(axis=1), strict=True)]
    )
    return thinned(np.sort((miss / units)[whole]))


def calibrate(
    origins: Sequence[Sequence[Origin]],
    *,
    members: Sequence[Method],
    season_length: int = 7,
    level: float,
    weights: Weights | None = None,
    pooled: PooledRegression | None = None,
) -> Calibration | None:
    """Learn from rolling origins of one or more series, each by ascending cutoff, evenly spaced alike for all.

    None where no origin has a forecast and a value to compare it with. Coverage is measured for intervals of
    `level`. With `weights` those are kept and only intervals learnt; `pooled` is kept as the regression learnt
    from all series.
    """
    errors = scaled(origins, members=members, season_length=season_length)
    if not len(errors.members) or not np.isfinite(errors.actual).any():
        return None
    losses: dict[str, float] = {}
    if weights is None:
        candidate, losses = choose(errors)
        weights = fit_weights(errors, candidate, rows=np.ones(len(errors.cutoff), dtype=bool))
    own = member_errors(errors)
    losses |= {member.value: float(loss) for member, loss in zip(errors.members, own, strict=True)}
    residuals = errors.actual - combined(errors, weights)
    residuals = residuals * (errors.scale / errors.interval_scale)[:, None]
    coverage, samples = cross_measured(residuals, errors.cutoff, level=level)
    return Calibration(
        weights=weights,
        quantiles=ResidualQuantiles.of(residuals),
        level=level,
        coverage=coverage,
        coverage_samples=samples,
        season_length=season_length,
        origins=len(errors.cutoff),
        series=len(origins),
        losses=losses,
        pooled=pooled,
        totals=total_misses(errors, weights),
    )
