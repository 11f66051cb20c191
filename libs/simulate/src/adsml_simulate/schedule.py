"""Changes drawn at random, either on any day or, as people do it, after an entity's worst week."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

import numpy as np
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.entities import EntityType

from adsml_simulate.arrays import FloatArray
from adsml_simulate.delivery import Counts, deliver
from adsml_simulate.environment import Environment
from adsml_simulate.frames import present
from adsml_simulate.plan import compile_plan
from adsml_simulate.settings import AccountSettings, PlannedChange, RandomChanges
from adsml_simulate.streams import Stream, generator
from adsml_simulate.tree import Tree

_WEEK: Final = 7
_STEADY_SHARE: Final = 0.9
"""An entity is worth changing if it delivers on this share of days."""
_HALF_A_LEAD: Final = 0.5
"""Stands for no lead in a week, so that such weeks rank by what they cost."""


def weekly_cpl(spend: FloatArray, leads: FloatArray) -> FloatArray:
    """CPL of the seven days that end on each day; NaN on the first six. Shape (T,)."""
    out = np.full(spend.size, np.nan)
    if spend.size >= _WEEK:
        box = np.ones(_WEEK)
        week_leads = np.maximum(np.convolve(leads, box, mode="valid"), _HALF_A_LEAD)
        out[_WEEK - 1 :] = np.convolve(spend, box, mode="valid") / week_leads
    return out


class _Drawer:
    def __init__(
        self,
        tree: Tree,
        settings: AccountSettings,
        environment: Environment,
        wanted: RandomChanges,
        seed: int,
    ) -> None:
        self.tree, self.settings, self.wanted = tree, settings, wanted
        self.rng = generator(seed, Stream.CHANGES)
        plan = compile_plan(tree, settings, environment, settings.changes)
        self.counts: Counts = deliver(tree, settings, environment, plan).counts
        self.steady = {
            level: np.flatnonzero(present(tree, self.counts, level).mean(axis=1) >= _STEADY_SHARE)
            for level in EntityType
        }
        self.taken: list[list[int]] = [[] for _ in tree.campaign_ids]
        for change in settings.changes:
            position = tree.position(change.entity_type, change.entity_id)
            self.taken[tree.campaign_of(change.entity_type, position)].append(settings.index(change.date))
        for ad in np.flatnonzero(tree.last < settings.days - 1):
            self.taken[tree.campaign_of(EntityType.AD, int(ad))].append(int(tree.last[ad]) + 1)
        self.deck: list[float] = []

    def candidates(self, change_type: ChangeType) -> list[tuple[EntityType, int]]:
        tree = self.tree
        adsets = [(EntityType.ADSET, int(s)) for s in self.steady[EntityType.ADSET]]
        if change_type is ChangeType.CREATIVE_CHANGE:
            return adsets + [(EntityType.AD, int(a)) for a in self.steady[EntityType.AD]]
        if change_type is not ChangeType.BUDGET_CHANGE:
            return adsets
        campaigns = [
            (EntityType.CAMPAIGN, int(c)) for c in self.steady[EntityType.CAMPAIGN] if tree.shared[c]
        ]
        return campaigns + [one for one in adsets if not tree.shared[tree.campaign_of_adset[one[1]]]]

    def day(self, level: EntityType, position: int) -> int | None:
        """A day that is quiet on both sides, or None."""
        quiet, last = self.wanted.quiet_days, self.settings.days - 1
        days = np.arange(quiet, last - quiet + 1)
        for other in self.taken[self.tree.campaign_of(level, position)]:
            days = days[np.abs(days - other) >= quiet]
        if not days.size:
            return None
        if not self.wanted.after_worst_week:
            return int(self.rng.choice(days))
        ads = self.tree.below(level, position)
        cents, leads = (
            counts[ads].sum(axis=0, dtype=np.float64) for counts in (self.counts.cents, self.counts.leads)
        )
        return int(days[np.argmax(weekly_cpl(cents, leads)[days - 1])])

    def change(
        self, change_type: ChangeType, level: EntityType, position: int, t: int
    ) -> list[PlannedChange]:
        rng, wanted = self.rng, self.wanted
        entity_id, day = self.tree.ids(level)[position], self.settings.first_day + timedelta(days=t)
        lift = np.expm1(wanted.lift_sd * rng.standard_normal(3))
        if not self.deck:
            self.deck = [float(ratio) for ratio in rng.permutation(wanted.budget_ratios)]
        pause = int(rng.integers(_WEEK, wanted.quiet_days + 1))
        first = PlannedChange(
            entity_type=level, entity_id=entity_id, change_type=change_type, date=day, placebo=wanted.placebo
        )
        one, two, three = (float(x) for x in lift)
        match change_type:
            case ChangeType.BUDGET_CHANGE:
                return [replace(first, budget_ratio=self.deck.pop())]
            case ChangeType.CREATIVE_CHANGE:
                return [replace(first, ctr_lift=one, conversion_rate_lift=two)]
            case ChangeType.AUDIENCE_CHANGE:
                return [replace(first, conversion_rate_lift=one, cpm_lift=two / 2, audience_ratio=1 + three)]
            case _:  # a pause
                end = day + timedelta(days=pause)
                return [first, replace(first, change_type=ChangeType.REACTIVATE, date=end)]


def draw_changes(
    tree: Tree, settings: AccountSettings, environment: Environment, seed: int
) -> tuple[PlannedChange, ...]:
    """The changes that ``settings.random_changes`` asks for, as far as there is room for them.

    An entity's worst week is looked up in the account with ``settings.changes`` only, without the other
    random ones.
    """
    wanted = settings.random_changes
    if wanted is None or wanted.count == 0:
        return ()
    drawer = _Drawer(tree, settings, environment, wanted, seed)
    made: list[PlannedChange] = []
    used: set[tuple[EntityType, int]] = set()
    for n in range(wanted.count):
        change_type = wanted.types[n % len(wanted.types)]
        options = drawer.candidates(change_type)
        for at in drawer.rng.permutation(len(options)):
            level, position = options[at]
            t = None if (level, position) in used else drawer.day(level, position)
            if t is None:
                continue
            changes = drawer.change(change_type, level, position, t)
            used.add((level, position))
            campaign = tree.campaign_of(level, position)
            drawer.taken[campaign] += [settings.index(change.date) for change in changes]
            made += changes
            break
    return tuple(made)
