"""Changes drawn at random."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

import numpy as np
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.entities import EntityType

from adsml_simulate.chance import IntArray, Stream, generator
from adsml_simulate.delivery import deliver
from adsml_simulate.environment import Environment
from adsml_simulate.frames import present
from adsml_simulate.plan import compile_plan
from adsml_simulate.settings import AccountSettings, PlannedChange, RandomChanges
from adsml_simulate.tree import Tree

_SHORTEST_PAUSE_DAYS: Final = 7
_BUDGET_RATIOS: Final = (0.6, 0.8, 1.25, 1.5, 2.0)
"""Drawn in turn from a shuffled deck."""
_STEADY_SHARE: Final = 0.9
"""An entity is worth changing if it delivers on this share of days."""


def draw_changes(
    tree: Tree, settings: AccountSettings, environment: Environment, seed: int
) -> tuple[PlannedChange, ...]:
    """The changes that ``settings.random_changes`` asks for, as far as there is room for them."""
    wanted = settings.random_changes
    if wanted is None or wanted.count == 0:
        return ()
    rng = generator(seed, Stream.CHANGES)
    plan = compile_plan(tree, settings, environment, settings.changes)
    counts = deliver(tree, settings, environment, plan).counts
    steady = {
        level: np.flatnonzero(present(tree, counts, level).mean(axis=1) >= _STEADY_SHARE)
        for level in EntityType
    }
    # Days of each campaign on which something happens.
    taken: list[list[int]] = [[] for _ in tree.campaign_ids]
    for change in settings.changes:
        position = tree.position(change.entity_type, change.entity_id)
        taken[tree.campaign_of(change.entity_type, position)].append(settings.index(change.date))
    for ad in np.flatnonzero(tree.last < settings.days - 1):
        taken[tree.campaign_of(EntityType.AD, int(ad))].append(int(tree.last[ad]) + 1)
    made: list[PlannedChange] = []
    used: set[tuple[EntityType, int]] = set()
    deck: list[float] = []
    quiet = np.arange(wanted.quiet_days, settings.days - wanted.quiet_days)
    for n in range(wanted.count):
        change_type = wanted.types[n % len(wanted.types)]
        options = _candidates(tree, steady, change_type)
        for at in rng.permutation(len(options)):
            level, position = options[at]
            busy = taken[tree.campaign_of(level, position)]
            days = quiet
            for other in busy:
                days = days[np.abs(days - other) >= wanted.quiet_days]
            if (level, position) in used or not days.size:
                continue
            day = settings.first_day + timedelta(days=int(rng.choice(days)))
            entity_id = tree.ids(level)[position]
            first = PlannedChange(entity_type=level, entity_id=entity_id, change_type=change_type, date=day)
            changes = _change(rng, wanted, deck, replace(first, placebo=wanted.placebo))
            used.add((level, position))
            busy += [settings.index(change.date) for change in changes]
            made += changes
            break
    return tuple(made)


def _candidates(
    tree: Tree, steady: dict[EntityType, IntArray], change_type: ChangeType
) -> list[tuple[EntityType, int]]:
    campaigns, adsets, ads = ([(level, at) for at in steady[level].tolist()] for level in EntityType)
    match change_type:
        case ChangeType.CREATIVE_CHANGE:
            return adsets + ads
        case ChangeType.BUDGET_CHANGE:  # where it is set
            shared = [one for one in campaigns if tree.shared[one[1]]]
            return shared + [one for one in adsets if not tree.shared[tree.campaign_of_adset[one[1]]]]
        case _:
            return adsets


def _change(
    rng: np.random.Generator, wanted: RandomChanges, deck: list[float], first: PlannedChange
) -> list[PlannedChange]:
    """A change with its effect; a pause with its reactivation."""
    one, two, three = np.expm1(wanted.lift_sd * rng.standard_normal(3)).tolist()
    if not deck:
        deck += rng.permutation(_BUDGET_RATIOS).tolist()
    pause = timedelta(days=int(rng.integers(_SHORTEST_PAUSE_DAYS, wanted.quiet_days + 1)))
    match first.change_type:
        case ChangeType.BUDGET_CHANGE:
            return [replace(first, budget_ratio=deck.pop())]
        case ChangeType.CREATIVE_CHANGE:
            return [replace(first, ctr_lift=one, conversion_rate_lift=two)]
        case ChangeType.AUDIENCE_CHANGE:
            return [replace(first, conversion_rate_lift=one, cpm_lift=two / 2, audience_ratio=1 + three)]
        case _:
            return [first, replace(first, change_type=ChangeType.REACTIVATE, date=first.date + pause)]
