"""However the service is started, it answers by the model that is active."""

import os
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.classifier.v1 import classifier_service_pb2_grpc as classifier_grpc
from adsml.common.v1 import answer_pb2, entity_pb2
from adsml_classifier.settings import ClassifierSettings
from adsml_common.registry.registry import ModelRegistry
from adsml_simulate import SimulatedAccount
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.serving import SECONDS, eventually, free_port


@pytest.fixture
def dialect() -> str:
    return "sqlite"


def serving(channel: grpc.Channel) -> bool:
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    except grpc.RpcError:
        return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-m", "adsml_classifier.server"],
        [str(Path(sys.executable).with_name("adsml")), "serve", "classifier"],
    ],
)
def test_the_model_answers_however_the_service_was_started(
    trained: ModelRegistry,
    settings: ClassifierSettings,
    account: SimulatedAccount,
    tmp_path: Path,
    command: list[str],
) -> None:
    daily = account.daily
    busy = daily[
        (daily["date"] == daily["date"].max()) & (daily["entity_type"] == "campaign") & (daily["leads"] > 0)
    ]
    port = free_port()
    environment = {
        "ADSML_DATABASE_URL": settings.database_url,
        "ADSML_ARTIFACT_URL": settings.artifact_url,
        "ADSML_CACHE_DIR": str(tmp_path / "cache"),
        "ADSML_CLASSIFIER_PORT": str(port),
        "ADSML_CLASSIFIER_DRAIN_WAIT_SECONDS": "0",
    }
    server = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            eventually(lambda: serving(channel), within=60)
            entity = entity_pb2.EntityRef(
                config_id=1, entity_type=entity_pb2.ENTITY_TYPE_CAMPAIGN, entity_id=busy["entity_id"].iloc[0]
            )
            request = pb.ClassifyRequest(subject=entity_pb2.Subject(entity=entity))
            answer = classifier_grpc.ClassifierServiceStub(channel).Classify(request, timeout=SECONDS)
    finally:
        server.terminate()
        server.wait(SECONDS)
    by = answer.classification.answered_by
    assert (by.source, by.model.name) == (answer_pb2.ANSWER_SOURCE_MODEL, "classifier/1")
