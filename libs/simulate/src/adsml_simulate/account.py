"""A whole simulated account: what an export would show, and the truth behind it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.domain.errors import FailedPrecondition, InvalidInput

from adsml_simulate.delivery import Counts, Delivery, deliver, seen
from adsml_simulate.environment import Environment, draw
from adsml_simulate.frames import daily
from adsml_simulate.plan import Plan, check_changes, compile_plan
from adsml_simulate.schedule import draw_changes
from adsml_simulate.settings import AccountSettings, PlannedChange
from adsml_simulate.tree import Tree, grow
from adsml_simulate.truth import effects, latent

OBJECTIVE: Final = "OUTCOME_LEADS"
ANOMALY_COLUMNS: Final = (
    "incident", "entity_type", "entity_id", "date", "kind",
    "metric", "target", "magnitude", "before", "after",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Truth:
    """What no export shows."""

    # one row per row of the daily frame, in its order: see `adsml_simulate.truth.latent`
    entities: pd.DataFrame
    # what each planned change did: see `adsml_simulate.truth.effects`
    effects: pd.DataFrame
    # one row per injected incident, entity whose numbers it changed, and day: see
    # `adsml_simulate.anomalies.inject_anomalies`. Empty where nothing was injected.
    anomalies: pd.DataFrame


@dataclass(frozen=True, eq=False)
class SimulatedAccount:
    """One account. Made by `simulate_account`, `apply_change` and `inject_anomalies`."""

    settings: AccountSettings
    seed: int
    # all changes with their direct effects: the settings' and those drawn at random
    planned: tuple[PlannedChange, ...]
    # the parts, see their modules
    tree: Tree = field(repr=False)
    environment: Environment = field(repr=False)
    plan: Plan = field(repr=False)
    run: Delivery = field(repr=False)
    counts: Counts = field(repr=False)  # the run's counts, with anomalies where they were injected
    anomalies: pd.DataFrame = field(repr=False)

    @cached_property
    def daily(self) -> pd.DataFrame:
        """The daily frame (`adsml_common.domain.daily`) of all three levels once all leads are in.

        Parents are the sums of their children but for ``reach``, which lies between the largest child's and their sum.
        """
        return daily(self.tree, self.counts, self.run.audience, self.settings.first_day)

    def as_of(self, day: date | None) -> pd.DataFrame:
        """The daily frame as an export at the end of a day shows it, without later days and leads reported later.

        None: once all leads are in. `InvalidInput` if the day is not one of the account's.
        """
        if day is None:
            return self.daily
        return daily(self.tree, self.counts_as_of(day), self.run.audience, self.settings.first_day)

    def counts_as_of(self, day: date | None) -> Counts:
        """The counts behind `as_of`: nothing is delivered after the day."""
        if day is None:
            return self.counts
        at = self.settings.index(day, path="as_of")
        return seen(self.counts, lag=self.settings.lag, seed=self.seed, at=at)

    @cached_property
    def entities(self) -> tuple[Entity, ...]:
        """Campaigns, then ad sets, then ads, with status on the last day; the objective is the campaign's."""
        tree, config_id = self.tree, self.settings.config_id
        paused = {
            (event.entity.entity_type, event.entity.entity_id): event.change_type is ChangeType.PAUSE
            for event, change in self._events
            if event.change_type in (ChangeType.PAUSE, ChangeType.REACTIVATE)
            and not (change is not None and change.placebo)
        }
        above_adset = [tree.campaign_ids[c] for c in tree.campaign_of_adset]
        above_ad = [tree.adset_ids[s] for s in tree.adset_of_ad]
        campaigns = len(tree.campaign_ids)
        levels: tuple[tuple[EntityType, Sequence[str | None], Sequence[bool]], ...] = (
            (EntityType.CAMPAIGN, [None] * campaigns, [False] * campaigns),
            (EntityType.ADSET, above_adset, tree.shared[tree.campaign_of_adset].tolist()),
            (EntityType.AD, above_ad, [True] * len(tree.ad_ids)),
        )
        return tuple(
            Entity(
                ref=EntityRef(config_id, level, entity_id),
                parent_id=parent,
                name=name,
                status="PAUSED" if paused.get((level, entity_id), False) else "ACTIVE",
                objective=OBJECTIVE if level is EntityType.CAMPAIGN else None,
                shares_budget=shares,
            )
            for level, parents, sharing in levels
            for entity_id, name, parent, shares in zip(
                tree.ids(level), tree.names(level), parents, sharing, strict=True
            )
        )

    @cached_property
    def _events(self) -> tuple[tuple[ChangeEvent, PlannedChange | None], ...]:
        tree, settings = self.tree, self.settings
        events: list[tuple[ChangeEvent, PlannedChange | None]]
        events = [(self._event(change), change) for change in self.planned]
        for ad in np.flatnonzero(tree.last < settings.days - 1):
            ref = EntityRef(settings.config_id, EntityType.AD, tree.ad_ids[ad])
            day = settings.first_day + timedelta(days=int(tree.last[ad]) + 1)
            detail: dict[str, float | str] = {"status_before": "ACTIVE", "status_after": "PAUSED"}
            events.append((ChangeEvent(ref, ChangeType.PAUSE, day, detail), None))
        return tuple(sorted(events, key=lambda item: (item[0].date, item[0].entity)))

    def _event(self, change: PlannedChange) -> ChangeEvent:
        """As a person's change log tells it: nothing of the true effect."""
        tree = self.tree
        detail: dict[str, float | str] = {}
        position, t = tree.position(change.entity_type, change.entity_id), self.settings.index(change.date)
        adsets = np.unique(tree.adset_of_ad[tree.below(change.entity_type, position)])
        match change.change_type:
            case ChangeType.BUDGET_CHANGE:
                before, after = self.plan.adset_budget[adsets, t - 1 : t + 1].sum(axis=0)
                detail = {"budget_before": round(float(before), 2), "budget_after": round(float(after), 2)}
            case ChangeType.PAUSE:
                detail = {"status_before": "ACTIVE", "status_after": "PAUSED"}
            case ChangeType.REACTIVATE:
                detail = {"status_before": "PAUSED", "status_after": "ACTIVE"}
            case ChangeType.AUDIENCE_CHANGE:
                before, after = np.rint(self.run.audience[adsets, t - 1 : t + 1].sum(axis=0))
                detail = {"audience_before": float(before), "audience_after": float(after)}
            case ChangeType.CREATIVE_CHANGE:
                detail = {"creative": "replaced"}
        ref = EntityRef(self.settings.config_id, change.entity_type, change.entity_id)
        return ChangeEvent(ref, change.change_type, change.date, detail)

    @cached_property
    def changes(self) -> tuple[ChangeEvent, ...]:
        """The change log by day: planned changes, and the pauses of ads that ended."""
        return tuple(event for event, _ in self._events)

    @cached_property
    def truth(self) -> Truth:
        """Worked out when first asked for; expected values are those of the account without anomalies."""
        numbers = {id(change): n for n, (_, change) in enumerate(self._events) if change is not None}
        positions = [numbers[id(change)] for change in self.planned]
        return Truth(
            latent(self.tree, self.run, self.settings.first_day),
            effects(self.tree, self.settings, self.environment, self.run, self.planned, positions),
            self.anomalies,
        )


def anomaly_table(rows: Iterable[tuple[object, ...]] = ()) -> pd.DataFrame:
    """A table of anomaly labels."""
    types = {"incident": "int64", "date": "datetime64[ns]", "target": "bool"}
    types |= dict.fromkeys(("magnitude", "before", "after"), "float64")
    return pd.DataFrame(list(rows), columns=list(ANOMALY_COLUMNS)).astype(types)


def simulate_account(settings: AccountSettings, *, seed: int) -> SimulatedAccount:
    """Simulate an account; the same settings and seed (0 or more) give the same account.

    `InvalidInput` or `NotFound` if a planned change can't be made; says which and why.
    """
    tree = grow(settings, seed)
    check_changes(tree, settings, settings.changes)
    environment = draw(settings, tree, seed)
    planned = (*settings.changes, *draw_changes(tree, settings, environment, seed))
    return _run(settings, seed, tree, environment, planned)


def apply_change(account: SimulatedAccount, *changes: PlannedChange) -> SimulatedAccount:
    """The same account with further changes; nothing that happened before them moves.

    `FailedPrecondition` if anomalies were injected already (inject them afterwards); `InvalidInput` or `NotFound` if a
    change can't be made.
    """
    if len(account.anomalies):
        raise FailedPrecondition("this account has injected anomalies; apply changes first, then inject")
    planned = (*account.planned, *changes)
    check_changes(account.tree, account.settings, planned)
    settings = replace(account.settings, changes=planned, random_changes=None)
    return _run(settings, account.seed, account.tree, account.environment, planned)


def _run(
    settings: AccountSettings,
    seed: int,
    tree: Tree,
    environment: Environment,
    planned: Sequence[PlannedChange],
) -> SimulatedAccount:
    plan = compile_plan(tree, settings, environment, planned)
    run = deliver(tree, settings, environment, plan)
    if not run.counts.delivered.any():
        raise InvalidInput.at("daily_budget", "buys no impression on any day; raise it or lower cpm")
    parts = (tree, environment, plan, run, run.counts, anomaly_table())
    return SimulatedAccount(settings, seed, tuple(planned), *parts)
