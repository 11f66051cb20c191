"""The classifier service over gRPC: real server, real stub, real models."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.classifier.v1 import classifier_service_pb2_grpc as pb_grpc
from adsml.common.v1 import answer_pb2, entity_pb2, feedback_pb2, metrics_pb2, tier_pb2, warning_pb2
from adsml.registry.v1 import registry_service_pb2 as registry_pb2
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml.training.v1 import training_service_pb2 as training_pb2
from adsml.training.v1 import training_service_pb2_grpc as training_grpc
from adsml_classifier.settings import ClassifierSettings
from adsml_classifier.training import gate
from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.registry.models import ModelEventType, ModelStatus
from adsml_common.registry.registry import ModelRegistry
from adsml_simulate import SimulatedAccount
from google.type import date_pb2
from support.serving import eventually, refusal

from .conftest import LAST_DAY, QUICK, train

ADSET = entity_pb2.ENTITY_TYPE_ADSET


def stored_subject(entity_id: str, *, config_id: int = 1) -> entity_pb2.Subject:
    ref = entity_pb2.EntityRef(config_id=config_id, entity_type=ADSET, entity_id=entity_id)
    return entity_pb2.Subject(entity=ref)


def day_message(day: date) -> date_pb2.Date:
    return date_pb2.Date(year=day.year, month=day.month, day=day.day)


def rows(days: int, *, spend: float, leads: float, last: date = LAST_DAY) -> list[metrics_pb2.DailyMetrics]:
    return [
        metrics_pb2.DailyMetrics(
            date=day_message(last - timedelta(days=back)),
            spend=spend,
            impressions=1000,
            clicks=20,
            leads=leads,
        )
        for back in range(days)
    ]


def daily_message(row: Any) -> metrics_pb2.DailyMetrics:
    known = row.reach == row.reach
    return metrics_pb2.DailyMetrics(
        date=day_message(row.date.date()),
        spend=row.spend,
        impressions=int(row.impressions),
        clicks=int(row.clicks),
        leads=row.leads,
        reach=int(row.reach) if known else None,
    )


def rounded(result: pb.BatchClassifyResult) -> pb.BatchClassifyResult:
    """Without the last digits: sums over one row and over many go in another order."""
    one = result.classification
    if result.HasField("classification") and one.HasField("confidence"):
        one.confidence = round(one.confidence, 9)
    for probability in one.probabilities:
        probability.probability = round(probability.probability, 9)
    for contribution in one.contributions:
        contribution.contribution = round(contribution.contribution, 6)
    return result


@pytest.fixture
def stub(stored: Database, service: str) -> Iterator[pb_grpc.ClassifierServiceStub]:
    with grpc.insecure_channel(service) as channel:
        yield pb_grpc.ClassifierServiceStub(channel)


def adset_ids(account: SimulatedAccount) -> list[str]:
    return [ref.ref.entity_id for ref in account.entities if ref.ref.entity_type is EntityType.ADSET]


def test_without_a_model_last_weeks_tier_answers_and_says_so(
    stub: pb_grpc.ClassifierServiceStub, account: SimulatedAccount
) -> None:
    """Persistence is the better forecast (.813 against .635 weighted F1 on the real ads); the rule comes by request."""
    subjects = [stored_subject(one) for one in adset_ids(account)]
    answer = stub.BatchClassify(pb.BatchClassifyRequest(subjects=subjects))
    answered = [one.classification for one in answer.results if one.HasField("classification")]
    assert answered
    for one in answered:
        assert one.answered_by.source == answer_pb2.ANSWER_SOURCE_PERSISTENCE
        assert one.answered_by.method == "last_week_tier"
        assert not one.HasField("confidence")
        assert not one.contributions
        assert one.reasons
        assert [d.reason for d in one.degradations] == [answer_pb2.DEGRADATION_REASON_NO_MODEL]
    # The rule moves the tier by the trend, and differs.
    assert any(one.tier != one.rule_tier for one in answered)
    by_rule = stub.BatchClassify(
        pb.BatchClassifyRequest(subjects=subjects, options=pb.ClassificationOptions(rules_only=True))
    )
    for one in (one.classification for one in by_rule.results if one.HasField("classification")):
        assert one.answered_by.source == answer_pb2.ANSWER_SOURCE_RULES
        assert one.answered_by.method == "cpl_rule"
        assert one.tier == one.rule_tier


def test_where_the_gate_shuts_the_answer_says_what_the_gate_said(
    stub: pb_grpc.ClassifierServiceStub,
    stored: Database,
    registry: ModelRegistry,
    account: SimulatedAccount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "MIN_SAMPLES", 1_000_000)
    assert train(stored, registry, "first").exit_status == 0
    request = pb.ClassifyRequest(subject=stored_subject(adset_ids(account)[0]))
    by = stub.Classify(request).classification.answered_by
    assert by.source == answer_pb2.ANSWER_SOURCE_PERSISTENCE
    assert "samples to judge it by; 1000000 are needed" in by.reason


@pytest.mark.parametrize("still_better", [True, False])
def test_where_a_newer_model_is_not_let_in_the_older_one_goes_on_only_while_it_is_better_than_last_weeks_tier(
    stored: Database,
    trained: ModelRegistry,
    stub: pb_grpc.ClassifierServiceStub,
    account: SimulatedAccount,
    monkeypatch: pytest.MonkeyPatch,
    still_better: bool,
) -> None:
    request = pb.ClassifyRequest(subject=stored_subject(adset_ids(account)[0]))
    assert stub.Classify(request).classification.answered_by.model.version == 1
    # The newest data bear out no new model; of the old one they say what the test says.
    words = itertools.cycle(["not better than last week's tier", "" if still_better else "no better either"])
    monkeypatch.setattr(gate, "_failure", lambda assessment: next(words))
    assert train(stored, trained, "second", replace(QUICK, fit=replace(QUICK.fit, seed=7))).exit_status == 0

    def by() -> answer_pb2.AnsweredBy:
        return stub.Classify(request).classification.answered_by

    if still_better:
        eventually(lambda: by().reason)
        assert by().source == answer_pb2.ANSWER_SOURCE_MODEL
        assert by().model.version == 1
        assert "classifier/1 version 2 was trained since and not let in" in by().reason
        assert "classifier/1 version 1 goes on" in by().reason
    else:
        eventually(lambda: by().source == answer_pb2.ANSWER_SOURCE_PERSISTENCE)
        assert "the gate of classifier/1 is shut" in by().reason
        assert "version 1 stops serving, for it is no better either" in by().reason
        assert trained.active("classifier/1") is None
        last = trained.events("classifier/1")[0]
        assert (last.event, last.version) == (ModelEventType.RETIRED, 1)
        # A person may put it back.
        trained.activate("classifier/1", 1, actor="ada", reason="it did well here")
        eventually(lambda: by().HasField("model"))


def test_without_a_full_week_the_rule_answers(stub: pb_grpc.ClassifierServiceStub) -> None:
    series = entity_pb2.InlineSeries(
        entity_type=ADSET,
        entity_id="new",
        rows=rows(4, spend=50, leads=10),
        account_rows=rows(28, spend=1500, leads=100),
    )
    request = pb.ClassifyRequest(subject=entity_pb2.Subject(inline=series))
    one = stub.Classify(request).classification
    assert one.answered_by.source == answer_pb2.ANSWER_SOURCE_RULES
    assert "full week" in one.answered_by.reason
    assert [warning.type for warning in one.warnings] == [warning_pb2.WARNING_TYPE_SHORT_HISTORY]
    series.rows.extend(rows(3, spend=50, leads=10, last=LAST_DAY - timedelta(days=4)))
    request.subject.inline.CopyFrom(series)
    one = stub.Classify(request).classification
    assert one.answered_by.source == answer_pb2.ANSWER_SOURCE_PERSISTENCE
    assert not one.warnings


@pytest.mark.usefixtures("trained")
def test_one_entity_is_classified_as_in_a_batch(
    stub: pb_grpc.ClassifierServiceStub, account: SimulatedAccount
) -> None:
    subject = stored_subject(adset_ids(account)[0])
    alone = stub.Classify(pb.ClassifyRequest(subject=subject)).classification
    batch = stub.BatchClassify(pb.BatchClassifyRequest(subjects=[subject]))
    assert alone == batch.results[0].classification
    unknown = pb.ClassifyRequest(subject=stored_subject("no-such-adset"))
    assert refusal(lambda: stub.Classify(unknown)).code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("with_model", [True, False])
def test_the_same_rows_inline_are_answered_alike(
    stub: pb_grpc.ClassifierServiceStub,
    registry: ModelRegistry,
    stored: Database,
    account: SimulatedAccount,
    with_model: bool,
    request: pytest.FixtureRequest,
) -> None:
    """Number for number: model, siblings, account and clock are the stored entity's; its rows came another way."""
    if with_model:
        request.getfixturevalue("trained")
    daily = account.daily
    daily = daily[daily["date"] > daily["date"].max() - timedelta(days=28)]
    for level, number in (("adset", ADSET), ("ad", entity_pb2.ENTITY_TYPE_AD)):
        groups = dict(iter(daily[daily["entity_type"] == level].groupby("entity_id")))
        names = sorted(groups)[:8]
        as_stored = [
            entity_pb2.Subject(entity=entity_pb2.EntityRef(config_id=1, entity_type=number, entity_id=name))
            for name in names
        ]
        as_rows = [
            entity_pb2.Subject(
                inline=entity_pb2.InlineSeries(
                    config_id=1,
                    entity_type=number,
                    entity_id=name,
                    rows=[daily_message(row) for row in groups[name].itertuples()],
                )
            )
            for name in names
        ]
        one, other = (
            stub.BatchClassify(pb.BatchClassifyRequest(subjects=subjects)).results
            for subjects in (as_stored, as_rows)
        )
        assert [rounded(result) for result in one] == [rounded(result) for result in other]
        assert any(result.HasField("classification") for result in one)


@pytest.mark.usefixtures("trained")
def test_a_model_answers_with_its_version_probabilities_and_reasons(
    stub: pb_grpc.ClassifierServiceStub, account: SimulatedAccount
) -> None:
    request = pb.BatchClassifyRequest(
        subjects=[stored_subject(one) for one in adset_ids(account)],
        options=pb.ClassificationOptions(max_contributions=100),
    )
    answer = stub.BatchClassify(request)
    assert [one.entity.entity_id for one in answer.results] == adset_ids(account)
    answered = [one.classification for one in answer.results if one.HasField("classification")]
    assert answered
    for one in answered:
        assert one.answered_by.model.name == "classifier/1"
        assert one.answered_by.model.version == 1
        assert sum(p.probability for p in one.probabilities) == pytest.approx(1.0)
        assert one.confidence == max(p.probability for p in one.probabilities)
        strengths = [abs(c.contribution) for c in one.contributions]
        assert strengths == sorted(strengths, reverse=True)
        supports = [reason.supports for reason in one.reasons]
        assert supports == sorted(supports, reverse=True)
        assert 1 <= sum(supports) <= 3
        assert len(supports) - sum(supports) <= 1
        assert len({reason.text for reason in one.reasons}) == len(one.reasons)
        assert one.as_of_date == day_message(LAST_DAY)
        assert not one.degradations


@pytest.mark.usefixtures("trained")
def test_entities_fail_one_by_one(stub: pb_grpc.ClassifierServiceStub, account: SimulatedAccount) -> None:
    good = adset_ids(account)[0]
    bad_row = rows(1, spend=float("nan"), leads=0)
    answer = stub.BatchClassify(
        pb.BatchClassifyRequest(
            subjects=[
                stored_subject("no-such-adset"),
                stored_subject(good),
                stored_subject(good, config_id=99),
                entity_pb2.Subject(inline=entity_pb2.InlineSeries(entity_type=ADSET, rows=bad_row)),
                entity_pb2.Subject(),
            ]
        )
    )
    codes = [one.error.code if one.HasField("error") else 0 for one in answer.results]
    assert codes == [
        grpc.StatusCode.NOT_FOUND.value[0],
        0,
        grpc.StatusCode.NOT_FOUND.value[0],
        grpc.StatusCode.INVALID_ARGUMENT.value[0],
        grpc.StatusCode.INVALID_ARGUMENT.value[0],
    ]
    assert "subjects[3].inline.rows[0].spend" in answer.results[3].error.message


def test_an_entity_that_did_nothing_lately_has_too_little_history(
    stub: pb_grpc.ClassifierServiceStub, account: SimulatedAccount
) -> None:
    before = pb.ClassificationOptions(as_of_date=day_message(date(2020, 1, 1)))
    request = pb.BatchClassifyRequest(subjects=[stored_subject(adset_ids(account)[0])], options=before)
    [result] = stub.BatchClassify(request).results
    assert result.error.code in (
        grpc.StatusCode.NOT_FOUND.value[0],
        grpc.StatusCode.FAILED_PRECONDITION.value[0],
    )
    assert "2020-01-01" in result.error.message


@pytest.mark.usefixtures("trained")
def test_inline_rows_need_no_store(stub: pb_grpc.ClassifierServiceStub) -> None:
    """An entity at a third of its account's CPL with leads every day did as a high performer."""
    series = entity_pb2.InlineSeries(
        entity_type=ADSET,
        entity_id="mine",
        rows=rows(28, spend=50, leads=10),
        account_rows=rows(28, spend=1500, leads=100),
    )
    [result] = stub.BatchClassify(
        pb.BatchClassifyRequest(subjects=[entity_pb2.Subject(inline=series)])
    ).results
    assert result.entity.entity_id == "mine"
    assert result.classification.answered_by.source == answer_pb2.ANSWER_SOURCE_PERSISTENCE
    assert result.classification.tier == tier_pb2.TIER_HIGH_PERFORMER
    assert result.classification.reasons[0].text == "CPL 5.00 against 15.00 for the account"
    assert result.classification.metrics.cpl == pytest.approx(5.0)
    assert result.classification.metrics.account_cpl == pytest.approx(15.0)

    series.config_id = 1
    series.ClearField("account_rows")
    [result] = stub.BatchClassify(
        pb.BatchClassifyRequest(subjects=[entity_pb2.Subject(inline=series)])
    ).results
    assert result.classification.answered_by.model.name == "classifier/1"


def test_inline_rows_without_an_account_cannot_be_judged_by_the_rule(
    stub: pb_grpc.ClassifierServiceStub,
) -> None:
    series = entity_pb2.InlineSeries(entity_type=ADSET, entity_id="mine", rows=rows(28, spend=50, leads=10))
    [result] = stub.BatchClassify(
        pb.BatchClassifyRequest(subjects=[entity_pb2.Subject(inline=series)])
    ).results
    assert result.error.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert "account_rows" in result.error.message


def test_a_batch_without_or_with_too_many_subjects_is_refusal(stub: pb_grpc.ClassifierServiceStub) -> None:
    for subjects in ([], [stored_subject("1")] * 1001):
        error = refusal(
            lambda subjects=subjects: stub.BatchClassify(pb.BatchClassifyRequest(subjects=subjects))
        )
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_damaged_artifact_is_refused_and_the_version_before_serves(
    stored: Database, trained: ModelRegistry, service: str, account: SimulatedAccount, tmp_path: Path
) -> None:
    # Other trees, so that the disk cache has no good copy of the same bytes under version 1.
    other = replace(QUICK, fit=replace(QUICK.fit, seed=7))
    assert train(stored, trained, "second", other).exit_status == 0
    second = trained.get("classifier/1", 2)
    if second.status is ModelStatus.READY:
        second = trained.activate("classifier/1", 2, actor="test", reason="serve it")
    path = tmp_path / "artifacts" / second.artifact_uri
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))

    request = pb.BatchClassifyRequest(subjects=[stored_subject(adset_ids(account)[0])])
    with grpc.insecure_channel(service) as channel:
        stub = pb_grpc.ClassifierServiceStub(channel)
        # The version in memory serves until the server learns of the new one.
        eventually(lambda: stub.BatchClassify(request).results[0].classification.degradations)
        one = stub.BatchClassify(request).results[0].classification
    assert one.answered_by.model.version == 1
    [told] = one.degradations
    assert told.reason == answer_pb2.DEGRADATION_REASON_CORRUPT
    assert told.dependency == answer_pb2.DEPENDENCY_MODEL
    assert "version 2" in told.name
    assert "version 1" in told.detail


@pytest.mark.usefixtures("trained")
def test_a_new_version_is_picked_up_while_serving(
    stub: pb_grpc.ClassifierServiceStub, stored: Database, registry: ModelRegistry, account: SimulatedAccount
) -> None:
    request = pb.BatchClassifyRequest(subjects=[stored_subject(adset_ids(account)[0])])
    assert stub.BatchClassify(request).results[0].classification.answered_by.model.version == 1
    train(stored, registry, "second")
    if registry.get("classifier/1", 2).status is ModelStatus.READY:
        registry.activate("classifier/1", 2, actor="test", reason="serve it")
    eventually(lambda: stub.BatchClassify(request).results[0].classification.answered_by.model.version == 2)


@pytest.mark.usefixtures("trained")
def test_a_new_entity_is_classified_by_transfer_with_discounted_confidence(
    stub: pb_grpc.ClassifierServiceStub, account: SimulatedAccount
) -> None:
    subject = stored_subject(adset_ids(account)[0])
    answer = stub.ClassifyNewEntity(pb.ClassifyNewEntityRequest(subject=subject))
    by = answer.classification.answered_by
    assert by.source == answer_pb2.ANSWER_SOURCE_TRANSFER
    assert by.model.name == "classifier/1/global"
    assert answer.transfer.trained_on
    assert answer.transfer.own_days > 0
    assert answer.transfer.confidence_factor == pytest.approx(0.85)
    expected = 0.85 * answer.transfer.undiscounted_confidence
    assert answer.classification.confidence == pytest.approx(expected)


def test_feedback_is_idempotent_and_a_new_word_replaces_the_old(
    stub: pb_grpc.ClassifierServiceStub, account: SimulatedAccount
) -> None:
    request = pb.RecordFeedbackRequest(
        feedback=feedback_pb2.Feedback(
            entity=stored_subject(adset_ids(account)[0]).entity, date=day_message(LAST_DAY), person="ada"
        ),
        tier=tier_pb2.TIER_LOW,
    )
    assert stub.RecordFeedback(request).receipt.changed
    again = stub.RecordFeedback(request)
    assert not again.receipt.changed
    assert again.receipt.record_time.seconds
    request.tier = tier_pb2.TIER_HIGH_PERFORMER
    other = stub.RecordFeedback(request)
    assert other.receipt.changed
    assert other.replaced_tier == tier_pb2.TIER_LOW
    request.feedback.entity.entity_id = "no-such-adset"
    assert refusal(lambda: stub.RecordFeedback(request)).code is grpc.StatusCode.NOT_FOUND
    request.feedback.ClearField("person")
    error = refusal(lambda: stub.RecordFeedback(request))
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.usefixtures("trained")
def test_the_registry_is_served_beside(stub: pb_grpc.ClassifierServiceStub, service: str) -> None:
    with grpc.insecure_channel(service) as channel:
        listed = registry_grpc.ModelRegistryServiceStub(channel).ListModels(
            registry_pb2.ListModelsRequest(family=answer_pb2.FAMILY_CLASSIFIER)
        )
    assert {model.ref.name for model in listed.models} == {"classifier/1", "classifier/1/global"}


@pytest.mark.usefixtures("trained", "stored")
def test_a_client_nobody_here_wrote_finds_its_way_by_reflection(
    service: str, account: SimulatedAccount
) -> None:
    buf = Path(sys.executable).parent / "buf"
    body = {
        "subjects": [
            {
                "entity": {
                    "configId": "1",
                    "entityType": "ENTITY_TYPE_ADSET",
                    "entityId": adset_ids(account)[0],
                }
            }
        ]
    }
    ran = subprocess.run(
        [str(buf), "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--reflect", "--data", json.dumps(body),
         f"http://{service}/adsml.classifier.v1.ClassifierService/BatchClassify"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer = json.loads(ran.stdout)["results"][0]["classification"]
    assert answer["tier"].startswith("TIER_")
    assert answer["answeredBy"]["model"]["name"] == "classifier/1"
    assert answer["contributions"]


def test_a_training_started_over_grpc_registers_models_once(
    stub: pb_grpc.ClassifierServiceStub,
    service: str,
    settings: ClassifierSettings,
    registry: ModelRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The process that trains reads its settings from the environment, as the service in production does.
    for name in ("database_url", "artifact_url", "cache_dir"):
        monkeypatch.setenv(f"ADSML_{name.upper()}", str(getattr(settings, name)))
    request = training_pb2.StartTrainingRequest(
        family=answer_pb2.FAMILY_CLASSIFIER,
        request_id="from-a-test",
        job=training_pb2.TRAINING_JOB_CLASSIFIERS,
        scope=training_pb2.TrainingScope(config_ids=[1]),
    )
    with grpc.insecure_channel(service) as channel:
        training = training_grpc.TrainingServiceStub(channel)
        started = training.StartTraining(request)
        again = training.StartTraining(request)
        assert again.run.run_id == started.run.run_id
        asked = training_pb2.GetTrainingRunRequest(
            family=answer_pb2.FAMILY_CLASSIFIER, run_id=started.run.run_id
        )
        done = (training_pb2.TRAINING_RUN_STATE_SUCCEEDED, training_pb2.TRAINING_RUN_STATE_FAILED)
        eventually(lambda: training.GetTrainingRun(asked).run.state in done, within=240)
        assert training.GetTrainingRun(asked).run.state == training_pb2.TRAINING_RUN_STATE_SUCCEEDED
    assert {(one.name, one.version) for one in registry.list()} == {
        ("classifier/1", 1),
        ("classifier/1/global", 1),
    }
