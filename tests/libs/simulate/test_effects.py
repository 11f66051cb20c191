"""Changes do what their truth says: checked against accounts without them, and against closed forms."""

import itertools
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import FailedPrecondition
from adsml_simulate import (
    AccountSettings,
    AnomalyKind,
    PlannedChange,
    RandomChanges,
    SimulatedAccount,
    apply_change,
    clean,
    demo,
    inject_anomalies,
    simulate_account,
)

LAST_DAY = date(2026, 6, 30)
DAY = LAST_DAY - timedelta(days=29)
PURE = {"fatigue": 0.0, "learning_penalty": 0.0}
"""Without what follows from a change, its direct effect is all there is."""


def account(**more: object) -> SimulatedAccount:
    return simulate_account(replace(clean(last_day=LAST_DAY, days=90), **more), seed=11)


def adset(of: SimulatedAccount, *, shared: bool) -> str:
    """The ad set with the most leads whose campaign does, or does not, share its budget."""
    flags = of.tree.shared[of.tree.campaign_of_adset]
    ids = {of.tree.adset_ids[i] for i in np.flatnonzero(flags == shared)}
    rows = of.daily[of.daily["entity_id"].isin(ids)]
    return str(rows.groupby("entity_id")["leads"].sum().idxmax())


def campaign_of(of: SimulatedAccount, adset_id: str) -> str:
    position = of.tree.position(EntityType.ADSET, adset_id)
    return of.tree.campaign_ids[of.tree.campaign_of_adset[position]]


def change(entity_id: str, kind: ChangeType, when: date = DAY, **more: object) -> PlannedChange:
    return PlannedChange(
        entity_type=EntityType.ADSET,
        entity_id=entity_id,
        change_type=kind,
        date=when,
        **more,  # type: ignore[arg-type]
    )


def effect(of: SimulatedAccount, metric: str, *, scope: str = "entity", days: int = 7) -> pd.Series:
    found = of.truth.effects
    found = found[(found["metric"] == metric) & (found["scope"] == scope) & (found["days"] == days)]
    assert len(found) == 1
    return found.iloc[0]


def latent_on_the_day(of: SimulatedAccount, entity_id: str) -> pd.Series:
    rows = of.truth.entities
    return rows[(rows["entity_id"] == entity_id) & (rows["date"] == pd.Timestamp(DAY))].iloc[0]


def test_stated_truth_is_the_difference_to_the_account_without_the_change() -> None:
    base = account()
    entity_id = adset(base, shared=True)
    changed = apply_change(base, change(entity_id, ChangeType.CREATIVE_CHANGE, conversion_rate_lift=0.4))
    after = base.daily["date"] >= pd.Timestamp(DAY)
    pd.testing.assert_frame_equal(
        base.daily[~after], changed.daily[changed.daily["date"] < pd.Timestamp(DAY)]
    )
    for (scope, ids), days in itertools.product(
        (
            ("entity", {entity_id}),
            ("campaign", {campaign_of(base, entity_id)}),
            ("account", set(base.tree.campaign_ids)),
        ),
        (7, 14),
    ):
        for side, frame in (("without", base.daily), ("with", changed.daily)):
            window = frame["date"].between(pd.Timestamp(DAY), pd.Timestamp(DAY + timedelta(days=days - 1)))
            seen = frame[frame["entity_id"].isin(ids) & window][
                ["spend", "impressions", "clicks", "leads"]
            ].sum()
            for name, total in seen.items():
                told = effect(changed, str(name), scope=scope, days=days)
                assert told[f"realised_{side}"] == pytest.approx(total, rel=0, abs=1e-6)


def test_effects_are_ratios_of_sums_over_the_window() -> None:
    base = account()
    entity_id = adset(base, shared=False)
    changed = apply_change(
        base, change(entity_id, ChangeType.AUDIENCE_CHANGE, cpm_lift=0.2, audience_ratio=1.5)
    )
    told = effect(changed, "cpl")
    sums = {}
    for side, of in (("with", changed), ("without", base)):
        rows = of.daily.assign(expected_leads=of.truth.entities["expected_leads"])
        window = rows["date"].between(pd.Timestamp(DAY), pd.Timestamp(DAY + timedelta(days=6)))
        sums[side] = rows[(rows["entity_id"] == entity_id) & window][
            ["spend", "leads", "expected_leads"]
        ].sum()
        assert told[f"expected_{side}"] == pytest.approx(sums[side]["spend"] / sums[side]["expected_leads"])
        assert told[f"realised_{side}"] == pytest.approx(sums[side]["spend"] / sums[side]["leads"])
    assert told["relative"] == pytest.approx(told["expected_with"] / told["expected_without"] - 1)
    assert told["absolute"] == pytest.approx(told["expected_with"] - told["expected_without"])


def test_a_conversion_lift_is_that_lift() -> None:
    base = account(**PURE)
    changed = apply_change(
        base, change(adset(base, shared=False), ChangeType.CREATIVE_CHANGE, conversion_rate_lift=0.3)
    )
    # Each ad's rate is lifted by 30%; the mix of ads moves only through the platform's belief.
    assert effect(changed, "conversion_rate")["relative"] == pytest.approx(0.3, abs=0.01)
    assert effect(changed, "cpl")["relative"] == pytest.approx(1 / 1.3 - 1, abs=0.01)
    assert effect(changed, "spend")["relative"] == pytest.approx(0.0, abs=1e-3)


def test_a_doubled_budget_has_the_stated_diminishing_returns() -> None:
    base = account(**PURE, price_elasticity=0.2, saturation_elasticity=0.1)
    changed = apply_change(
        base, change(adset(base, shared=False), ChangeType.BUDGET_CHANGE, budget_ratio=2.0)
    )
    assert effect(changed, "spend")["relative"] == pytest.approx(1.0, abs=1e-3)
    assert effect(changed, "cpm")["relative"] == pytest.approx(2**0.2 - 1, abs=5e-3)
    assert effect(changed, "conversion_rate")["relative"] == pytest.approx(2**-0.1 - 1, abs=5e-3)
    assert effect(changed, "leads")["relative"] == pytest.approx(2 ** (1 - 0.2 - 0.1) - 1, abs=1e-2)
    assert effect(changed, "leads", scope="account")["absolute"] == pytest.approx(
        effect(changed, "leads")["absolute"]
    )


def test_a_paused_ad_sets_money_stays_away_unless_the_budget_is_shared() -> None:
    base = account()
    for shared, kept in ((False, 0.0), (True, 1.0)):
        changed = apply_change(base, change(adset(base, shared=shared), ChangeType.PAUSE))
        own, campaign = effect(changed, "spend"), effect(changed, "spend", scope="campaign")
        assert own["expected_with"] == 0
        assert own["expected_without"] > 100
        lost = (campaign["expected_without"] - campaign["expected_with"]) / own["expected_without"]
        # Siblings' pacing of the day differs from the paused one's by some 10% a day.
        assert lost == pytest.approx(1 - kept, abs=0.1)
        assert np.isnan(effect(changed, "cpl")["relative"])


def test_reactivation_is_measured_against_staying_paused() -> None:
    base = account()
    entity_id = adset(base, shared=False)
    changed = apply_change(
        base,
        change(entity_id, ChangeType.PAUSE, DAY - timedelta(days=10)),
        change(entity_id, ChangeType.REACTIVATE),
    )
    assert [e.change_type for e in changed.changes] == [ChangeType.PAUSE, ChangeType.REACTIVATE]
    told = changed.truth.effects.query("scope == 'entity' and days == 7 and metric == 'spend'")
    pause, back = told.iloc[0], told.iloc[1]
    assert pause["expected_with"] == 0
    assert pause["expected_without"] > 0
    assert back["expected_without"] == 0
    assert back["expected_with"] > 0
    rows = changed.daily[changed.daily["entity_id"] == entity_id]
    away = pd.date_range(DAY - timedelta(days=10), DAY - timedelta(days=1))
    assert not rows["date"].isin(away).any()
    assert {e.status for e in changed.entities if e.ref.entity_id == entity_id} == {"ACTIVE"}
    # After ten days away it learns anew.
    assert latent_on_the_day(changed, entity_id)["learning"] == 1


def test_a_new_creative_is_fresh_and_learns() -> None:
    base = account(fatigue=0.3, learning_penalty=0.25)
    entity_id = adset(base, shared=False)
    changed = apply_change(base, change(entity_id, ChangeType.CREATIVE_CHANGE))
    before, after = latent_on_the_day(base, entity_id), latent_on_the_day(changed, entity_id)
    assert before["fatigue"] < 0.95
    assert after["fatigue"] == 1.0
    assert after["learning"] == 1.0
    assert effect(changed, "ctr")["relative"] > 0.02
    assert effect(changed, "conversion_rate", days=7)["relative"] < -0.01


def test_placebo_edits_are_recorded_and_change_nothing() -> None:
    chosen = clean(last_day=LAST_DAY)
    kinds = tuple(k for k in ChangeType if k is not ChangeType.REACTIVATE)
    edited = simulate_account(
        replace(chosen, random_changes=RandomChanges(count=6, types=kinds, placebo=True)), seed=2
    )
    pd.testing.assert_frame_equal(edited.daily, simulate_account(chosen, seed=2).daily)
    assert len(edited.changes) >= 6
    effects = edited.truth.effects
    assert (effects["absolute"].dropna() == 0).all()
    assert effects["absolute"].notna().sum() > 100


def test_random_changes_are_quiet_on_both_sides_and_of_every_type() -> None:
    chosen = replace(demo(last_day=LAST_DAY), early_end_share=0.0)
    seen: set[ChangeType] = set()
    for seed in range(3):
        made = simulate_account(chosen, seed=seed)
        seen |= {event.change_type for event in made.changes}
        by_campaign: dict[int, list[date]] = {}
        for planned in made.planned:
            if planned.change_type is not ChangeType.REACTIVATE:
                position = made.tree.position(planned.entity_type, planned.entity_id)
                by_campaign.setdefault(made.tree.campaign_of(planned.entity_type, position), []).append(
                    planned.date
                )
        for days in by_campaign.values():
            ordered = sorted(days)
            assert all((b - a).days >= 14 for a, b in itertools.pairwise(ordered))
            assert (ordered[0] - chosen.first_day).days >= 14
            assert (LAST_DAY - ordered[-1]).days >= 14
    assert seen == set(ChangeType)


def test_changes_come_before_anomalies() -> None:
    faulty = inject_anomalies(account(), [AnomalyKind.ZERO_SPEND], rate=2.0, seed=1)
    with pytest.raises(FailedPrecondition, match="apply changes first"):
        apply_change(faulty, change(adset(faulty, shared=False), ChangeType.PAUSE))


def test_change_log_tells_facts_and_no_truth() -> None:
    base = account()
    entity_id = adset(base, shared=False)
    changed = apply_change(base, change(entity_id, ChangeType.BUDGET_CHANGE, budget_ratio=1.5))
    (event,) = changed.changes
    assert event.date == DAY
    assert event.entity.entity_id == entity_id
    assert event.detail["budget_after"] == pytest.approx(1.5 * float(event.detail["budget_before"]))
    spent = changed.daily[changed.daily["entity_id"] == entity_id].set_index("date")["spend"]
    # Pacing errs by 8% a day twice over.
    before, after = spent[: pd.Timestamp(DAY - timedelta(days=1))].mean(), spent[pd.Timestamp(DAY) :].mean()
    assert before == pytest.approx(float(event.detail["budget_before"]), rel=0.1)
    assert after == pytest.approx(float(event.detail["budget_after"]), rel=0.1)


def test_without_a_change_is_the_account_simulated_without_it() -> None:
    # Against an account that is simulated anew from its settings, without the one change.
    made = simulate_account(
        AccountSettings(last_day=LAST_DAY, days=70, random_changes=RandomChanges(count=3)), seed=9
    )
    for k, planned in enumerate(made.planned):
        others = tuple(other for j, other in enumerate(made.planned) if j != k)
        if planned.change_type is ChangeType.PAUSE:
            continue  # its reactivation alone would be refused
        without = simulate_account(replace(made.settings, changes=others, random_changes=None), seed=9).daily
        campaigns = without[without["entity_type"] == "campaign"]
        number = next(
            n
            for n, event in enumerate(made.changes)
            if (event.entity.entity_id, event.date) == (planned.entity_id, planned.date)
        )
        told = made.truth.effects.query(f"change == {number} and scope == 'account' and metric == 'leads'")
        assert list(told["days"]) == [7, 14]
        for days, leads in zip(told["days"], told["realised_without"], strict=True):
            end = planned.date + timedelta(days=days - 1)
            window = campaigns["date"].between(pd.Timestamp(planned.date), pd.Timestamp(end))
            assert leads == campaigns.loc[window, "leads"].sum()
