"""Learn models from history: first what an account's entities have in common, then each entity's own.

Held-out scores are what makes a p-value honest: the days are cut into `dynamics_fit.FOLDS` blocks, and each block
is scored by parameters learned without it (weekday profile, unevenness, moments, forest), always filtering from
the days before. Days so strange that no ordinary noise makes them (`_GROSS_Z`) are not taken for ordinary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InsufficientHistory

from adsml_anomaly.models import covariance, dynamics_fit, evidence, forest_growth, gates, survival
from adsml_anomaly.models.arrays import FloatArray, IntArray
from adsml_anomaly.models.channels import BASE, CHANNELS, Days, unit_price
from adsml_anomaly.models.dynamics_fit import FOLDS, KAPPA_GRID, PHI_GRID
from adsml_anomaly.models.local_level import Dynamics, counts, innovations
from adsml_anomaly.models.series_model import SeriesModel
from adsml_anomaly.models.survival import Survival

DAYS_NEEDED: Final = 28
"""Days with delivery before an entity has a model of its own."""
POOL_DAYS_NEEDED: Final = 14
"""Days with delivery before an entity helps to learn its account's pool."""
_SAMPLE: Final = 150
_KAPPA_SAMPLE: Final = 40
_GROSS_Z: Final = 7.0


@dataclass(frozen=True, slots=True)
class LevelPool:
    """What the entities of one level (or of a whole account) have in common."""

    # Shape (1 + folds, channels) and (1 + folds, channels, 7): with all days, then without each block
    phi: FloatArray
    kappa: FloatArray
    weekdays: FloatArray
    moments: FloatArray
    # P-values for entities with a model of their own
    curves: tuple[Survival, ...]
    combined: Survival
    pooled: SeriesModel  # The model for entities without
    # How many entities it was learned from, and their held-out days
    entities: int
    samples: int


@dataclass(frozen=True, slots=True)
class AccountPool:
    """The pools of an account, and the calendar its blocks lie on."""

    calendar: Days
    account: LevelPool
    levels: dict[EntityType, LevelPool]

    def of(self, level: EntityType) -> LevelPool:
        """A level's pool; the account's where the level has too few entities."""
        return self.levels.get(level, self.account)


@dataclass(frozen=True, slots=True)
class _Prepared:
    days: Days
    unit: float
    blocks: IntArray
    effects: FloatArray
    effect_variances: FloatArray


def _prepare(days: Days, calendar: Days) -> _Prepared:
    T = len(calendar.rows)
    at = np.clip(calendar.index(days.first_day) + np.arange(len(days.rows)), 0, max(T - 1, 0))
    blocks = dynamics_fit.folds(T)[at]
    unit = unit_price(days.rows)
    unit = unit if np.isfinite(unit) else 1.0
    return _Prepared(days, unit, blocks, *dynamics_fit.weekday_effects(days, unit, blocks))


def _phi_likelihoods(item: _Prepared, weekdays: FloatArray, kappa: FloatArray) -> list[FloatArray]:
    """Log-likelihoods of each channel, shape (phis, folds)."""
    y, x = counts(item.days.rows, item.unit)
    weekday = item.days.first_day.weekday()
    return [
        dynamics_fit.likelihoods(y[c], x[c], weekday, weekdays[c], PHI_GRID, kappa[c], item.blocks)
        for c in range(len(CHANNELS))
    ]


def _choose_kappa(items: Sequence[_Prepared], weekdays: FloatArray) -> FloatArray:
    """The level's speed by channel: the grid point under which its entities are most likely."""
    totals = np.zeros((KAPPA_GRID.size, len(CHANNELS)))
    for k, value in enumerate(KAPPA_GRID):
        kappa = np.full(len(CHANNELS), value)
        for item in items:
            totals[k] += np.stack(_phi_likelihoods(item, weekdays, kappa)).sum(axis=2).max(axis=1)
    return np.asarray(KAPPA_GRID[totals.argmax(axis=0)])


def _own_phi(item: _Prepared, weekdays: FloatArray, kappa: FloatArray) -> FloatArray:
    """Shape (1 + folds, channels)."""
    by_channel = _phi_likelihoods(item, weekdays, kappa)
    return np.stack([dynamics_fit.best_phi(likelihood) for likelihood in by_channel], axis=1)


def _dynamics(item: _Prepared, phi: FloatArray, kappa: FloatArray, weekdays: FloatArray) -> list[Dynamics]:
    """With all days, then without each block."""
    return [Dynamics(phi[k], kappa, weekdays[k], item.unit) for k in range(1 + FOLDS)]


def _held_out(
    item: _Prepared, dynamics: Sequence[Dynamics], pooled_moments: FloatArray, *, forest: bool, seed: int
) -> FloatArray:
    """Component scores of every day by parameters that never saw its block, shape (T, components)."""
    out = np.full((len(item.days.rows), evidence.COMPONENTS), np.nan)
    counted = counts(item.days.rows, item.unit)
    for f in range(FOLDS):
        inside = item.blocks == f
        if not inside.any():
            continue
        found = innovations(item.days, dynamics[1 + f], counted=counted)
        learn, z = found.z[~inside], found.z[inside]
        learn = learn[~np.isnan(learn[:, :BASE]).all(axis=1)]
        moments, strange = pooled_moments, np.full(len(z), np.nan)
        if forest:
            moments = covariance.moments(learn[:, :BASE], pooled=pooled_moments)
            if len(learn) >= 2:
                strange = forest_growth.grow(np.nan_to_num(learn), seed=seed + f).score(np.nan_to_num(z))
        distance = covariance.distances(z[:, :BASE], covariance.precision(moments))
        few = gates.gated(item.days.rows, found.mean)[inside]
        out[inside] = evidence.components(z, distance, strange, few)
    gross = np.nan_to_num(out[:, : len(CHANNELS)]).max(axis=1) > _GROSS_Z
    out[gross] = np.nan
    return out


def _references() -> tuple[Survival, ...]:
    z = survival.reference_z()
    return (*(z for _ in CHANNELS), survival.reference_distance(BASE), survival.reference_forest())


def _evidence(held_out: FloatArray, curves: Sequence[Survival]) -> FloatArray:
    log_p = np.stack([curve.log_p(held_out[:, k]) for k, curve in enumerate(curves)], axis=1)
    return evidence.combine(log_p, evidence.LOG_WEIGHTS)


def _learn_curves(
    held_out: Sequence[FloatArray], parents: tuple[Sequence[Survival], Survival] | None
) -> tuple[tuple[Survival, ...], Survival]:
    """P-values of the components and of the evidence, drawn to the parent's or to reference forms."""
    rows = np.concatenate(held_out)
    days = survival.ACCOUNT_DAYS if parents is None else survival.LEVEL_DAYS
    above, above_combined = parents or (_references(), survival.reference_combined())
    curves = tuple(survival.learn(rows[:, k], parent, parent_days=days) for k, parent in enumerate(above))
    return curves, survival.learn(_evidence(rows, curves), above_combined, parent_days=days)


def _grids(curves: Sequence[Survival]) -> FloatArray:
    return np.stack([curve.scores for curve in curves])


def _learn_level(
    items: Sequence[_Prepared], weekdays: FloatArray, parent: LevelPool | None, *, seed: int
) -> LevelPool:
    kappa = _choose_kappa(items[:_KAPPA_SAMPLE], weekdays[0])
    profiles = [dynamics_fit.shrink_weekdays(i.effects, i.effect_variances, weekdays) for i in items]
    own = [_own_phi(item, profile[0], kappa) for item, profile in zip(items, profiles, strict=True)]
    phi = np.exp(np.mean(np.log(own), axis=0))
    dynamics = [
        _dynamics(item, dynamics_fit.shrink_phi(mine, phi, float(item.days.delivered.sum())), kappa, profile)
        for item, mine, profile in zip(items, own, profiles, strict=True)
    ]
    z = np.concatenate([innovations(i.days, d[0]).z[:, :BASE] for i, d in zip(items, dynamics, strict=True)])
    moments = covariance.moments(z)
    held = [
        _held_out(item, d, moments, forest=True, seed=seed) for item, d in zip(items, dynamics, strict=True)
    ]
    curves, combined = _learn_curves(held, None if parent is None else (parent.curves, parent.combined))
    # The same for entities without a model of their own: nothing of theirs but what an impression costs them.
    plain = [
        _held_out(item, _dynamics(item, phi, kappa, weekdays), moments, forest=False, seed=seed)
        for item in items
    ]
    above = (
        None if parent is None else ([Survival(one) for one in parent.pooled.grids], parent.pooled.combined)
    )
    plain_curves, plain_combined = _learn_curves(plain, above)
    price = float(np.median([item.unit for item in items]))
    pooled = SeriesModel(
        Dynamics(phi[0], kappa, weekdays[0], price), moments, None, _grids(plain_curves), plain_combined
    )
    samples = int(sum(np.isfinite(h[:, evidence.DISTANCE]).sum() for h in held))
    return LevelPool(phi, kappa, weekdays, moments, curves, combined, pooled, len(items), samples)


def learn_pool(series: Mapping[EntityRef, Days], *, seed: int = 0, sample: int = _SAMPLE) -> AccountPool:
    """What an account's entities have in common.

    Learned from at most `sample` entities per level, drawn by `seed`, so that it costs the same at any size. An
    InsufficientHistory if no entity has 14 days with delivery.
    """
    usable = {ref: days for ref, days in sorted(series.items()) if days.delivered.sum() >= POOL_DAYS_NEEDED}
    if not usable:
        most = max((int(days.delivered.sum()) for days in series.values()), default=0)
        raise InsufficientHistory("the account", had=most, needed=POOL_DAYS_NEEDED)
    first = min(days.first_day for days in usable.values())
    last = max(days.last_day for days in usable.values())
    calendar = Days(first, np.empty(((last - first).days + 1, 0)))
    rng = np.random.default_rng(seed)
    by_level: dict[EntityType, list[_Prepared]] = {}
    for level in EntityType:
        refs = [ref for ref in usable if ref.entity_type is level]
        if len(refs) > sample:
            refs = [refs[i] for i in sorted(rng.choice(len(refs), sample, replace=False))]
        items = [_prepare(usable[ref], calendar) for ref in refs]
        # A random order, so that the first few stand for all.
        by_level[level] = [items[i] for i in rng.permutation(len(items))]
    everyone = [item for items in by_level.values() for item in items]
    weekdays = dynamics_fit.pool_weekdays(
        np.stack([item.effects for item in everyone]), np.stack([item.effect_variances for item in everyone])
    )
    mixed = [everyone[i] for i in rng.permutation(len(everyone))[:sample]]
    account = _learn_level(mixed, weekdays, None, seed=seed)
    levels = {
        level: _learn_level(items, weekdays, account, seed=seed) for level, items in by_level.items() if items
    }
    return AccountPool(calendar, account, levels)


@dataclass(frozen=True, slots=True)
class FittedEntity:
    """An entity's model, its days with delivery, its held-out days, and its alarms per 30 of those at one a month."""

    model: SeriesModel
    days: int
    held_out_days: int
    held_out_alarms_per_month: float


def fit_entity(days: Days, pool: AccountPool, level: EntityType, *, what: str, seed: int = 0) -> FittedEntity:
    """An entity's own model; an InsufficientHistory of `what` with fewer than 28 days with delivery."""
    had = int(days.delivered.sum())
    if had < DAYS_NEEDED:
        raise InsufficientHistory(what, had=had, needed=DAYS_NEEDED)
    shared = pool.of(level)
    item = _prepare(days, pool.calendar)
    profile = dynamics_fit.shrink_weekdays(item.effects, item.effect_variances, shared.weekdays)
    phi = dynamics_fit.shrink_phi(_own_phi(item, profile[0], shared.kappa), shared.phi, float(had))
    dynamics = _dynamics(item, phi, shared.kappa, profile)
    held = _evidence(_held_out(item, dynamics, shared.moments, forest=True, seed=seed), shared.curves)
    combined = survival.learn(held, shared.combined, parent_days=survival.ENTITY_DAYS)
    z = innovations(days, dynamics[0]).z
    z = z[~np.isnan(z[:, :BASE]).all(axis=1)]
    model = SeriesModel(
        dynamics[0],
        covariance.moments(z[:, :BASE], pooled=shared.moments),
        forest_growth.grow(np.nan_to_num(z), seed=seed),
        _grids(shared.curves),
        combined,
    )
    known = held[~np.isnan(held)]
    alarms = 30.0 * float((combined.log_p(known) <= -np.log10(30.0)).mean()) if known.size else float("nan")
    return FittedEntity(model, had, int(known.size), alarms)
