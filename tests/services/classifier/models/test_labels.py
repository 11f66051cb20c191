"""Labels come from the week that followed, from complete days only, and from people first."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from adsml_classifier.models import labels, rule
from adsml_classifier.models.labels import Judgement, LabelMode
from adsml_classifier.models.panel import Panel
from adsml_common.domain.tiers import Tier

from ..accounts import START, week_panel

REST = ([1000.0] * 21, [100.0] * 21)
DAYS = np.arange(6, 21)


def from_data(panel: Panel, *, mode: LabelMode = LabelMode.OUTCOME, last: int = 20) -> labels.Labels:
    return labels.from_data(panel, DAYS, mode=mode, last_complete=last)


def judgement(day: int, tier: Tier, *, hour: int = 0, entity_id: str = "one") -> Judgement:
    said = datetime(2026, 2, 1, hour, tzinfo=UTC)
    return Judgement("adset", entity_id, START + timedelta(days=day), tier, said)


def test_an_outcome_is_the_tier_of_the_next_seven_days() -> None:
    """A week at half the account's CPL of 10, then a week without leads: as of day 6 the outcome is the second."""
    panel = week_panel({"one": ([10.0] * 21, [2.0] * 7 + [0.0] * 7 + [2.0] * 7), "rest": REST})
    row = panel.rows_of([("adset", "one")])[0]
    found = from_data(panel).tier[row]
    assert found[0] == Tier.UNDERPERFORMER.rank
    assert found[7] == Tier.HIGH_PERFORMER.rank
    # From as-of day 14 on the week that follows is not over.
    assert found[8:].tolist() == [-1] * 7


def test_same_window_labels_are_the_rule_itself() -> None:
    panel = week_panel({"one": ([10.0] * 21, [2.0] * 7 + [0.0] * 7 + [2.0] * 7), "rest": REST})
    found = from_data(panel, mode=LabelMode.SAME_WINDOW)
    np.testing.assert_array_equal(found.tier, rule.tiers(panel, DAYS))


@pytest.mark.parametrize("lag", [0, 1, 5])
def test_no_label_looks_at_days_that_are_still_filling_up(lag: int) -> None:
    panel = week_panel({"one": ([10.0] * 21, [2.0] * 21), "rest": REST})
    labelled = DAYS[(from_data(panel, last=20 - lag).tier >= 0).any(axis=0)]
    assert labelled.max() + rule.DAYS == 20 - lag


def test_a_week_without_spend_or_with_too_little_is_no_outcome_and_is_counted() -> None:
    panel = week_panel(
        {
            "stopped": ([10.0] * 7 + [0.0] * 14, [1.0] * 7 + [0.0] * 14),
            "lucky": ([0.5] * 21, [1.0] * 21),
            "rest": REST,
        }
    )
    found = from_data(panel)
    stopped, lucky = panel.rows_of([("adset", "stopped"), ("adset", "lucky")])
    assert found.no_delivery[stopped, 0]
    # 3.50 a week is below 1.5 times the CPL of 10, and leads do not make it count.
    assert found.immaterial[lucky, 0]
    assert (found.tier[[stopped, lucky], 0] == -1).all()


def test_a_persons_word_beats_the_data_around_its_day_and_needs_no_outcome() -> None:
    panel = week_panel({"one": ([10.0] * 21, [0.0] * 21), "rest": REST})
    row = panel.rows_of([("adset", "one")])[0]
    said = [judgement(20, Tier.HIGH_PERFORMER)]
    found = labels.with_judgements(from_data(panel), panel, DAYS, said, reach_days=3)
    assert found.tier[row, DAYS >= 17].tolist() == [Tier.HIGH_PERFORMER.rank] * 4
    assert found.by_person[row].sum() == 4
    assert found.tier[row, 0] == Tier.UNDERPERFORMER.rank


def test_the_nearest_word_counts_and_of_two_on_a_day_the_last() -> None:
    panel = week_panel({"one": ([10.0] * 21, [0.0] * 21), "rest": REST})
    row = panel.rows_of([("adset", "one")])[0]
    said = [
        judgement(14, Tier.LOW),
        judgement(10, Tier.MODERATE, hour=2),
        judgement(10, Tier.HIGH_PERFORMER, hour=1),
    ]
    found = labels.with_judgements(from_data(panel), panel, DAYS, said, reach_days=3)
    by_day = dict(zip(DAYS.tolist(), found.tier[row].tolist(), strict=True))
    assert by_day[10] == by_day[11] == by_day[7] == Tier.MODERATE.rank
    # As near to both: the later one.
    assert by_day[12] == Tier.LOW.rank
    assert by_day[17] == Tier.LOW.rank


def test_words_about_strangers_and_other_times_change_nothing() -> None:
    panel = week_panel({"one": ([10.0] * 21, [1.0] * 21), "rest": REST})
    before = from_data(panel)
    said = [judgement(10, Tier.LOW, entity_id="stranger"), judgement(-400, Tier.LOW)]
    after = labels.with_judgements(before, panel, DAYS, said, reach_days=3)
    np.testing.assert_array_equal(after.tier, before.tier)
    assert not after.by_person.any()
