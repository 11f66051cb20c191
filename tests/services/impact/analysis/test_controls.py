"""Who may stand in for the treated, and days that spoil a comparison: each fault once gave a wrong verdict."""

from datetime import timedelta

import numpy as np
import pytest
from adsml.common.v1 import change_pb2, warning_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.metrics import Metric
from adsml_common.serving.messages import day
from adsml_impact.analysis.change import analyse
from adsml_impact.analysis.query import AccountData, Options
from adsml_impact.analysis.tree import Key, Relation, Tree
from support.impact import FIRST, ask, effect_of, known, make_account, report_of

LEADS = Options(primary_metric=Metric.LEADS)
ADS = 3


def _tree(units: int = 12) -> dict[Key, Relation]:
    """Ad sets with `ADS` ads each."""
    return {
        (EntityType.AD, f"{k:03d}-{a}"): Relation(f"{k:03d}") for k in range(units) for a in range(ADS)
    } | {(EntityType.ADSET, f"{k:03d}"): Relation("C") for k in range(units)}


def _ad(name: str, at: int, kind: ChangeType = ChangeType.CREATIVE_CHANGE) -> ChangeEvent:
    return ChangeEvent(EntityRef(1, EntityType.AD, name), kind, FIRST + timedelta(days=at))


def _messages(report: pb.ImpactReport, kind: int) -> str:
    return " ".join(one.message for one in report.warnings if one.type == kind)


def test_new_ads_of_the_treated_are_a_change_of_their_own() -> None:
    """All ads replaced a day later gave POSITIVE -76% to the budget, and advice to raise it again."""
    account = make_account()
    account.leads[0, 78:] *= 3
    events = [_ad(f"000-{a}", 78) for a in range(ADS)]
    report = report_of(
        ask(change_type=ChangeType.BUDGET_CHANGE), known(account, relations=_tree(), events=events)
    )
    assert "creative change of 3 ads" in _messages(report, warning_pb2.WARNING_TYPE_OTHER_CHANGES)
    assert "Do not credit the budget change" in report.recommendation
    assert "another step" not in report.recommendation


def test_controls_whose_ads_were_replaced_are_none() -> None:
    """All ads of every control replaced gave NEGATIVE +98%."""
    account = make_account()
    account.leads[1:8, 77:] *= 2
    events = [_ad(f"{k:03d}-{a}", 77) for k in range(1, 8) for a in range(ADS)]
    report = report_of(ask(), known(account, relations=_tree(), events=events))
    assert {one.entity.entity_id for one in report.controls} == {f"{k:03d}" for k in range(8, 12)}
    assert report.verdict in (change_pb2.VERDICT_NEUTRAL, change_pb2.VERDICT_INCONCLUSIVE)
    excluded = [(one.entity.entity_id, one.reason) for one in report.excluded_controls]
    assert ("001", "3 of its ads were changed, first on 2024-05-20") in excluded


def test_one_ad_of_many_does_not_make_a_control_unusable() -> None:
    relations: dict[Key, Relation] = {(EntityType.AD, f"ad{a}"): Relation("001") for a in range(10)}
    tree = Tree(relations, [_ad("ad0", 77)])
    first, last = FIRST, FIRST + timedelta(days=90)
    assert tree.changed_share((EntityType.ADSET, "001"), first, last) == pytest.approx(0.1)
    assert tree.fault((EntityType.ADSET, "001"), (), first, last) is None


@pytest.mark.parametrize(
    ("rows", "given", "stop"), [(True, True, 77), (False, True, 79), (True, False, 81), (False, False, 77)]
)
def test_controls_that_stop_after_the_change_are_left_out_and_named(
    *, rows: bool, given: bool, stop: int
) -> None:
    """Kept as zeros they biased the effect by 11 to 59%."""
    account = make_account()
    keep = np.ones(account.spend.shape, dtype=bool)
    for values in (account.spend, account.impressions, account.clicks, account.leads):
        values[1:5, stop:] = 0
    keep[1:5, stop:] = rows
    controls = [f"{k:03d}" for k in range(1, 12)] if given else []
    data = known(account)
    object.__setattr__(data, "rows", account.rows(keep=keep))
    report = report_of(ask(controls=controls, options=LEADS), data)
    stopped = FIRST + timedelta(days=stop)
    assert {one.entity.entity_id for one in report.controls} == {f"{k:03d}" for k in range(5, 12)}
    assert f"001 stopped delivering on {stopped}" in _messages(
        report, warning_pb2.WARNING_TYPE_CONTAMINATED_CONTROLS
    )
    assert abs(report.effects[0].relative) < 0.1


def test_weekends_without_delivery_are_no_stop() -> None:
    account = make_account()
    weekend = np.arange(account.days) % 7 >= 5
    for values in (account.spend, account.impressions, account.clicks, account.leads):
        values[1, weekend] = 0
    report = report_of(ask(), known(account))
    assert "001" in {one.entity.entity_id for one in report.controls}


def test_controls_with_next_to_no_leads_say_nothing_about_leads() -> None:
    """They gave an absurd POSITIVE."""
    account = make_account()
    account.leads[1:] = np.random.default_rng(0).poisson(0.1, account.leads[1:].shape)
    report = report_of(ask(options=LEADS), known(account))
    assert report.answered_by.method == "structural"
    assert "0 usable controls with enough leads" in report.answered_by.reason
    assert report.verdict in (change_pb2.VERDICT_NEUTRAL, change_pb2.VERDICT_INCONCLUSIVE)
    # Their clicks are many: what rests on clicks is compared with them.
    by_clicks = report_of(ask(change_type=ChangeType.CREATIVE_CHANGE), known(account))
    assert by_clicks.answered_by.method == "pooled_placebo"


@pytest.mark.parametrize(
    ("unit", "times", "at"),
    [(0, 10.0, 30), (0, 100.0, 60), (0, 10.0, 75), (0, 0.0, 60), (1, 100.0, 60), (1, 10.0, 75)],
)
def test_one_bad_day_changes_no_answer(unit: int, times: float, at: int) -> None:
    account = make_account(daily_leads=40)
    account.leads[0, 77:] = (account.leads[0, 77:] / 0.6).round()
    plain = report_of(ask(), known(account))
    account.leads[unit, at] *= times
    report = report_of(ask(), known(account))

    assert report.verdict == plain.verdict == change_pb2.VERDICT_POSITIVE
    assert report.effects[0].relative == pytest.approx(plain.effects[0].relative, abs=0.05)
    days = {(one.entity.entity_id, day(one.date, "")) for one in report.outlier_days}
    assert (f"{unit:03d}", FIRST + timedelta(days=at)) in days or unit == 1
    if unit == 0:
        assert "leads of the treated on" in _messages(report, warning_pb2.WARNING_TYPE_OUTLIERS)


def test_a_day_on_which_all_moved_is_no_fault() -> None:
    account = make_account()
    account.leads[:, 40] *= 6
    assert not report_of(ask(), known(account)).outlier_days


def test_an_effect_is_no_outlier() -> None:
    account = make_account()
    account.leads[0, 77:] *= 8
    report = report_of(ask(options=LEADS), known(account))
    assert not report.outlier_days
    assert report.effects[0].relative == pytest.approx(7, abs=0.5)


def test_money_spent_on_purpose_is_neither_good_nor_bad() -> None:
    account = make_account()
    for values in (account.spend, account.impressions, account.clicks, account.leads):
        values[0, 77:] *= 2
    query = ask(change_type=ChangeType.BUDGET_CHANGE, value_before=100.0, value_after=200.0)
    report = report_of(query, known(account))
    spend = effect_of(report, Metric.SPEND)
    assert not spend.HasField("verdict")
    assert spend.relative == pytest.approx(1, abs=0.1)
    assert report.verdict in (change_pb2.VERDICT_NEUTRAL, change_pb2.VERDICT_INCONCLUSIVE)


def test_placebos_that_overlap_recorded_changes_are_struck_out() -> None:
    account = make_account()
    account.leads[1:7, 60:67] *= 3
    plain = analyse(ask(options=LEADS), known(account))
    events = [
        ChangeEvent(EntityRef(1, EntityType.ADSET, f"{k:03d}"), kind, FIRST + timedelta(days=at))
        for k in range(1, 7)
        for kind, at in ((ChangeType.REACTIVATE, 60), (ChangeType.AUDIENCE_CHANGE, 62))
    ]
    struck = analyse(ask(options=LEADS), known(account, events=events))
    few, all_of_them = struck.effect.comparison, plain.effect.comparison
    assert few.studentised.size < all_of_them.studentised.size
    assert few.size < all_of_them.size


def test_leads_that_are_still_coming_in_make_no_effect() -> None:
    """With late leads taken as they are, placebo changes showed effects on cost per lead of +4 to +11%."""
    shares = (0.5, 0.65, 0.75, 0.85, 0.9, 0.95, 0.98)
    effects = []
    for seed in range(6):
        account = make_account(seed, days=84)
        for age, share in enumerate(shares):
            account.leads[:, 83 - age] *= share
        report = report_of(ask(), known(account, completion=shares))
        effects.append(report.effects[0].relative)
        assert "50% of its leads so far" in _messages(report, warning_pb2.WARNING_TYPE_INCOMPLETE_DAYS)
    assert np.mean(effects) == pytest.approx(0, abs=0.015)


def test_people_read_names_and_ids_only_where_no_name_is_known() -> None:
    """A recommendation spoke of "campaign 3"."""
    relations = _tree() | {
        (EntityType.AD, "000-0"): Relation("000", name="Blue shoes"),
        (EntityType.ADSET, "001"): Relation("B", name="Lookalike, 3%"),
        (EntityType.ADSET, "002"): Relation("B"),
        (EntityType.CAMPAIGN, "B"): Relation(name="Summer sale"),
    }
    campaign = EntityRef(1, EntityType.CAMPAIGN, "B")
    events = [
        _ad("000-0", 78),
        _ad("000-1", 79),
        ChangeEvent(campaign, ChangeType.BUDGET_CHANGE, FIRST + timedelta(days=76)),
    ]
    account = make_account()
    controls = ["001", "002", *(f"{k:03d}" for k in range(3, 12))]
    report = report_of(ask(controls=controls), known(account, relations=relations, events=events))
    others = 'creative change of ad "Blue shoes" on 2024-05-21; creative change of ad 000-1 on 2024-05-22'
    assert f"all changes of these days together: {others}." in report.recommendation
    assert others in _messages(report, warning_pb2.WARNING_TYPE_OTHER_CHANGES)
    reasons = {one.entity.entity_id: one.reason for one in report.excluded_controls}
    assert reasons["001"] == reasons["002"] == 'its campaign "Summer sale" was changed on 2024-05-19'
    left_out = _messages(report, warning_pb2.WARNING_TYPE_CONTAMINATED_CONTROLS)
    assert '"Lookalike, 3%" its campaign "Summer sale" was changed' in left_out
    assert '002 its campaign "Summer sale" was changed' in left_out


def test_too_few_controls_say_why_others_are_none() -> None:
    """It read "1 delivered", and "3 3" of three with three ads changed each."""
    account = make_account(units=8)
    keep = np.ones(account.spend.shape, dtype=bool)
    keep[1, 30:70] = False
    events = [_ad(f"{k:03d}-{a}", 77) for k in (2, 3, 4) for a in range(ADS)]
    data = AccountData(rows=account.rows(keep=keep), tree=Tree(_tree(8), events))
    message = _messages(report_of(ask(), data), warning_pb2.WARNING_TYPE_FEW_CONTROLS)
    assert "only 3 entities to compare with (3 changed, 1 rarely delivering)" in message
