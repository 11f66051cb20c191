"""Who may stand in for the treated, and days that spoil a comparison: each fault once gave a wrong verdict."""

from datetime import timedelta

import numpy as np
import pytest
from adsml.common.v1 import warning_pb2
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.metrics import Metric
from adsml_impact.analysis.change import analyse
from adsml_impact.analysis.query import Options
from adsml_impact.analysis.report import ImpactReport
from adsml_impact.analysis.tree import Key, Relation, Tree
from adsml_impact.analysis.verdict import Verdict
from support.impact import FIRST, ask, known, make_account

LEADS = Options(primary_metric=Metric.LEADS)
ADS = 3


def _tree(units: int = 12) -> dict[Key, Relation]:
    """Ad sets with `ADS` ads each."""
    return {
        (EntityType.AD, f"{k:03d}-{a}"): Relation(f"{k:03d}") for k in range(units) for a in range(ADS)
    } | {(EntityType.ADSET, f"{k:03d}"): Relation("C") for k in range(units)}


def _ad(name: str, at: int, kind: ChangeType = ChangeType.CREATIVE_CHANGE) -> ChangeEvent:
    return ChangeEvent(EntityRef(1, EntityType.AD, name), kind, FIRST + timedelta(days=at))


def _messages(report: ImpactReport, kind: int) -> str:
    return " ".join(one.message for one in report.warnings if one.type == kind)


def test_new_ads_of_the_treated_are_a_change_of_their_own() -> None:
    """All ads replaced a day later gave POSITIVE -76% to the budget, and advice to raise it again."""
    account = make_account()
    account.leads[0, 78:] *= 3
    events = [_ad(f"000-{a}", 78) for a in range(ADS)]
    report = analyse(
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
    report = analyse(ask(), known(account, relations=_tree(), events=events))
    assert {one.entity_id for one in report.controls} == {f"{k:03d}" for k in range(8, 12)}
    assert report.verdict in (Verdict.NEUTRAL, Verdict.INCONCLUSIVE)
    assert ("001", "3 of its ads were changed, first on 2024-05-20") in report.excluded


def test_one_ad_of_many_does_not_make_a_control_unusable() -> None:
    relations: dict[Key, Relation] = {(EntityType.AD, f"ad{a}"): Relation("001") for a in range(10)}
    tree = Tree(relations, [_ad("ad0", 77)])
    first, last = FIRST, FIRST + timedelta(days=90)
    assert tree.changed_share((EntityType.ADSET, "001"), first, last) == pytest.approx(0.1)
    assert tree.taint((EntityType.ADSET, "001"), (), first, last) is None


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
    report = analyse(ask(controls=controls, options=LEADS), data)
    day = FIRST + timedelta(days=stop)
    assert {one.entity_id for one in report.controls} == {f"{k:03d}" for k in range(5, 12)}
    assert f"001 stopped delivering on {day}" in _messages(
        report, warning_pb2.WARNING_TYPE_CONTAMINATED_CONTROLS
    )
    assert report.primary.effect is not None
    assert abs(report.primary.effect.relative) < 0.1


def test_weekends_without_delivery_are_no_stop() -> None:
    account = make_account()
    weekend = np.arange(account.days) % 7 >= 5
    for values in (account.spend, account.impressions, account.clicks, account.leads):
        values[1, weekend] = 0
    report = analyse(ask(), known(account))
    assert "001" in {one.entity_id for one in report.controls}


def test_controls_with_next_to_no_leads_say_nothing_about_leads() -> None:
    """They gave an absurd POSITIVE."""
    account = make_account()
    account.leads[1:] = np.random.default_rng(0).poisson(0.1, account.leads[1:].shape)
    report = analyse(ask(options=LEADS), known(account))
    assert report.estimator == "structural"
    assert "0 usable controls with enough leads" in report.estimator_reason
    assert report.verdict in (Verdict.NEUTRAL, Verdict.INCONCLUSIVE)
    # Their clicks are many: what rests on clicks is compared with them.
    by_clicks = analyse(ask(change_type=ChangeType.CREATIVE_CHANGE), known(account))
    assert by_clicks.estimator == "pooled_placebo"


@pytest.mark.parametrize(
    ("unit", "times", "at"),
    [(0, 10.0, 30), (0, 100.0, 60), (0, 10.0, 75), (0, 0.0, 60), (1, 100.0, 60), (1, 10.0, 75)],
)
def test_one_bad_day_changes_no_answer(unit: int, times: float, at: int) -> None:
    account = make_account(daily_leads=40)
    account.leads[0, 77:] = (account.leads[0, 77:] / 0.6).round()
    plain = analyse(ask(), known(account))
    account.leads[unit, at] *= times
    report = analyse(ask(), known(account))

    one, other = plain.primary.effect, report.primary.effect
    assert one is not None
    assert other is not None
    assert report.verdict is plain.verdict is Verdict.POSITIVE
    assert other.relative == pytest.approx(one.relative, abs=0.05)
    days = {(one.entity_id or "000", one.date) for one in report.outliers}
    assert (f"{unit:03d}", FIRST + timedelta(days=at)) in days or unit == 1
    if unit == 0:
        assert "leads of the treated on" in _messages(report, warning_pb2.WARNING_TYPE_OUTLIERS)


def test_a_day_on_which_all_moved_is_no_fault() -> None:
    account = make_account()
    account.leads[:, 40] *= 6
    assert analyse(ask(), known(account)).outliers == ()


def test_an_effect_is_no_outlier() -> None:
    account = make_account()
    account.leads[0, 77:] *= 8
    report = analyse(ask(options=LEADS), known(account))
    assert report.outliers == ()
    assert report.primary.effect is not None
    assert report.primary.effect.relative == pytest.approx(7, abs=0.5)


def test_money_spent_on_purpose_is_neither_good_nor_bad() -> None:
    account = make_account()
    for values in (account.spend, account.impressions, account.clicks, account.leads):
        values[0, 77:] *= 2
    query = ask(change_type=ChangeType.BUDGET_CHANGE, value_before=100.0, value_after=200.0)
    report = analyse(query, known(account))
    spend = next(one for one in report.metrics if one.metric is Metric.SPEND)
    assert spend.verdict is None
    assert spend.effect is not None
    assert spend.effect.relative == pytest.approx(1, abs=0.1)
    assert report.verdict in (Verdict.NEUTRAL, Verdict.INCONCLUSIVE)


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
    assert plain.primary.effect is not None
    assert struck.primary.effect is not None
    few, all_of_them = struck.primary.effect.comparison, plain.primary.effect.comparison
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
        report = analyse(ask(), known(account, completion=shares))
        assert report.primary.effect is not None
        effects.append(report.primary.effect.relative)
        assert "50% of its leads so far" in _messages(report, warning_pb2.WARNING_TYPE_INCOMPLETE_DAYS)
    assert np.mean(effects) == pytest.approx(0, abs=0.015)
