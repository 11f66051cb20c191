"""Every change type reaches every verdict on simulated accounts whose truth is known."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.entities import EntityType
from adsml_common.domain.metrics import Metric
from adsml_common.serving.messages import METRIC
from adsml_impact.analysis.query import AccountData, ImpactQuery, Options
from adsml_impact.analysis.tree import Relation, Tree
from adsml_impact.analysis.verdict import VERDICT, Verdict
from adsml_simulate import AccountSettings, PlannedChange, SimulatedAccount, simulate_account
from support.impact import report_of

LAST = date(2024, 6, 30)
DAY = LAST - timedelta(days=13)
QUIET = AccountSettings(
    last_day=LAST, days=100, campaigns=10, adsets=10, ads=10, shared_budget_share=0.0, late_start_share=0.0,
    early_end_share=0.0, daily_budget=4000.0, budget_sd=0.2, conversion_rate_sd=0.0, ctr_sd=0.0, cpm_sd=0.0,
    drift_sd=0.0, market_price_sd=0.01, market_conversion_sd=0.01, conversion_noise_sd=0.02, click_noise_sd=0.02,
    price_noise_sd=0.02, pacing_sd=0.02, weekly_season=0.5, learning_penalty=0.0, fatigue=0.0,
    price_elasticity=0.0, saturation_elasticity=0.0, lag=(1.0,),
)  # fmt: skip
"""Ten like ad sets with plenty of leads and little noise: a small effect shows."""
CALM = replace(QUIET, daily_budget=40_000.0, conversion_noise_sd=0.005)
"""With so many leads that CPL stands still within a few percent."""
NOISY = replace(
    QUIET, daily_budget=60.0, conversion_noise_sd=0.6, click_noise_sd=0.4, market_conversion_sd=0.3,
    autocorrelation=0.8,
)  # fmt: skip
"""The same with few leads and much noise: nothing shows."""

CREATIVE, AUDIENCE, BUDGET = ChangeType.CREATIVE_CHANGE, ChangeType.AUDIENCE_CHANGE, ChangeType.BUDGET_CHANGE
PAUSE, REACTIVATE = ChangeType.PAUSE, ChangeType.REACTIVATE


SEED = 4


def _changed(settings: AccountSettings, kind: ChangeType, **effect: float) -> tuple[SimulatedAccount, str]:
    """The account with one change of its first ad set; a reactivation ends a long pause."""
    name = simulate_account(settings, seed=SEED).tree.adset_ids[0]
    changes = list(settings.changes)
    if kind is REACTIVATE:
        changes.append(
            PlannedChange(
                entity_type=EntityType.ADSET,
                entity_id=name,
                change_type=PAUSE,
                date=settings.first_day + timedelta(days=2),
            )
        )
    changes.append(
        PlannedChange(
            entity_type=EntityType.ADSET,
            entity_id=name,
            change_type=kind,
            date=DAY,
            restarts_learning=False,
            **effect,
        )  # type: ignore[arg-type]
    )
    return simulate_account(replace(settings, changes=tuple(changes)), seed=SEED), name


def _report(account: SimulatedAccount, name: str, kind: ChangeType) -> pb.ImpactReport:
    daily = account.daily
    tree = {
        (one.ref.entity_type, one.ref.entity_id): Relation(one.parent_id, one.shares_budget)
        for one in account.entities
    }
    rows = daily[daily["entity_type"] == "adset"]
    data = AccountData(rows=rows, tree=Tree(tree, account.changes))
    query = ImpactQuery(
        treated=(name,),
        entity_type=EntityType.ADSET,
        change_type=kind,
        day=DAY,
        options=Options(equivalence_margin=0.1),
    )
    return report_of(query, data)


def _truth(account: SimulatedAccount, kind: ChangeType, metric: Metric) -> float:
    """The true effect over 7 days, as a share; of the entity, or of the account for a pause."""
    number = next(k for k, event in enumerate(account.changes) if event.date == DAY)
    effects = account.truth.effects
    scope = "account" if kind in (PAUSE, REACTIVATE) else "entity"
    row = effects[
        (effects["change"] == number)
        & (effects["scope"] == scope)
        & (effects["days"] == 7)
        & (effects["metric"] == metric.value)
    ]
    return float(row["relative"].iloc[0])


# For a pause the paused ad set must differ: its own conversion rate is raised or lowered beforehand, by an
# audience change long before the baseline.
def _with_quality(settings: AccountSettings, lift: float) -> AccountSettings:
    name = simulate_account(settings, seed=SEED).tree.adset_ids[0]
    early = PlannedChange(
        entity_type=EntityType.ADSET,
        entity_id=name,
        change_type=AUDIENCE,
        date=settings.first_day + timedelta(days=1),
        conversion_rate_lift=lift,
        restarts_learning=False,
    )
    return replace(settings, changes=(early,), random_changes=None)


CASES = [
    (CREATIVE, Verdict.POSITIVE, QUIET, {"ctr_lift": 0.3}),
    (CREATIVE, Verdict.NEGATIVE, QUIET, {"ctr_lift": -0.3}),
    (CREATIVE, Verdict.NEUTRAL, QUIET, {}),
    (CREATIVE, Verdict.INCONCLUSIVE, NOISY, {"ctr_lift": 0.05}),
    (AUDIENCE, Verdict.POSITIVE, QUIET, {"conversion_rate_lift": 0.4}),
    (AUDIENCE, Verdict.NEGATIVE, QUIET, {"conversion_rate_lift": -0.3}),
    (AUDIENCE, Verdict.NEUTRAL, CALM, {}),
    (AUDIENCE, Verdict.INCONCLUSIVE, NOISY, {"conversion_rate_lift": 0.05}),
    (BUDGET, Verdict.POSITIVE, replace(QUIET, saturation_elasticity=0.5), {"budget_ratio": 0.4}),
    (BUDGET, Verdict.NEGATIVE, replace(QUIET, saturation_elasticity=0.5), {"budget_ratio": 2.0}),
    (BUDGET, Verdict.NEUTRAL, CALM, {"budget_ratio": 1.5}),
    (BUDGET, Verdict.INCONCLUSIVE, NOISY, {"budget_ratio": 1.2}),
]


@pytest.mark.parametrize(("kind", "verdict", "settings", "effect"), CASES)
def test_changes_of_an_entity(
    kind: ChangeType, verdict: Verdict, settings: AccountSettings, effect: dict[str, float]
) -> None:
    account, name = _changed(settings, kind, **effect)

    report = _report(account, name, kind)

    assert report.verdict == VERDICT.to_wire(verdict)
    primary = report.effects[0]
    truth = _truth(account, kind, METRIC.from_wire(report.primary_metric, ""))
    assert primary.relative_interval.lower <= truth <= primary.relative_interval.upper
    _check_story(report, verdict, truth)


@pytest.mark.parametrize("kind", [PAUSE, REACTIVATE])
@pytest.mark.parametrize(
    ("verdict", "quality", "settings"),
    [
        # Half the account's money goes to the ad set: without it the account's CPL moves.
        (Verdict.POSITIVE, -0.7, QUIET),
        (Verdict.NEGATIVE, 2.0, QUIET),
        (Verdict.NEUTRAL, 0.0, QUIET),
        (Verdict.INCONCLUSIVE, 0.0, NOISY),
    ],
)
def test_pause_and_reactivation(
    kind: ChangeType, verdict: Verdict, quality: float, settings: AccountSettings
) -> None:
    few = replace(settings, campaigns=3, adsets=3, ads=3, budget_sd=0.0)
    lifted = quality if kind is PAUSE else (1 / (1 + quality) - 1 if quality else 0.0)
    made = _with_quality(few, lifted) if lifted else few
    account, name = _changed(made, kind)

    report = _report(account, name, kind)

    assert report.verdict == VERDICT.to_wire(verdict)
    assert report.effects[0].scope == pb.EFFECT_SCOPE_ACCOUNT
    assert report.manipulation_check.passed
    truth = _truth(account, kind, Metric.CPL)
    _check_story(report, verdict, truth)


def _check_story(report: pb.ImpactReport, verdict: Verdict, truth: float) -> None:
    """Verdict, truth and words agree."""
    good_when_it_falls = report.primary_metric == METRIC.to_wire(Metric.CPL)
    if verdict in (Verdict.POSITIVE, Verdict.NEGATIVE):
        assert (truth < 0) == (good_when_it_falls == (verdict is Verdict.POSITIVE))
        assert (" rose by " in report.recommendation.split(". ")[0]) == (truth > 0)
    if verdict is Verdict.NEUTRAL:
        assert abs(truth) < 0.1
    if verdict is Verdict.INCONCLUSIVE:
        assert "With 7 days after" in report.recommendation
        assert report.detectable_effect.HasField("target_relative")
    assert report.recommendation.endswith(".")
