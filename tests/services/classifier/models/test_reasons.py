"""Reasons by hand: figures a marketer can check, on the side where they read so."""

from collections.abc import Sequence

import numpy as np
import pytest
from adsml_classifier.models import features, reasons
from adsml_classifier.models.facts import FACTS, MEMBERSHIP
from adsml_classifier.models.panel import Panel
from adsml_classifier.models.reasons import Reason
from adsml_classifier.models.rule import TIERS
from adsml_classifier.models.snapshot import AccountSnapshot
from adsml_classifier.training import sampling
from adsml_classifier.training.recipe import SampleSettings
from adsml_common.domain.tiers import Tier
from adsml_simulate import SimulatedAccount

from ..accounts import panel_of, week_panel

DAYS = 14
# Spend 70 a week each. "rest" makes the account's CPL.
DEAR = ([10.0] * DAYS, [0.0] * 7 + [1.0, 0, 1, 0, 1, 0, 0])
CHEAP = ([10.0] * DAYS, [2.0] * DAYS)


def snapshot_of(entities: dict[str, tuple[Sequence[float], Sequence[float]]]) -> AccountSnapshot:
    panel = week_panel(entities)
    return AccountSnapshot.of(panel, panel.day(len(panel.days) - 1))


def of_rule(snapshot: AccountSnapshot, name: str, *, most: int = 3) -> tuple[Reason, ...]:
    rows = np.array([snapshot.rows["adset", name]])
    [found] = reasons.of_week(
        snapshot.evidence, rows, snapshot.rule_tier[rows], step=snapshot.step[rows], most=most
    )
    return found


def test_every_feature_belongs_to_one_fact() -> None:
    assert sorted(name for fact in FACTS for name in fact.features) == sorted(features.NAMES)
    assert (MEMBERSHIP.sum(axis=1) == 1).all()


def test_figures_are_those_of_entity_and_account() -> None:
    """70 for 3 leads against 140 for 17: CPL 23.33 against 8.24; 70 at 8.24 a lead is 8.5."""
    snapshot = snapshot_of({"dear": DEAR, "cheap": CHEAP})
    first, *_ = of_rule(snapshot, "dear")
    assert first == Reason("CPL 23.33 against 8.24 for the account", True)
    [expected] = snapshot.evidence.expected_leads(7)[[snapshot.rows["adset", "dear"]]]
    assert expected == pytest.approx(70 / (140 / 17))
    assert of_rule(snapshot, "cheap")[0].text == "CPL 5.00 against 8.24 for the account"


def test_no_leads_are_told_by_what_the_money_usually_brings() -> None:
    snapshot = snapshot_of({"none": ([10.0] * DAYS, [0.0] * DAYS), "cheap": CHEAP})
    assert TIERS[snapshot.rule_tier[snapshot.rows["adset", "none"]]] is Tier.UNDERPERFORMER
    assert of_rule(snapshot, "none")[0].text == "no leads in 7 days where this money usually brings 7"


def test_too_little_spend_is_said_to_be_so() -> None:
    snapshot = snapshot_of({"small": ([1.0] * DAYS, [0.0] * DAYS), "cheap": CHEAP})
    assert of_rule(snapshot, "small")[0].text.endswith("too little to judge")


@pytest.mark.parametrize(
    ("before", "now", "step", "text"),
    [
        (2.0, 1.0, "lower", "CPL up 100% on the week before, from 5.00 to 10.00: one tier lower"),
        (1.0, 2.0, "higher", "CPL down 50% on the week before, from 10.00 to 5.00: one tier higher"),
    ],
)
def test_the_rules_step_is_told_where_it_decides(before: float, now: float, step: str, text: str) -> None:
    snapshot = snapshot_of(
        {"moving": ([10.0] * DAYS, [before] * 7 + [now] * 7), "dear": ([20.0] * DAYS, [1.0] * DAYS)}
    )
    found = of_rule(snapshot, "moving")
    assert Reason(text, True) in found
    assert len(found) == len({one.text for one in found})


def test_leads_on_few_days_explain_why_a_low_cpl_is_no_high_performer() -> None:
    rare = ([10.0] * DAYS, [0, 0, 9.0, 0, 0, 9.0, 0] * 2)
    snapshot = snapshot_of({"rare": rare, "dear": ([20.0] * DAYS, [1.0] * DAYS)})
    assert TIERS[snapshot.rule_tier[snapshot.rows["adset", "rare"]]] is Tier.MODERATE
    texts = [one.text for one in of_rule(snapshot, "rare")]
    assert "leads on 2 of the last 7 days; a high performer has them on 4" in texts


@pytest.mark.parametrize("seed", range(5))
def test_reasons_for_come_first_then_at_most_one_against_each_fact_once(
    account: SimulatedAccount, seed: int
) -> None:
    panel: Panel = panel_of(account)
    snapshot = AccountSnapshot.of(panel, panel.day(len(panel.days) - 1))
    rows = np.flatnonzero(snapshot.delivered)
    rng = np.random.default_rng(seed)
    tier = rng.integers(0, 4, len(rows))
    contributions = rng.standard_normal((len(rows), len(features.NAMES)))
    found = reasons.of_model(snapshot.evidence, rows, tier, contributions, most=3)
    by_fact = contributions @ MEMBERSHIP
    for place, of_row in enumerate(found):
        supports = [one.supports for one in of_row]
        assert supports == sorted(supports, reverse=True)
        assert 1 <= sum(supports) <= 3
        assert len(of_row) - sum(supports) <= 1
        assert len({one.text for one in of_row}) == len(of_row)
        good = tier[place] <= Tier.MODERATE.rank
        for one in of_row:
            if not one.features:
                continue
            [fact] = [place for place, fact in enumerate(FACTS) if fact.features == one.features]
            # What is told for a tier moved the model towards it; what is told against it moved it away.
            assert (by_fact[place, fact] > 0) == one.supports
            # "CPL 5.00 against 8.24" is never a reason to call an entity LOW.
            side = FACTS[fact].side(snapshot.evidence)[rows[place]] * (1 if good else -1)
            assert side >= 0 if one.supports else side < 0


def test_samples_and_answers_know_the_same_persistence(account: SimulatedAccount) -> None:
    """What serves where the gate shuts is the very baseline that the gate compares with."""
    panel = panel_of(account)
    samples = sampling.build(panel, SampleSettings())
    day = int(samples.day.max())
    snapshot = AccountSnapshot.of(panel, panel.day(day))
    of_day = samples.where(samples.day == day)
    np.testing.assert_array_equal(of_day.persistence, snapshot.persistence[of_day.entity])
    np.testing.assert_array_equal(of_day.rule, snapshot.rule_tier[of_day.entity])
