"""What every simulated account must be, whatever its settings."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from adsml_common.domain import daily as daily_frame
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput, NotFound
from adsml_simulate import (
    AccountSettings,
    MarketShock,
    PlannedChange,
    RandomChanges,
    SimulatedAccount,
    clean,
    demo,
    large,
    simulate_account,
    small_accounts,
)
from adsml_simulate.chance import Stream, generator
from adsml_simulate.environment import ar1
from hypothesis import given, settings
from hypothesis import strategies as st

LAST_DAY = date(2026, 6, 30)
ADDITIVE = ["spend", "impressions", "clicks", "leads"]


def with_parents(account: SimulatedAccount) -> pd.DataFrame:
    parents = pd.DataFrame(
        [(e.ref.entity_type.value, e.ref.entity_id, e.parent_id) for e in account.entities],
        columns=["entity_type", "entity_id", "parent_id"],
    )
    return account.daily.merge(parents, on=["entity_type", "entity_id"])


@pytest.mark.parametrize(("child", "parent"), [("ad", "adset"), ("adset", "campaign")])
def test_parents_are_the_sums_of_their_children(lively: SimulatedAccount, child: str, parent: str) -> None:
    frame = with_parents(lively)
    grouped = frame[frame["entity_type"] == child].groupby(["parent_id", "date"])
    own = frame[frame["entity_type"] == parent].set_index(["entity_id", "date"]).sort_index()
    sums = grouped[ADDITIVE].sum().sort_index()
    assert len(sums) == len(own) > 400
    np.testing.assert_array_equal(sums["leads"].to_numpy(), own["leads"].to_numpy())
    np.testing.assert_array_equal(sums["clicks"].to_numpy(), own["clicks"].to_numpy())
    np.testing.assert_array_equal(sums["impressions"].to_numpy(), own["impressions"].to_numpy())
    np.testing.assert_array_equal(np.rint(100 * sums["spend"]), np.rint(100 * own["spend"]))
    # People reached by two children count once in the parent.
    reach = grouped["reach"].agg(["max", "sum"]).sort_index()
    assert (own["reach"].to_numpy() <= reach["sum"].to_numpy()).all()
    assert (own["reach"].to_numpy() >= reach["max"].to_numpy()).all()
    assert own["reach"].sum() < reach["sum"].sum()


def test_the_daily_frame_is_normalised_and_possible(lively: SimulatedAccount) -> None:
    frame = lively.daily
    pd.testing.assert_frame_equal(frame, daily_frame.normalise(frame))
    daily_frame.check(frame)
    assert (frame["leads"] <= frame["clicks"]).all()
    assert (frame["clicks"] <= frame["impressions"]).all()
    assert (frame["reach"] <= frame["impressions"]).all()
    assert (frame["spend"] >= 0.01).all()
    np.testing.assert_array_equal(frame["spend"], frame["spend"].round(2))
    assert frame["date"].max() == pd.Timestamp(LAST_DAY)
    assert frame["date"].min() == pd.Timestamp(lively.settings.first_day)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    campaigns=st.integers(1, 5),
    more_adsets=st.integers(0, 6),
    more_ads=st.integers(0, 10),
    days=st.integers(1, 60),
    shared=st.floats(0, 1),
    late=st.floats(0, 1),
)
def test_any_size_holds_together(
    seed: int, campaigns: int, more_adsets: int, more_ads: int, days: int, shared: float, late: float
) -> None:
    chosen = AccountSettings(
        last_day=LAST_DAY,
        days=days,
        campaigns=campaigns,
        adsets=campaigns + more_adsets,
        ads=campaigns + more_adsets + more_ads,
        shared_budget_share=shared,
        late_start_share=late,
        random_changes=RandomChanges(count=3),
    )
    account = simulate_account(chosen, seed=seed)
    daily_frame.check(account.daily)
    pd.testing.assert_frame_equal(account.daily, daily_frame.normalise(account.daily))
    totals = account.daily.groupby("entity_type")["leads"].sum()
    assert totals.nunique() == 1
    assert len(account.entities) == campaigns * 3 + more_adsets * 2 + more_ads
    assert len(account.truth.entities) == len(account.daily)


DIGEST = """
from datetime import date
import hashlib
from adsml_simulate import demo, simulate_account
frame = simulate_account(demo(last_day=date(2026, 6, 30)), seed=3).daily
print(hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest())
"""


@pytest.mark.parametrize("hash_seed", ["0", "77"])
def test_the_same_seed_gives_the_same_account_in_another_process(
    lively: SimulatedAccount, hash_seed: str
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", DIGEST],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": hash_seed, "PATH": "/usr/bin:/bin"},
    )
    here = hashlib.sha256(lively.daily.to_csv(index=False).encode()).hexdigest()
    assert run.stdout.strip() == here


def test_another_seed_gives_another_account(lively: SimulatedAccount) -> None:
    other = simulate_account(demo(last_day=LAST_DAY), seed=4)
    assert not other.daily.equals(lively.daily)


@pytest.mark.parametrize("off", ["fatigue", "market_price_sd", "drift_sd", "learning_penalty", "pacing_sd"])
def test_switching_one_feature_off_moves_no_other_draw(off: str) -> None:
    chosen = clean(last_day=LAST_DAY, days=40)
    a = simulate_account(chosen, seed=8)
    b = simulate_account(replace(chosen, **{off: 0.0}), seed=8)
    for name in ("u_clicks", "u_leads", "u_impressions", "belief", "ad_taste", "fleeting_ctr", "budget"):
        np.testing.assert_array_equal(getattr(a.environment, name), getattr(b.environment, name))
    assert [e.name for e in a.entities] == [e.name for e in b.entities]


def test_streams_are_the_children_of_one_seed_sequence() -> None:
    children = np.random.SeedSequence(12).spawn(len(Stream))
    for stream in Stream:
        spawned = np.random.Generator(np.random.PCG64(children[stream]))
        assert generator(12, stream).random() == spawned.random()


def test_counts_scatter_around_the_latent_truth_as_binomials_do(still: SimulatedAccount) -> None:
    frame, truth = still.daily, still.truth.entities
    pd.testing.assert_frame_equal(
        frame[["entity_type", "entity_id", "date"]], truth[["entity_type", "entity_id", "date"]]
    )
    ads = (frame["entity_type"] == "ad").to_numpy()
    shown, clicks, leads = (frame.loc[ads, name].to_numpy() for name in ("impressions", "clicks", "leads"))
    rate_clicks = truth.loc[ads, "ctr"].to_numpy() / 100
    rate_leads = truth.loc[ads, "conversion_rate"].to_numpy() / 100
    assert len(shown) > 5000
    for count, n, p in (
        (clicks, shown, rate_clicks),
        (leads, clicks, rate_leads),
        (leads, shown, rate_clicks * rate_leads),
    ):
        variance = n * p * (1 - p)
        total = (count - n * p).sum() / np.sqrt(variance.sum())
        assert abs(total) < 4  # standard normal
        enough = n * p > 5
        z = (count - n * p)[enough] / np.sqrt(variance[enough])
        assert len(z) > 500
        assert abs(z.mean()) < 4 / np.sqrt(len(z))
        assert abs(z.std() - 1) < 4 / np.sqrt(2 * len(z)) + 0.02


def test_budgets_are_spent(still: SimulatedAccount) -> None:
    spent = still.daily.loc[still.daily["entity_type"] == "campaign", "spend"].sum()
    # Pacing errs by 8% a day twice over; over 120 days and all ad sets that is well under 5%.
    assert spent == pytest.approx(still.plan.adset_budget.sum(), rel=0.05)
    tree = still.tree
    shared = {tree.campaign_ids[at] for at in np.flatnonzero(tree.shared)}
    assert shared == {
        e.parent_id for e in still.entities if e.ref.entity_type is EntityType.ADSET and e.shares_budget
    }


def test_tiers_persist_and_all_occur() -> None:
    account = simulate_account(large(last_day=LAST_DAY, entities=1000), seed=1)
    truth = account.truth.entities
    ads = truth[truth["entity_type"] == "ad"]
    tiers = ads.pivot_table(index="entity_id", columns="date", values="tier", aggfunc="first")
    shares = ads["tier"].value_counts(normalize=True)
    assert set(shares.index) == {"high_performer", "moderate", "low", "underperformer"}
    assert shares.min() > 0.08
    kept = {
        days: (tiers.to_numpy()[:, :-days] == tiers.to_numpy()[:, days:])[
            tiers.notna().to_numpy()[:, :-days] & tiers.notna().to_numpy()[:, days:]
        ].mean()
        for days in (1, 7, 28)
    }
    # Slow drift: nearly always the same tomorrow, mostly next week, less after a month.
    assert kept[1] > 0.93
    assert kept[7] > 0.78
    assert kept[1] > kept[7] > kept[28] > 0.55


def test_tier_is_lasting_cpl_of_the_week_against_the_accounts(still: SimulatedAccount) -> None:
    truth, frame = still.truth.entities, still.daily
    week = frame["date"] > pd.Timestamp(LAST_DAY - timedelta(days=7))
    rows = truth[week].assign(spend=frame.loc[week, "spend"])
    rows["lasting_leads"] = rows["spend"] / rows["lasting_cpl"]
    sums = rows.groupby(["entity_type", "entity_id"])[["spend", "lasting_leads"]].sum()
    account = sums.loc["campaign"].sum()
    relative = (sums["spend"] / sums["lasting_leads"]) / (account["spend"] / account["lasting_leads"])
    last = truth[truth["date"] == pd.Timestamp(LAST_DAY)].set_index(["entity_type", "entity_id"])["tier"]
    bands = pd.cut(
        relative, [0, 0.7, 1.0, 1.5, np.inf], labels=["high_performer", "moderate", "low", "underperformer"]
    )
    joined = pd.concat([last.rename("tier"), bands.rename("band").astype(str)], axis=1).dropna()
    assert len(joined) > 60
    assert (joined["tier"] == joined["band"]).all()


def test_conversion_noise_has_the_asked_autocorrelation() -> None:
    rows = ar1(np.random.default_rng(1), 400, 300, phi=0.6, sd=0.3)
    a, b = rows[:, :-1].ravel(), rows[:, 1:].ravel()
    # Standard errors: about 0.003 for the correlation, 0.001 for the deviation.
    assert np.corrcoef(a, b)[0, 1] == pytest.approx(0.6, abs=0.015)
    assert rows.std() == pytest.approx(0.3, rel=0.02)


def _daily_rate(account: SimulatedAccount) -> pd.Series:
    truth = account.truth.entities
    campaigns = truth[truth["entity_type"] == "campaign"]
    return campaigns.groupby("date")["conversion_rate"].mean()


def test_autocorrelation_is_felt_in_the_campaigns_conversion_rate() -> None:
    base = replace(clean(last_day=LAST_DAY, days=365), market_conversion_sd=0.0, weekly_season=0.0)
    base = replace(base, drift_sd=0.0, yearly_season=0.0, allocation_sd=0.0, conversion_noise_sd=0.3)
    lag1 = {}
    for phi in (0.0, 0.8):
        rates = _daily_rate(simulate_account(replace(base, autocorrelation=phi), seed=3))
        lag1[phi] = np.log(rates).autocorr(1)
    assert lag1[0.8] - lag1[0.0] > 0.5


def test_forms_are_filled_in_on_workdays_unless_switched_off() -> None:
    chosen = clean(last_day=LAST_DAY, days=140)
    odds = {}
    for strength in (1.0, 0.0):
        truth = simulate_account(replace(chosen, weekly_season=strength), seed=2).truth.entities
        rate = (
            truth[truth["entity_type"] == "campaign"].set_index(["entity_id", "date"])["conversion_rate"]
            / 100
        )
        odds[strength] = np.log(rate / (1 - rate))
    # Same seed: all that differs between the two is the season, and what follows from it.
    season = (odds[1.0] - odds[0.0]).reset_index()
    by_weekday = (
        season.groupby(["entity_id", season["date"].dt.dayofweek])["conversion_rate"].mean().unstack()
    )
    # The profile's odds are 1.12 on Mondays against 0.84 on Saturdays; campaigns feel 60 to 140% of it.
    felt = (by_weekday[0] - by_weekday[5]) / np.log(1.12 / 0.84)
    assert len(felt) == 4
    assert felt.between(0.58, 1.42).all()
    assert felt.max() - felt.min() > 0.05


def test_a_market_shock_hits_every_campaign_by_its_size() -> None:
    chosen = clean(last_day=LAST_DAY, days=60)
    shock = MarketShock(start=date(2026, 6, 1), days=5, cpm=0.5)
    calm, shaken = (simulate_account(replace(chosen, shocks=s), seed=2).daily for s in ((), (shock,)))
    days = calm["date"].between("2026-06-01", "2026-06-05")
    campaigns = calm["entity_type"] == "campaign"
    pd.testing.assert_frame_equal(calm[calm["date"] < "2026-06-01"], shaken[calm["date"] < "2026-06-01"])
    ratio = calm.loc[days & campaigns, "impressions"] / shaken.loc[days & campaigns, "impressions"]
    np.testing.assert_allclose(ratio, 1.5, rtol=0.03)


def test_ads_start_and_end_and_the_end_is_in_the_change_log() -> None:
    chosen = AccountSettings(last_day=LAST_DAY, early_end_share=0.5, late_start_share=0.3)
    account = simulate_account(chosen, seed=1)
    frame = account.daily[account.daily["entity_type"] == "ad"]
    first, last = (getattr(frame.groupby("entity_id")["date"], f)() for f in ("min", "max"))
    paused = {e.entity.entity_id: e for e in account.changes if e.change_type is ChangeType.PAUSE}
    status = {e.ref.entity_id: e.status for e in account.entities if e.ref.entity_type is EntityType.AD}
    assert len(paused) > 5
    assert (first > pd.Timestamp(chosen.first_day) + timedelta(days=5)).sum() > 5
    for entity_id, event in paused.items():
        assert last[entity_id] < pd.Timestamp(event.date)
        assert status[entity_id] == "PAUSED"
    assert {status[i] for i in set(status) - set(paused)} == {"ACTIVE"}


def test_learning_ends_and_costs_conversions() -> None:
    chosen = replace(clean(last_day=LAST_DAY), late_start_share=0.4)
    truth = simulate_account(chosen, seed=4).truth.entities
    learning = truth[truth["learning"] > 0]
    assert len(learning) > 10
    young = truth[truth["entity_type"] == "adset"].groupby("entity_id")["learning"].agg(["first", "last"])
    assert (young["last"] == 0).all()
    assert (young["first"] == 1).any()


def test_small_accounts_differ_and_come_one_at_a_time() -> None:
    accounts = list(small_accounts(5, last_day=LAST_DAY, seed=2, first_config_id=7, days=40))
    assert [a.settings.config_id for a in accounts] == [7, 8, 9, 10, 11]
    assert len({round(float(a.daily["spend"].sum()), 2) for a in accounts}) == 5
    again = next(iter(small_accounts(1, last_day=LAST_DAY, seed=2, first_config_id=7, days=40)))
    pd.testing.assert_frame_equal(again.daily, accounts[0].daily)


def test_large_has_exactly_so_many_entities() -> None:
    account = simulate_account(large(last_day=LAST_DAY, entities=1234, days=20), seed=0)
    assert len(account.entities) == 1234


def test_settings_name_everything_that_is_wrong_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        AccountSettings(last_day=LAST_DAY, adsets=2, campaigns=3, ctr=80, lag=(0.5, 0.2), autocorrelation=1.0)
    assert {v.path for v in caught.value.violations} == {"adsets", "ctr", "lag", "autocorrelation"}


def test_changes_that_cannot_be_made_are_refused(still: SimulatedAccount) -> None:
    tree = still.tree
    of_shared = tree.adset_ids[int(np.flatnonzero(tree.shared[tree.campaign_of_adset])[0])]
    day = LAST_DAY - timedelta(days=20)

    def plan(level: EntityType, entity_id: str, kind: ChangeType, when: date = day) -> PlannedChange:
        return PlannedChange(entity_type=level, entity_id=entity_id, change_type=kind, date=when)

    bad = (
        plan(EntityType.ADSET, of_shared, ChangeType.BUDGET_CHANGE),
        plan(EntityType.AD, tree.ad_ids[0], ChangeType.AUDIENCE_CHANGE),
        plan(EntityType.AD, tree.ad_ids[0], ChangeType.REACTIVATE),
        plan(EntityType.AD, tree.ad_ids[1], ChangeType.PAUSE, still.settings.first_day),
        plan(EntityType.AD, tree.ad_ids[1], ChangeType.PAUSE),
    )
    with pytest.raises(InvalidInput) as caught:
        simulate_account(replace(still.settings, changes=bad), seed=5)
    assert {v.path for v in caught.value.violations} == {
        "changes[0].entity_type",
        "changes[1].entity_type",
        "changes[2].change_type",
        "changes[3].date",
        "changes[4].change_type",
    }
    with pytest.raises(NotFound, match="no ad 42"):
        simulate_account(
            replace(still.settings, changes=(plan(EntityType.AD, "42", ChangeType.PAUSE),)), seed=5
        )
    with pytest.raises(InvalidInput, match="seed"):
        simulate_account(still.settings, seed=-1)
