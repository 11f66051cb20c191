"""The classifier service over gRPC: real server, real stub, real models."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import grpc
import pytest
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.classifier.v1 import classifier_service_pb2_grpc as pb_grpc
from adsml.common.v1 import answer_pb2, entity_pb2, metrics_pb2, tier_pb2
from adsml.registry.v1 import registry_service_pb2 as registry_pb2
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml.training.v1 import training_service_pb2 as training_pb2
from adsml.training.v1 import training_service_pb2_grpc as training_grpc
from adsml_classifier.settings import ClassifierSettings
from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.registry.models import ModelStatus
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


@pytest.fixture
def stub(stored: Database, service: str) -> Iterator[pb_grpc.ClassifierServiceStub]:
    with grpc.insecure_channel(service) as channel:
        yield pb_grpc.ClassifierServiceStub(channel)


def adset_ids(account: SimulatedAccount) -> list[str]:
    return [ref.ref.entity_id for ref in account.entities if ref.ref.entity_type is EntityType.ADSET]


def test_without_a_model_the_rule_answers_and_says_so(
    stub: pb_grpc.ClassifierServiceStub, account: SimulatedAccount
) -> None:
    answer = stub.ClassifyEntities(
        pb.ClassifyEntitiesRequest(subjects=[stored_subject(adset_ids(account)[0])])
    )
    [result] = answer.results
    by = result.classification.answered_by
    assert by.source == answer_pb2.ANSWER_SOURCE_RULES
    assert by.method == "cpl_rule"
    assert "CPL" in by.reason
    assert result.classification.tier == result.classification.rule_tier
    assert not result.classification.HasField("confidence")
    assert [d.reason for d in result.classification.degradations] == [answer_pb2.DEGRADATION_REASON_NO_MODEL]


@pytest.mark.usefixtures("trained")
def test_a_model_answers_with_its_version_probabilities_and_reasons(
    stub: pb_grpc.ClassifierServiceStub, account: SimulatedAccount
) -> None:
    request = pb.ClassifyEntitiesRequest(
        subjects=[stored_subject(one) for one in adset_ids(account)],
        options=pb.ClassificationOptions(max_contributions=100),
    )
    answer = stub.ClassifyEntities(request)
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
        assert all(c.explanation for c in one.contributions)
        assert one.as_of_date == day_message(LAST_DAY)
        assert not one.degradations


@pytest.mark.usefixtures("trained")
def test_entities_fail_one_by_one(stub: pb_grpc.ClassifierServiceStub, account: SimulatedAccount) -> None:
    good = adset_ids(account)[0]
    bad_row = rows(1, spend=float("nan"), leads=0)
    answer = stub.ClassifyEntities(
        pb.ClassifyEntitiesRequest(
            subjects=[
                stored_subject("no-such-adset"),
                stored_subject(good),
                stored_subject(good, config_id=99),
                entity_pb2.Subject(inline=entity_pb2.InlineSeries(rows=bad_row)),
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
    request = pb.ClassifyEntitiesRequest(subjects=[stored_subject(adset_ids(account)[0])], options=before)
    [result] = stub.ClassifyEntities(request).results
    assert result.error.code in (
        grpc.StatusCode.NOT_FOUND.value[0],
        grpc.StatusCode.FAILED_PRECONDITION.value[0],
    )
    assert "2020-01-01" in result.error.message


@pytest.mark.usefixtures("trained")
def test_inline_rows_need_no_store(stub: pb_grpc.ClassifierServiceStub) -> None:
    """An entity at a third of its account's CPL with leads every day is a high performer by the rule."""
    series = entity_pb2.InlineSeries(
        entity_type=ADSET,
        entity_id="mine",
        rows=rows(28, spend=50, leads=10),
        account_rows=rows(28, spend=1500, leads=100),
    )
    [result] = stub.ClassifyEntities(
        pb.ClassifyEntitiesRequest(subjects=[entity_pb2.Subject(inline=series)])
    ).results
    assert result.entity.entity_id == "mine"
    assert result.classification.answered_by.source == answer_pb2.ANSWER_SOURCE_RULES
    assert result.classification.tier == tier_pb2.TIER_HIGH_PERFORMER
    assert result.classification.metrics.cpl == pytest.approx(5.0)
    assert result.classification.metrics.account_cpl == pytest.approx(15.0)

    series.config_id = 1
    series.ClearField("account_rows")
    [result] = stub.ClassifyEntities(
        pb.ClassifyEntitiesRequest(subjects=[entity_pb2.Subject(inline=series)])
    ).results
    assert result.classification.answered_by.model.name == "classifier/1"


def test_inline_rows_without_an_account_cannot_be_judged_by_the_rule(
    stub: pb_grpc.ClassifierServiceStub,
) -> None:
    series = entity_pb2.InlineSeries(entity_type=ADSET, entity_id="mine", rows=rows(28, spend=50, leads=10))
    [result] = stub.ClassifyEntities(
        pb.ClassifyEntitiesRequest(subjects=[entity_pb2.Subject(inline=series)])
    ).results
    assert result.error.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert "account_rows" in result.error.message


def test_a_batch_without_or_with_too_many_subjects_is_refusal(stub: pb_grpc.ClassifierServiceStub) -> None:
    for subjects in ([], [stored_subject("1")] * 1001):
        error = refusal(
            lambda subjects=subjects: stub.ClassifyEntities(pb.ClassifyEntitiesRequest(subjects=subjects))
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

    request = pb.ClassifyEntitiesRequest(subjects=[stored_subject(adset_ids(account)[0])])
    with grpc.insecure_channel(service) as channel:
        stub = pb_grpc.ClassifierServiceStub(channel)
        # The version in memory serves until the server learns of the new one.
        eventually(lambda: stub.ClassifyEntities(request).results[0].classification.degradations)
        one = stub.ClassifyEntities(request).results[0].classification
    assert one.answered_by.model.version == 1
    [told] = one.degradations
    assert told.reason == answer_pb2.DEGRADATION_REASON_CORRUPT
    assert "version 2" in told.dependency
    assert "version 1" in told.detail


@pytest.mark.usefixtures("trained")
def test_a_new_version_is_picked_up_while_serving(
    stub: pb_grpc.ClassifierServiceStub, stored: Database, registry: ModelRegistry, account: SimulatedAccount
) -> None:
    request = pb.ClassifyEntitiesRequest(subjects=[stored_subject(adset_ids(account)[0])])
    assert stub.ClassifyEntities(request).results[0].classification.answered_by.model.version == 1
    train(stored, registry, "second")
    if registry.get("classifier/1", 2).status is ModelStatus.READY:
        registry.activate("classifier/1", 2, actor="test", reason="serve it")
    eventually(
        lambda: stub.ClassifyEntities(request).results[0].classification.answered_by.model.version == 2
    )


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
        entity=stored_subject(adset_ids(account)[0]).entity,
        date=day_message(LAST_DAY),
        tier=tier_pb2.TIER_LOW,
        person="ada",
    )
    assert stub.RecordFeedback(request).changed
    again = stub.RecordFeedback(request)
    assert not again.changed
    request.tier = tier_pb2.TIER_HIGH_PERFORMER
    other = stub.RecordFeedback(request)
    assert other.changed
    assert other.replaced_tier == tier_pb2.TIER_LOW
    request.entity.entity_id = "no-such-adset"
    assert refusal(lambda: stub.RecordFeedback(request)).code is grpc.StatusCode.NOT_FOUND
    request.ClearField("person")
    error = refusal(lambda: stub.RecordFeedback(request))
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.usefixtures("trained")
def test_the_registry_is_served_beside(stub: pb_grpc.ClassifierServiceStub, service: str) -> None:
    with grpc.insecure_channel(service) as channel:
        listed = registry_grpc.ModelRegistryServiceStub(channel).ListModels(registry_pb2.ListModelsRequest())
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
         f"http://{service}/adsml.classifier.v1.ClassifierService/ClassifyEntities"],
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
        request_id="from-a-test",
        job=training_pb2.TRAINING_JOB_CLASSIFIERS,
        scope=training_pb2.TrainingScope(config_ids=[1]),
    )
    with grpc.insecure_channel(service) as channel:
        training = training_grpc.TrainingServiceStub(channel)
        started = training.StartTraining(request)
        again = training.StartTraining(request)
        assert again.run.run_id == started.run.run_id
        asked = training_pb2.GetTrainingRunRequest(run_id=started.run.run_id)
        done = (training_pb2.TRAINING_RUN_STATE_SUCCEEDED, training_pb2.TRAINING_RUN_STATE_FAILED)
        eventually(lambda: training.GetTrainingRun(asked).run.state in done, within=240)
        assert training.GetTrainingRun(asked).run.state == training_pb2.TRAINING_RUN_STATE_SUCCEEDED
    assert {(one.name, one.version) for one in registry.list()} == {
        ("classifier/1", 1),
        ("classifier/1/global", 1),
    }
