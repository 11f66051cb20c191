"""Ready-made accounts."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import numpy as np
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput

from adsml_simulate.account import SimulatedAccount, apply_change, simulate_account
from adsml_simulate.frames import sum_up
from adsml_simulate.settings import AccountSettings, MarketShock, PlannedChange, RandomChanges


def yesterday() -> date:
    """The last complete day, UTC."""
    return datetime.now(UTC).date() - timedelta(days=1)


def demo(*, last_day: date | None = None, config_id: int = 1, days: int = 120) -> AccountSettings:
    """A lively lead-generation account: 4 campaigns, 15 ad sets, 45 ads; ends yesterday unless told.

    Two campaigns share their budget; edits of all five types, ads that come and go, a week of dearer auctions.
    """
    last = last_day or yesterday()
    return AccountSettings(
        last_day=last,
        days=days,
        config_id=config_id,
        name="Northwind Home Services",
        shocks=(MarketShock(start=last - timedelta(days=days // 3), days=6, cpm=0.25),),
        random_changes=RandomChanges(count=10),
    )


def with_clear_changes(account: SimulatedAccount) -> SimulatedAccount:
    """The account with two more edits, three and four weeks back, whose effects a week of days can show.

    A fresh creative is clicked 70% more often in one ad set; a new audience turns 45% fewer of
    another's clicks into leads.
    They are those with the most leads of ad sets, in campaigns of their own budgets first, that saw no other edit.
    """
    tree = account.tree
    leads = sum_up(tree, account.counts.leads, EntityType.ADSET).sum(axis=1)
    edited = {one.entity_id for one in account.planned}
    quiet = [
        at
        for at in np.lexsort((-leads, tree.shared[tree.campaign_of_adset]))
        if tree.adset_ids[at] not in edited and tree.campaign_ids[tree.campaign_of_adset[at]] not in edited
    ]
    edits = ((ChangeType.CREATIVE_CHANGE, 28, 0.7, 0.0), (ChangeType.AUDIENCE_CHANGE, 21, 0.0, -0.45))
    changes = [
        PlannedChange(
            entity_type=EntityType.ADSET,
            entity_id=tree.adset_ids[at],
            change_type=change_type,
            date=account.settings.last_day - timedelta(days=days_back),
            ctr_lift=ctr_lift,
            conversion_rate_lift=conversion_rate_lift,
        )
        for at, (change_type, days_back, ctr_lift, conversion_rate_lift) in zip(quiet, edits, strict=False)
    ]
    return apply_change(account, *changes)


def clean(*, last_day: date, config_id: int = 1, days: int = 120) -> AccountSettings:
    """The demo's size with nothing that happens: no edits, no shocks, no ads that come or go.

    For false-alarm and false-positive studies: season and autocorrelated noise stay.
    """
    return AccountSettings(
        last_day=last_day,
        days=days,
        config_id=config_id,
        name="Clean account",
        late_start_share=0.0,
        early_end_share=0.0,
    )


def large(*, last_day: date, entities: int = 10_000, config_id: int = 1, days: int = 90) -> AccountSettings:
    """An account of so many entities (40 or more): one campaign and seven ad sets in forty, the rest ads."""
    if entities < 40:
        raise InvalidInput.at("entities", f"is {entities}; expected 40 or more")
    campaigns, adsets = entities // 40, 7 * (entities // 40)
    return AccountSettings(
        last_day=last_day,
        days=days,
        config_id=config_id,
        name="Large account",
        campaigns=campaigns,
        adsets=adsets,
        ads=entities - campaigns - adsets,
    )


def small_accounts(
    count: int, *, last_day: date, seed: int, first_config_id: int = 1, days: int = 90
) -> Iterator[SimulatedAccount]:
    """Small accounts of different size, price level, season and conversion rate, one at a time.

    1 to 3 campaigns, up to 8 ad sets, up to 20 ads; CPL from a few to about a hundred of the currency.
    """
    for number in range(count):
        sequence = np.random.SeedSequence([seed, number])
        rng = np.random.Generator(np.random.PCG64(sequence))
        campaigns = int(rng.integers(1, 4))
        adsets = int(rng.integers(max(campaigns, 2), 9))
        settings = AccountSettings(
            last_day=last_day,
            days=days,
            config_id=first_config_id + number,
            name=f"Small account {first_config_id + number}",
            campaigns=campaigns,
            adsets=adsets,
            ads=int(rng.integers(adsets, 21)),
            daily_budget=float(np.exp(rng.uniform(np.log(25), np.log(150)))),
            cpm=float(np.exp(rng.uniform(np.log(7), np.log(25)))),
            ctr=float(np.exp(rng.uniform(np.log(0.7), np.log(2.0)))),
            conversion_rate=float(np.exp(rng.uniform(np.log(4), np.log(18)))),
            weekly_season=float(rng.uniform(0.3, 1.8)),
            trend_per_30_days=float(0.05 * rng.standard_normal()),
            random_changes=RandomChanges(count=int(rng.integers(0, 4))),
        )
        yield simulate_account(settings, seed=int(rng.integers(2**31)))
