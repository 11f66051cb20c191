"""From stored days to a registered model: refusals, the gate's word, and what people say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from adsml_classifier.artifacts import FAMILY, account_model, from_files
from adsml_classifier.models import features
from adsml_classifier.models.labels import Judgement, LabelMode
from adsml_classifier.models.panel import Panel
from adsml_classifier.training import job, sampling
from adsml_classifier.training.candidate import learn
from adsml_classifier.training.job import AccountTrainer, items_of, train_account
from adsml_classifier.training.recipe import SampleSettings
from adsml_common.database import Database
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InsufficientHistory
from adsml_common.domain.tiers import Tier
from adsml_common.registry.registry import ModelRegistry
from adsml_common.store.feedback import Feedback, FeedbackStore
from adsml_common.store.metrics import MetricStore
from adsml_common.training.records import ItemStatus
from adsml_common.training.runs import TrainingRuns
from adsml_simulate import AccountSettings, SimulatedAccount, simulate_account

from ..accounts import days_of, frame_of, tree_of
from ..conftest import LAST_DAY, QUICK, train


def outcomes(database: Database, run_id: str) -> dict[str, tuple[ItemStatus, str]]:
    return {one.key: (one.status, one.reason) for one in TrainingRuns(database).items(run_id)}


def test_a_trained_account_has_both_models_with_the_gates_word(
    stored: Database, registry: ModelRegistry
) -> None:
    assert train(stored, registry, "first").exit_status == 0
    for name in ("classifier/1", "classifier/1/global"):
        version = registry.get(name, 1)
        gate = version.training_metrics["gate"]
        assert gate["decision"] in ("passed", "rejected")
        assert "F1" in gate["reason"]
        assert version.feature_columns == features.NAMES
        for figure in ("weighted_f1", "macro_f1", "ece", "persistence", "rule", "by_origin", "label_mode"):
            assert figure in version.training_metrics
        from_files(registry.read(version).files)


def test_with_few_campaigns_both_models_are_learnt_at_once_unless_a_row_has_changed(
    stored: Database, registry: ModelRegistry, account: SimulatedAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(*args: Any, **rest: Any) -> Any:
        calls.append(rest["what"])
        return learn(*args, **rest)

    monkeypatch.setattr(job, "learn", counted)
    trainer = AccountTrainer(stored, registry, run_id="run", recipe=QUICK)
    own, new = items_of([1])
    trainer(own)
    trainer(new)
    assert len(calls) == 1
    files = [registry.read(registry.get(name, 1)).files for name in ("classifier/1", "classifier/1/global")]
    assert files[0] == files[1]
    rows = account.daily[account.daily["entity_type"] == "campaign"]
    MetricStore(stored).upsert_daily(1, rows.assign(leads=rows["leads"] + 1), source="test")
    trainer(new)
    assert len(calls) == 2


def test_too_few_samples_skip_the_account_and_say_what_there_is(
    database: Database, registry: ModelRegistry
) -> None:
    few = frame_of(*(days_of(str(n), spend=[50.0] * 12, leads=[2.0] * 12) for n in range(3)))
    MetricStore(database).upsert_daily(1, few, source="test")
    run = train(database, registry, "few")
    assert run.exit_status == 0
    status, reason = outcomes(database, run.run_id)["1"]
    assert status is ItemStatus.SKIPPED
    assert "account 1 (3 entities, 2026-01-05 to 2026-01-16" in reason
    assert "and needs 30" in reason
    assert registry.list() == []


@pytest.mark.parametrize("leads", [0.0, 2.0])
def test_an_account_of_one_tier_or_without_leads_is_skipped_with_the_reason(
    database: Database, registry: ModelRegistry, leads: float
) -> None:
    """Everybody alike: all at the account's CPL, or nobody with a lead."""
    alike = frame_of(*(days_of(str(n), spend=[50.0] * 60, leads=[leads] * 60) for n in range(5)))
    MetricStore(database).upsert_daily(1, alike, source="test")
    run = train(database, registry, "alike")
    assert run.exit_status == 0
    tier = "moderate" if leads else "underperformer"
    status, reason = outcomes(database, run.run_id)["1"]
    assert status is ItemStatus.SKIPPED
    assert f"samples are {tier}: there is nothing to tell apart" in reason


def test_an_account_without_rows_is_skipped(database: Database, registry: ModelRegistry) -> None:
    trainer = AccountTrainer(database, registry, run_id="r", recipe=QUICK)
    with pytest.raises(InsufficientHistory, match="0 daily rows"):
        trainer(items_of([9])[0])


def test_the_next_model_is_held_against_the_one_that_serves(
    stored: Database, registry: ModelRegistry
) -> None:
    train(stored, registry, "first")
    first = registry.get("classifier/1", 1)
    registry.activate(first.name, 1, actor="test", reason="serve it")
    train(stored, registry, "second")
    gate = registry.get("classifier/1", 2).training_metrics["gate"]
    # The same data and recipe: as good, so the newer one would serve, unless a baseline is better.
    assert "classifier/1 version 1" in gate["reason"] or gate["decision"] == "rejected"


def test_feedback_against_the_rule_changes_the_next_model(
    account: SimulatedAccount, stored: Database, registry: ModelRegistry
) -> None:
    """A person calls the worst ad sets high performers, week after week: the next model leans their way."""
    frame, tree = account.daily, tree_of(account)
    before = train_account(frame, tree, QUICK, what="account 1")
    panel = Panel.of(frame, entities=tree)
    day = np.array([len(panel.days) - 1])
    x = features.compute(panel, day)[:, :, 0].T
    likely = before.stored.model.probabilities(np.ascontiguousarray(x))
    worst = np.argsort(-likely[:, Tier.UNDERPERFORMER.rank])[:6]
    for row in worst:
        kind, name = panel.keys[row]
        ref = EntityRef(1, EntityType(kind), name)
        for back in range(0, 56, 7):
            told = Feedback(FAMILY, ref, LAST_DAY - timedelta(days=back), "ada", Tier.HIGH_PERFORMER.value)
            assert FeedbackStore(stored).record(told)[0]
    train(stored, registry, "after")
    version = registry.get(account_model(1), 1)
    assert version.training_metrics["samples_by_person"] > 6 * 8
    after = from_files(registry.read(version).files).model.probabilities(np.ascontiguousarray(x))
    rise = after[worst, Tier.HIGH_PERFORMER.rank] - likely[worst, Tier.HIGH_PERFORMER.rank]
    assert rise.mean() > 0.2
    assert (after[worst].argmax(axis=1) != Tier.UNDERPERFORMER.rank).sum() >= 3


def test_a_word_of_today_enters_the_next_model(account: SimulatedAccount) -> None:
    """It needs no outcome, so it does not wait for one."""
    frame, tree = account.daily, tree_of(account)
    kind, name = Panel.of(frame).keys[5]
    said = [Judgement(kind, name, LAST_DAY, Tier.HIGH_PERFORMER, datetime(2026, 4, 1, tzinfo=UTC))]
    result = train_account(frame, tree, QUICK, what="account 1", judgements=said)
    assert result.metrics["samples_by_person"] == sampling.JUDGEMENT_REACH_DAYS + 1


def test_same_window_models_are_marked(account: SimulatedAccount) -> None:
    recipe = replace(QUICK, sampling=SampleSettings(mode=LabelMode.SAME_WINDOW))
    result = train_account(account.daily, tree_of(account), recipe, what="account 1")
    assert result.metrics["label_mode"] == "same_window"
    assert result.stored.mode is LabelMode.SAME_WINDOW
    assert "same-window labels" in result.decision.reason


@pytest.fixture(scope="module")
def wide() -> SimulatedAccount:
    """An account of 12 campaigns."""
    settings = AccountSettings(
        last_day=LAST_DAY, days=80, campaigns=12, adsets=24, ads=36, daily_budget=300.0
    )
    return simulate_account(settings, seed=5)


def test_a_model_for_new_entities_learns_from_ten_campaigns_or_more_and_is_checked_on_the_others(
    wide: SimulatedAccount, account: SimulatedAccount
) -> None:
    result = train_account(wide.daily, tree_of(wide), QUICK, what="account 1", for_new=True)
    assert result.stored.trained_on == (EntityType.CAMPAIGN,)
    check = result.metrics["transfer"]
    assert check["confidence_factor"] == 0.85
    assert check["rescales"] == (check["rescaled"]["log_loss"] < check["plain"]["log_loss"])
    assert bool(result.stored.levels) == check["rescales"]
    # Four campaigns are too few: all levels.
    narrow = train_account(account.daily, tree_of(account), QUICK, what="account 1", for_new=True)
    assert set(narrow.stored.trained_on) == set(EntityType)
    assert "transfer" not in narrow.metrics
