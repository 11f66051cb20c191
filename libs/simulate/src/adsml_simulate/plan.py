"""What people set: budgets, what runs on which day, and the direct effects of their changes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import Violations

from adsml_simulate.chance import BoolArray, FloatArray
from adsml_simulate.environment import Environment
from adsml_simulate.settings import AccountSettings, PlannedChange
from adsml_simulate.tree import Tree

SIGNIFICANT_BUDGET_STEP: Final = 0.2
"""A budget step beyond this starts the learning phase anew (the platform says: 'significant edit')."""
LONG_PAUSE_DAYS: Final = 7
"""A reactivation after this long starts the learning phase anew."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Settings of people by day; C campaigns, S ad sets, A ads, T days."""

    active: BoolArray  # shape (A, T): switched on, as are ad set and campaign, and inside the ad's lifetime
    # shape (S, T), currency per day: the ad set's own, or what it brings to the shared budget
    adset_budget: FloatArray
    # shape (A, T): direct effects of changes, in logs
    log_ctr: FloatArray
    log_conversion: FloatArray
    log_cpm: FloatArray
    log_audience: FloatArray  # shape (S, T)
    restarts_learning: BoolArray  # shape (S, T)
    restarts_exposure: BoolArray  # shape (A, T): a fresh creative, or fresh people


def check_changes(tree: Tree, settings: AccountSettings, changes: Iterable[PlannedChange]) -> None:
    """Refuse changes that could not be made: NotFound an entity, InvalidInput all else at once."""
    found = Violations()
    paused: set[tuple[EntityType, str]] = set()
    for i, change in sorted(enumerate(changes), key=lambda item: (item[1].date, item[0])):
        level, kind, key = change.entity_type, change.change_type, (change.entity_type, change.entity_id)
        campaign = tree.campaign_of(level, tree.position(*key))
        shared = tree.shared[campaign]
        wrong = {}
        if not settings.first_day < change.date <= settings.last_day:
            wrong["date"] = (
                f"is {change.date}; expected after {settings.first_day} and up to {settings.last_day}"
            )
        if kind is ChangeType.BUDGET_CHANGE and level is not (
            EntityType.CAMPAIGN if shared else EntityType.ADSET
        ):
            where = f"campaign {tree.campaign_ids[campaign]}" if shared else "each ad set"
            wrong["entity_type"] = f"is {level}; this budget is set at {where}: change it there"
        if kind is ChangeType.AUDIENCE_CHANGE and level is EntityType.AD:
            wrong["entity_type"] = "is ad; an audience belongs to an ad set: change that"
        if kind is ChangeType.PAUSE and not change.placebo:
            if key in paused:
                wrong["change_type"] = f"pauses {level} {change.entity_id} a second time"
            paused.add(key)
        if kind is ChangeType.REACTIVATE and not change.placebo:
            if key not in paused:
                wrong["change_type"] = f"reactivates {level} {change.entity_id}, which runs: pause it earlier"
            paused.discard(key)
        for field, text in wrong.items():
            found.add(f"changes[{i}].{field}", text)
    found.raise_if_any()


def compile_plan(
    tree: Tree, settings: AccountSettings, environment: Environment, changes: Iterable[PlannedChange]
) -> Plan:
    """The plan of an account with these changes."""
    S, A, T = len(tree.adset_ids), len(tree.ad_ids), settings.days
    days = np.arange(T)
    on = {
        EntityType.CAMPAIGN: np.ones((len(tree.campaign_ids), T), dtype=bool),
        EntityType.ADSET: np.ones((S, T), dtype=bool),
        EntityType.AD: (tree.first[:, None] <= days) & (days <= tree.last[:, None]),
    }
    budget = environment.budget[:, None] * np.ones(T)
    log_ctr, log_conversion, log_cpm = np.zeros((3, A, T))
    log_audience = np.zeros((S, T))
    learning = np.zeros((S, T), dtype=bool)
    exposure = np.zeros((A, T), dtype=bool)
    paused_on: dict[tuple[EntityType, str], int] = {}

    for change in sorted(changes, key=lambda c: c.date):
        if change.placebo:
            continue
        position = tree.position(change.entity_type, change.entity_id)
        t = settings.index(change.date)
        ads = tree.below(change.entity_type, position)
        adsets = np.unique(tree.adset_of_ad[ads])
        key = (change.entity_type, change.entity_id)
        restart = change.change_type in (ChangeType.CREATIVE_CHANGE, ChangeType.AUDIENCE_CHANGE)
        match change.change_type:
            case ChangeType.BUDGET_CHANGE:
                budget[adsets, t:] *= change.budget_ratio
                restart = abs(change.budget_ratio - 1) > SIGNIFICANT_BUDGET_STEP
            case ChangeType.CREATIVE_CHANGE | ChangeType.AUDIENCE_CHANGE:
                log_ctr[ads, t:] += np.log1p(change.ctr_lift)
                log_conversion[ads, t:] += np.log1p(change.conversion_rate_lift)
                log_cpm[ads, t:] += np.log1p(change.cpm_lift)
                exposure[ads, t] = True
                if change.change_type is ChangeType.AUDIENCE_CHANGE:
                    log_audience[adsets, t:] += np.log(change.audience_ratio)
            case ChangeType.PAUSE:
                on[change.entity_type][position, t:] = False
                paused_on[key] = t
            case ChangeType.REACTIVATE:
                restart = t - paused_on.pop(key, t) >= LONG_PAUSE_DAYS
                ends = tree.last[position] if change.entity_type is EntityType.AD else T
                on[change.entity_type][position, t:] = days[t:] <= ends
        if change.restarts_learning is not None:
            restart = change.restarts_learning
        learning[adsets, t] |= restart

    active = on[EntityType.AD] & on[EntityType.ADSET][tree.adset_of_ad]
    active &= on[EntityType.CAMPAIGN][tree.campaign_of_ad]
    return Plan(active, budget, log_ctr, log_conversion, log_cpm, log_audience, learning, exposure)
