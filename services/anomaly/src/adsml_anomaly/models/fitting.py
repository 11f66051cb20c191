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

from adsml_anomaly.models import covariance, dynamics_fit, evidence, forest, survival
from adsml_anomaly.models.arrays import FloatArray, IntArray
from adsml_anomaly.models.channels import BASE, CHANNELS, Days, unit_price
from adsml_anomaly.models.dynamics_fit import FOLDS, KAPPA_GRID, WEEKDAY_SD
from adsml_anomaly.models.local_level import Dynamics, Innovations, counts, innovations
from adsml_anomaly.models.series_model import SeriesModel
from adsml_anomaly.models.survival import Survival

DAYS_NEEDED: Final = 28
"""Days with delivery before an entity has a model of its own."""
POOL_DAYS_NEEDED: Final = 14
"""Days with delivery before an entity helps to learn its account's pool."""
_SAMPLE: Final = 150
_KAPPA_SAMPLE: Final = 40
_GROSS_Z: Final = 7.0
SEED: Final = 0
"""Of forests and samples."""


@dataclass(frozen=True, slots=True)
class LevelPool:
    """What the entities of one level (or of a whole account) have in common."""

    # Shape (1 + folds, channels) and (1 + folds, channels, 7): with all days, then without each block
    phi: FloatArray
    kappa: FloatArray
    weekdays: FloatArray
    moments: FloatArray
    curves: tuple[
        Survival, ...
    ]  # P-values of components and evidence, for entities with a model of their own
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
    counted: tuple[FloatArray, FloatArray]
    blocks: IntArray
    effects: FloatArray
    effect_variances: FloatArray

    @classmethod
    def of(cls, days: Days, calendar: Days) -> "_Prepared":
        T = len(calendar.rows)
        at = np.clip(calendar.index(days.first_day) + np.arange(len(days.rows)), 0, max(T - 1, 0))
        blocks = at * FOLDS // max(T, 1)
        unit = unit_price(days.rows)
        unit = unit if np.isfinite(unit) else 1.0
        counted = counts(days.rows, unit)
        effects = dynamics_fit.weekday_effects(*counted, days.first_day.weekday(), blocks)
        return cls(days, unit, counted, blocks, *effects)

    def likelihoods(self, weekdays: FloatArray, kappa: FloatArray) -> FloatArray:
        weekday = self.days.first_day.weekday()
        return dynamics_fit.likelihoods(*self.counted, weekday, weekdays, kappa, self.blocks)

    def own_phi(self, weekdays: FloatArray, kappa: FloatArray) -> FloatArray:
        """Shape (1 + folds, channels)."""
        return np.stack([dynamics_fit.best_phi(one) for one in self.likelihoods(weekdays, kappa)], axis=1)

    def profile(self, pooled: FloatArray) -> FloatArray:
        """Its weekdays, drawn to its account's the more the less they are known (empirical Bayes)."""
        keep = WEEKDAY_SD**2 / (WEEKDAY_SD**2 + self.effect_variances)
        return dynamics_fit.centred(pooled + keep * (self.effects - pooled))

    def dynamics(self, phi: FloatArray, kappa: FloatArray, weekdays: FloatArray) -> list[Dynamics]:
        """With all days, then without each block."""
        return [Dynamics(phi[k], kappa, weekdays[k], self.unit) for k in range(1 + FOLDS)]

    def innovations(self, dynamics: Dynamics) -> Innovations:
        return innovations(self.days, dynamics, counted=self.counted)


def _choose_kappa(items: Sequence[_Prepared], weekdays: FloatArray) -> FloatArray:
    """The level's speed by channel: the grid point under which its entities are most likely."""
    totals = np.zeros((KAPPA_GRID.size, len(CHANNELS)))
    for k, value in enumerate(KAPPA_GRID):
        kappa = np.full(len(CHANNELS), value)
        for item in items:
            totals[k] += item.likelihoods(weekdays, kappa).sum(axis=2).max(axis=1)
    return np.asarray(KAPPA_GRID[totals.argmax(axis=0)])


def _held_out(
    item: _Prepared, dynamics: Sequence[Dynamics], pooled_moments: FloatArray, *, own: bool
) -> FloatArray:
    """Component scores of every day by parameters that never saw its block, shape (T, components)."""
    out = np.full((len(item.days.rows), evidence.COMPONENTS), np.nan)
    for f in range(FOLDS):
        inside = item.blocks == f
        if not inside.any():
            continue
        found = item.innovations(dynamics[1 + f])
        learn, z = found.z[~inside], found.z[inside]
        learn = learn[~np.isnan(learn[:, :BASE]).all(axis=1)]
        moments, strange = pooled_moments, np.full(len(z), np.nan)
        if own:
            moments = covariance.moments(learn[:, :BASE], pooled=pooled_moments)
            if len(learn) >= 2:
                strange = forest.grow(np.nan_to_num(learn), seed=SEED + f).score(np.nan_to_num(z))
        distance = covariance.distances(z[:, :BASE], covariance.precision(moments))
        few = evidence.gated(item.days.rows, found.mean)[inside]
        out[inside] = evidence.components(z, distance, strange, few)
    gross = np.nan_to_num(out[:, : len(CHANNELS)]).max(axis=1) > _GROSS_Z
    out[gross] = np.nan
    return out


def _evidence(held_out: FloatArray, curves: Sequence[Survival]) -> FloatArray:
    log_p = np.stack([curves[k].log_p(held_out[:, k]) for k in range(evidence.COMPONENTS)], axis=1)
    return evidence.combine(log_p, evidence.LOG_WEIGHTS)


def _learn_curves(held_out: Sequence[FloatArray], parents: Sequence[Survival] | None) -> tuple[Survival, ...]:
    """P-values of the components and of the evidence, drawn to the parent's or to reference forms."""
    rows = np.concatenate(held_out)
    days = survival.ACCOUNT_DAYS if parents is None else survival.LEVEL_DAYS
    *above, above_evidence = parents or survival.references(len(CHANNELS), BASE)
    curves = [survival.learn(rows[:, k], parent, parent_days=days) for k, parent in enumerate(above)]
    return (*curves, survival.learn(_evidence(rows, curves), above_evidence, parent_days=days))


def _learn_level(items: Sequence[_Prepared], weekdays: FloatArray, parent: LevelPool | None) -> LevelPool:
    kappa = _choose_kappa(items[:_KAPPA_SAMPLE], weekdays[0])
    profiles = [item.profile(weekdays) for item in items]
    own = [item.own_phi(profile[0], kappa) for item, profile in zip(items, profiles, strict=True)]
    phi = np.exp(np.mean(np.log(own), axis=0))
    fitted = []
    for item, mine, profile in zip(items, own, profiles, strict=True):
        drawn = dynamics_fit.shrink_phi(mine, phi, float(item.days.delivered.sum()))
        fitted.append((item, item.dynamics(drawn, kappa, profile)))
    moments = covariance.moments(np.concatenate([item.innovations(d[0]).z[:, :BASE] for item, d in fitted]))
    held = [_held_out(item, d, moments, own=True) for item, d in fitted]
    # The same for entities without a model of their own: nothing of theirs but what an impression costs them.
    plain = [_held_out(item, item.dynamics(phi, kappa, weekdays), moments, own=False) for item in items]
    curves = _learn_curves(plain, None if parent is None else [*map(Survival, parent.pooled.curves)])
    price = float(np.median([item.unit for item in items]))
    dynamics = Dynamics(phi[0], kappa, weekdays[0], price)
    pooled = SeriesModel(dynamics, moments, None, np.stack([curve.scores for curve in curves]))
    curves = _learn_curves(held, None if parent is None else parent.curves)
    samples = int(sum(np.isfinite(h[:, evidence.DISTANCE]).sum() for h in held))
    return LevelPool(phi, kappa, weekdays, moments, curves, pooled, len(items), samples)


def learn_pool(series: Mapping[EntityRef, Days], *, sample: int = _SAMPLE) -> AccountPool:
    """What an account's entities have in common.

    Learned from at most `sample` entities per level, drawn by `SEED`, so that it costs the same at any size. An
    InsufficientHistory if no entity has 14 days with delivery.
    """
    usable = {ref: days for ref, days in sorted(series.items()) if days.delivered.sum() >= POOL_DAYS_NEEDED}
    if not usable:
        most = max((int(days.delivered.sum()) for days in series.values()), default=0)
        raise InsufficientHistory("the account", had=most, needed=POOL_DAYS_NEEDED)
    first = min(days.first_day for days in usable.values())
    last = max(days.last_day for days in usable.values())
    calendar = Days(first, np.empty(((last - first).days + 1, 0)))
    rng = np.random.default_rng(SEED)
    by_level: dict[EntityType, list[_Prepared]] = {}
    for level in EntityType:
        refs = [ref for ref in usable if ref.entity_type is level]
        if len(refs) > sample:
            refs = [refs[i] for i in sorted(rng.choice(len(refs), sample, replace=False))]
        items = [_Prepared.of(usable[ref], calendar) for ref in refs]
        # A random order, so that the first few stand for all.
        by_level[level] = [items[i] for i in rng.permutation(len(items))]
    everyone = [item for items in by_level.values() for item in items]
    weekdays = dynamics_fit.pool_weekdays(
        np.stack([item.effects for item in everyone]), np.stack([item.effect_variances for item in everyone])
    )
    mixed = [everyone[i] for i in rng.permutation(len(everyone))[:sample]]
    account = _learn_level(mixed, weekdays, None)
    levels = {level: _learn_level(items, weekdays, account) for level, items in by_level.items() if items}
    return AccountPool(calendar, account, levels)


@dataclass(frozen=True, slots=True)
class FittedEntity:
    """An entity's model, its days with delivery, its held-out days, and its alarms per 30 of those at one a month."""

    model: SeriesModel
    days: int
    held_out_days: int
    held_out_alarms_per_month: float


def fit_entity(days: Days, pool: AccountPool, level: EntityType, *, what: str) -> FittedEntity:
    """An entity's own model; an InsufficientHistory of `what` with fewer than 28 days with delivery."""
    had = int(days.delivered.sum())
    if had < DAYS_NEEDED:
        raise InsufficientHistory(what, had=had, needed=DAYS_NEEDED)
    shared = pool.of(level)
    item = _Prepared.of(days, pool.calendar)
    profile = item.profile(shared.weekdays)
    phi = dynamics_fit.shrink_phi(item.own_phi(profile[0], shared.kappa), shared.phi, float(had))
    dynamics = item.dynamics(phi, shared.kappa, profile)
    held = _evidence(_held_out(item, dynamics, shared.moments, own=True), shared.curves)
    combined = survival.learn(held, shared.curves[-1], parent_days=survival.ENTITY_DAYS)
    z = item.innovations(dynamics[0]).z
    z = z[~np.isnan(z[:, :BASE]).all(axis=1)]
    moments = covariance.moments(z[:, :BASE], pooled=shared.moments)
    curves = np.stack([curve.scores for curve in (*shared.curves[:-1], combined)])
    model = SeriesModel(dynamics[0], moments, forest.grow(np.nan_to_num(z), seed=SEED), curves)
    known = held[~np.isnan(held)]
    alarms = 30.0 * float((combined.log_p(known) <= -np.log10(30.0)).mean()) if known.size else float("nan")
    return FittedEntity(model, had, int(known.size), alarms)
