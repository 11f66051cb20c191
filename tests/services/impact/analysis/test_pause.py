"""A pause is not bad because spend fell: the account decides, and the money is followed."""

from dataclasses import replace

import numpy as np
import pytest
from adsml.common.v1 import change_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.metrics import Metric
from adsml_impact.analysis.change import analyse
from adsml_impact.analysis.query import AccountData
from adsml_impact.analysis.verdict import Verdict, judge_account
from adsml_impact.models.effect import Effect
from support.impact import Account, ask, effect_of, known, make_account, report_of

PAUSE = ask(change_type=ChangeType.PAUSE)


def _paused(account: Account, *, to: int | None = None) -> Account:
    """The first ad set stops on day 77; its money goes to another one, or nowhere."""
    if to is not None:
        ratio = account.spend[0, 77:] / account.spend[to, 77:]
        for values in (account.spend, account.impressions, account.clicks, account.leads):
            values[to, 77:] = np.rint(values[to, 77:] * (1 + ratio))
    for values in (account.spend, account.impressions, account.clicks, account.leads):
        values[0, 77:] = 0
    return account


def test_leads_that_fall_in_proportion_to_spend_are_no_verdict() -> None:
    account = make_account(noise=0.01)
    # It pays for a lead what the others pay, so that nothing but volume goes with it.
    account.leads[0] = np.rint(
        account.spend[0] * account.leads[1:].sum(axis=0) / account.spend[1:].sum(axis=0)
    )

    report = report_of(PAUSE, known(_paused(account)))

    assert effect_of(report, Metric.SPEND).relative < -0.05
    assert effect_of(report, Metric.LEADS).relative < -0.05
    assert all(one.scope == pb.EFFECT_SCOPE_ACCOUNT for one in report.effects)
    assert report.verdict != change_pb2.VERDICT_NEGATIVE


def test_the_money_is_followed() -> None:
    report = report_of(PAUSE, known(_paused(make_account(noise=0.01), to=3)))

    first = report.budget_shifts[0]
    assert first.entity.entity_id == "003"
    assert first.share == pytest.approx(1, abs=0.05)
    assert first.cpl_after > 0


def test_a_reactivation_draws_its_money_from_somewhere() -> None:
    account = make_account(noise=0.01)
    before = account.spend[0, 77:].copy()
    for values in (account.spend, account.impressions, account.clicks, account.leads):
        values[0, :77] = 0
    account.spend[4, 77:] -= np.minimum(before * 0.3, account.spend[4, 77:] * 0.9)
    keep = np.ones((12, 90), dtype=bool)
    keep[0, :77] = False

    report = report_of(ask(change_type=ChangeType.REACTIVATE), AccountData(rows=account.rows(keep=keep)))

    assert report.manipulation_check.passed
    assert report.budget_shifts[0].entity.entity_id == "004"
    assert report.budget_shifts[0].spend_per_day < 0
    assert report.budget_shifts[0].share > 0


def test_a_pause_that_did_not_happen_is_seen() -> None:
    report = report_of(PAUSE, known(make_account()))

    assert not report.manipulation_check.passed
    assert "a pause would have brought it to 0" in report.manipulation_check.message


def test_the_accounts_own_rows_are_used_where_they_are_sent() -> None:
    account = make_account(noise=0.01)
    whole = (
        known(account)
        .rows.groupby("date", as_index=False)[["spend", "impressions", "clicks", "leads", "reach"]]
        .sum(min_count=1)
    )
    whole[["spend", "leads"]] *= 3
    report = report_of(PAUSE, AccountData(rows=_paused(account).rows(), account=whole))

    spend = effect_of(report, Metric.SPEND)
    assert spend.before == pytest.approx(3 * account.spend[:, 70:77].sum(axis=0).mean(), rel=1e-6)


def test_leads_decide_where_the_price_can_not_be_told_and_the_money_was_spent_anyway() -> None:
    effect = analyse(PAUSE, known(make_account())).effect
    kept, spent_less = replace(effect, relative=0.02), replace(effect, relative=-0.3)

    def judged(price: Verdict, spend: Effect, *, moved: bool = False) -> Verdict:
        return judge_account(price, Verdict.NEGATIVE, spend=spend, spend_moved=moved, margin=0.1)

    assert judged(Verdict.INCONCLUSIVE, kept) is Verdict.NEGATIVE
    assert judged(Verdict.INCONCLUSIVE, spent_less) is Verdict.INCONCLUSIVE
    assert judged(Verdict.INCONCLUSIVE, kept, moved=True) is Verdict.INCONCLUSIVE
    assert judged(Verdict.NEUTRAL, kept) is Verdict.NEUTRAL
