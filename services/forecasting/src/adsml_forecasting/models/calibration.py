"""How members become one forecast, and what rolling origins teach: which to keep, how to combine them, how wide to be.

One rule for all data. Members are ranked by their scaled absolute error over all cutoffs; those that lose to
the best by more than a tolerance are pruned, at least three stay. The candidates (median, mean, stacked
weights; of the members kept at several tolerances; the best single member is half of each forecast) are compared
on each cutoff by weights learnt from the other cutoffs, and the one with the least error wins; among those that
tie within one percent, the first of `CANDIDATES`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from adsml_forecasting.models.intervals import (
    ResidualQuantiles,
    TotalSpread,
    cross_measured,
    interval_scale,
    residual_scale,
    thinned,
    total_spread,
)
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.origins import Origin
from adsml_forecasting.models.pooled_regression import PooledRegression
from adsml_forecasting.models.series import Matrix, Vector

CLASSIC_DAYS: Final = 14
"""The asked-for ensemble is weighted by MAPE on so many of the newest days."""
ANCHOR: Final = 0.5
"""Share of the anchor, where there is one."""
_LEAST_SHRINKAGE: Final = 1e-10
_NO_ERROR: Final = 1e-6  # a member that hit every day exactly must not divide by zero
_FORMAT: Final = 3
"""Of what `Calibration.as_json` writes. Format 1 held signed residuals over another scale, format 2 none of totals:
intervals made of them would be too wide or too narrow without a word, so they are refused."""
_COUNTS: Final = ("coverage_samples", "season_length", "origins", "series")
_TOLERANCES: Final = (0.15, 0.05, 0.4)
"""Members that lose to the best by more than this share are pruned."""
_LEAST_MEMBERS: Final = 3
_TIE: Final = 0.01
_PRESENT: Final = 0.8


class Combiner(StrEnum):
    """How members are combined; named as in the contract."""

    INVERSE_MAPE = "INVERSE_MAPE"
    MEDIAN = "MEDIAN"
    STACKED = "STACKED"
    MEAN = "MEAN"


@dataclass(frozen=True, slots=True)
class Weights:
    """What each member counts: not negative, summing to 1; 0 where pruned. With the median, equal for those kept.

    `calibrated`: they rest on measured errors; if not they are equal. The `anchor`, the member with the least
    error by itself, makes up half of the forecast beside what the combiner makes of all; None for no such half.
    """

    combiner: Combiner
    weights: Mapping[Method, float]
    calibrated: bool = True
    anchor: Method | None = None

    @classmethod
    def equal(cls, combiner: Combiner, members: Sequence[Method]) -> "Weights":
        """Uncalibrated: all the same."""
        return cls(combiner, dict.fromkeys(members, 1.0 / len(members)), calibrated=False)

    @property
    def kept(self) -> tuple[Method, ...]:
        """Members that count."""
        return tuple(m for m, weight in self.weights.items() if weight > 0 or m is self.anchor)


def combine(weights: Weights, forecasts: Mapping[Method, Vector]) -> tuple[Vector, dict[Method, float]]:
    """One forecast from those members that gave one (at least one), shape (..., horizon) each, and what each counted.

    Weights of members that failed go to the others in proportion. Where all that count have failed, pruned
    ones answer with equal weights.
    """
    used = {
        method: weight for method, weight in weights.weights.items() if method in forecasts and weight > 0
    }
    if not used:
        used = dict.fromkeys(forecasts, 1.0)
    total = sum(used.values())
    used = {method: weight / total for method, weight in used.items()}
    stacked = np.stack([forecasts[method] for method in used])
    if weights.combiner is Combiner.MEDIAN:
        used = dict.fromkeys(used, 1.0 / len(used))
        out = np.median(stacked, axis=0)
    else:
        out = np.tensordot(np.array(list(used.values())), stacked, axes=1)
    if weights.anchor is None or weights.anchor not in forecasts:
        return out, used
    used = {method: (1 - ANCHOR) * weight for method, weight in used.items()}
    used[weights.anchor] = used.get(weights.anchor, 0.0) + ANCHOR
    return (1 - ANCHOR) * out + ANCHOR * forecasts[weights.anchor], used


def inverse_mape(actual: Vector, forecasts: Mapping[Method, Vector]) -> Weights:
    """Weights in inverse proportion to MAPE over the days with a value above 0; equal ones where no such day is known.

    `actual` has shape (d,), NaN where missing; `forecasts` are what members said of those days from the days before.
    """
    used = np.isfinite(actual) & (actual > 0)
    if not used.any():
        return Weights.equal(Combiner.INVERSE_MAPE, list(forecasts))
    errors = {
        method: max(float(np.mean(np.abs(actual[used] - values[used]) / actual[used])), _NO_ERROR)
        for method, values in forecasts.items()
    }
    inverse = {method: 1.0 / error for method, error in errors.items()}
    total = sum(inverse.values())
    return Weights(Combiner.INVERSE_MAPE, {method: value / total for method, value in inverse.items()})


def stacking_weights(errors: Matrix, *, shrinkage: float = 0.1) -> Vector:
    """Weights on the simplex with the least mean squared error of the combination, drawn to equal ones, shape (M,).

    `errors` are scaled ones of the M members on the same days, finite, shape (days, M). Minimises
    ``w' S w + shrinkage * trace(S) / M * |w - 1/M|^2`` with ``S`` their second moments. For weights that sum to 1 the
    combination's error is the combination of the errors (Bates & Granger 1969).

    Exact: for weights that sum to 1 what is minimised is ``w' A w`` but for a constant, A = S + shrinkage *
    trace(S) / M * I. Its optimality conditions are, but for w's size, those of ``v' A v / 2 - sum(v)`` over v
    not negative, which is a least squares problem with the Cholesky factor of A (Lawson & Hanson 1974).
    """
    members = errors.shape[1]
    moments = errors.T @ errors / max(len(errors), 1)
    size = float(np.trace(moments)) / members
    if not size > 0:
        return np.full(members, 1.0 / members)
    # Members that always err alike have no best weights of their own: the least drawing to equal ones gives them.
    root = np.linalg.cholesky(moments / size + max(shrinkage, _LEAST_SHRINKAGE) * np.eye(members))
    found, _ = nnls(root.T, solve_triangular(root, np.ones(members), lower=True))
    return np.asarray(found / found.sum(), dtype=np.float64)


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


def scaled(origins: Sequence[Sequence[Origin]], *, members: Sequence[Method]) -> Errors | None:
    """Origins by series as arrays, without those that no member could forecast; None where none is left."""
    flat = [(back, origin) for one in origins for back, origin in enumerate(reversed(one))]
    flat = [(back, origin) for back, origin in flat if any(m in origin.forecasts for m in members)]
    kept = tuple(m for m in members if sum(m in o.forecasts for _, o in flat) >= _PRESENT * max(len(flat), 1))
    flat = [(back, origin) for back, origin in flat if any(m in origin.forecasts for m in kept)]
    if not flat:
        return None
    horizon = len(flat[0][1].actual)
    scale = np.array([residual_scale(o.history) for _, o in flat])
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


CANDIDATES: Final = tuple(product((Combiner.STACKED, Combiner.MEAN, Combiner.MEDIAN), _TOLERANCES))
"""A combiner over the members within a tolerance of the best; in the order of what they did on validation cutoffs over
several kinds of data: see docs/forecasting.md."""


def member_errors(errors: Errors, rows: npt.NDArray[np.bool_] | slice = slice(None)) -> Vector:
    """Mean scaled absolute error of each member, shape (M,)."""
    miss = np.abs(errors.forecasts[:, rows] - errors.actual[rows])
    return np.asarray(np.nanmean(miss, axis=(1, 2)), dtype=np.float64)


def _fit_weights(
    errors: Errors, combiner: Combiner, tolerance: float, rows: npt.NDArray[np.bool_] | slice
) -> Weights:
    """Prune and weigh by some of the origins."""
    loss = member_errors(errors, rows)
    order = np.argsort(loss, kind="stable")
    least = min(_LEAST_MEMBERS, len(order))
    within = max(int((loss <= loss[order[0]] * (1 + tolerance)).sum()), least)
    kept = np.sort(order[:within])
    weights = np.zeros(len(errors.members))
    if combiner is Combiner.STACKED:
        used = np.isfinite(errors.actual[rows])
        miss = np.stack([(errors.forecasts[m, rows] - errors.actual[rows])[used] for m in kept], axis=1)
        # One wild day must not set the weights.
        limit = np.quantile(np.abs(miss), 0.99)
        weights[kept] = stacking_weights(np.clip(miss, -limit, limit))
    else:
        weights[kept] = 1.0 / len(kept)
    shares = dict(zip(errors.members, weights.tolist(), strict=True))
    return Weights(combiner, shares, anchor=errors.members[int(order[0])])


def combined(errors: Errors, weights: Weights) -> Matrix:
    """The scaled combination, shape (N, H)."""
    return combine(weights, dict(zip(errors.members, errors.forecasts, strict=True)))[0]


def choose(errors: Errors) -> tuple[Weights, dict[str, float]]:
    """Weights of the candidate with the least error on cutoffs that they have not seen, and all candidates' errors."""
    groups = np.unique(errors.cutoff)
    losses: dict[tuple[Combiner, float], float] = {}
    for candidate in CANDIDATES:
        total, days = 0.0, 0
        for group in groups:
            held = errors.cutoff == group
            weights = _fit_weights(errors, *candidate, rows=~held if len(groups) > 1 else held)
            miss = np.abs(combined(errors, weights)[held] - errors.actual[held])
            total += float(np.nansum(miss))
            days += int(np.isfinite(miss).sum())
        losses[candidate] = total / days if days else np.inf
    limit = min(losses.values()) * (1 + _TIE)
    chosen = next(candidate for candidate, loss in losses.items() if loss <= limit)
    return _fit_weights(errors, *chosen, rows=slice(None)), {
        f"{combiner} within {tolerance:.0%}": loss for (combiner, tolerance), loss in losses.items()
    }


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

    @property
    def members(self) -> tuple[Method, ...]:
        """All that are weighed, pruned ones too."""
        return tuple(self.weights.weights)

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
            "coverage": self.coverage,
            "losses": dict(self.losses),
            "level": self.level,
            **{name: getattr(self, name) for name in _COUNTS},
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
            steps = tuple(_ascending(step, "residuals") for step in data["quantiles"])
            if not steps:
                raise ValueError("there are no residuals")
            coverage, pooled = data["coverage"], data.get("pooled")
            return cls(
                weights=Weights(
                    Combiner(data["combiner"]),
                    weights,
                    bool(data["calibrated"]),
                    None if data["anchor"] is None else Method(data["anchor"]),
                ),
                quantiles=ResidualQuantiles(steps, int(data["residuals"])),
                coverage=None if coverage is None else float(coverage),
                level=float(data["level"]),
                **{name: int(data[name]) for name in _COUNTS},
                losses={str(name): float(loss) for name, loss in data["losses"].items()},
                pooled=None if pooled is None else PooledRegression.from_json(pooled),
                totals=_ascending(data["totals"], "misses of totals"),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a calibration: {type(error).__name__}: {error}") from error


def _ascending(values: Sequence[float], name: str) -> Vector:
    out = np.array(values, dtype=np.float64)
    if np.isnan(out).any() or (out < 0).any() or (np.diff(out) < 0).any():
        raise ValueError(f"{name} are not sorted numbers from 0 on")
    return out


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
    level: float,
    weights: Weights | None = None,
    pooled: PooledRegression | None = None,
) -> Calibration | None:
    """Learn from rolling origins of one or more series, each by ascending cutoff, evenly spaced alike for all.

    None where no origin has a forecast and a value to compare it with. Coverage is measured for intervals of
    `level`. With `weights` those are kept and only intervals learnt; `pooled` is kept as the regression learnt
    from all series.
    """
    errors = scaled(origins, members=members)
    if errors is None or not np.isfinite(errors.actual).any():
        return None
    losses: dict[str, float] = {}
    if weights is None:
        weights, losses = choose(errors)
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
        season_length=next(o.history.season_length for one in origins for o in one),
        origins=len(errors.cutoff),
        series=len(origins),
        losses=losses,
        pooled=pooled,
        totals=total_misses(errors, weights),
    )
