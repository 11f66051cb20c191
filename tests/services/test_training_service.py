"""Each service with jobs serves the runs of its own, and tells Prometheus of them."""

from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import adsml_anomaly.server
import adsml_forecasting.server
import grpc
import pytest
from adsml.common.v1 import answer_pb2
from adsml.training.v1 import training_service_pb2 as pb
from adsml.training.v1 import training_service_pb2_grpc as pb_grpc
from adsml_anomaly.settings import AnomalySettings
from adsml_common.database import Database
from adsml_common.serving.server import ServerBuilder
from adsml_common.serving.settings import ServingSettings
from adsml_common.training.launchers import job_name
from adsml_common.training.records import LauncherKind
from adsml_common.training.runs import TrainingRuns
from adsml_forecasting.settings import ForecastingSettings
from support.serving import SECONDS, eventually, refusal


@pytest.fixture(params=["sqlite"])
def dialect(request: pytest.FixtureRequest) -> str:
    """What the service does is tested on both elsewhere."""
    return str(request.param)


def forecasting(settings: ServingSettings) -> ServerBuilder:
    assert isinstance(settings, ForecastingSettings)
    return adsml_forecasting.server.build(settings, warm_up=lambda: None)


@pytest.mark.parametrize(
    ("cls", "build", "family", "number", "job"),
    [
        (
            AnomalySettings, adsml_anomaly.server.build, answer_pb2.FAMILY_ANOMALY,
            pb.TRAINING_JOB_ANOMALY_DETECTORS, "anomaly-detectors",
        ),
        (ForecastingSettings, forecasting, answer_pb2.FAMILY_FORECASTING, pb.TRAINING_JOB_PROPHET, "prophet"),
        (
            ForecastingSettings, forecasting, answer_pb2.FAMILY_FORECASTING,
            pb.TRAINING_JOB_ENSEMBLE_WEIGHTS, "ensemble-weights",
        ),
    ],
)  # fmt: skip
def test_in_a_cluster_a_run_is_accepted_and_left_to_the_launcher(
    cls: type[ServingSettings],
    build: Callable[[ServingSettings], ServerBuilder],
    family: answer_pb2.Family,
    number: pb.TrainingJob,
    job: str,
    database: Database,
    database_url: str,
    tmp_path: Path,
) -> None:
    settings = cls(
        ADSML_DATABASE_URL=database_url, ADSML_ARTIFACT_URL=str(tmp_path / "artifacts"), ADSML_CACHE_DIR=tmp_path,
        port=0, metrics_port=0, drain_wait_seconds=0, launcher="kubernetes", launcher_shards=3,
    )  # type: ignore[call-arg]  # by the names of their variables  # fmt: skip
    with build(settings).start() as server, grpc.insecure_channel(server.target) as channel:
        stub = pb_grpc.TrainingServiceStub(channel)
        started = stub.StartTraining(
            pb.StartTrainingRequest(family=family, request_id="r1", job=number), timeout=SECONDS
        )
        others = pb.StartTrainingRequest(family=family, request_id="r2", job=pb.TRAINING_JOB_CLASSIFIERS)
        refused = refusal(lambda: stub.StartTraining(others, timeout=SECONDS))

        def metrics() -> str:
            with urlopen(f"http://127.0.0.1:{server.runtime.metrics_port}/metrics") as answer:
                return str(answer.read().decode())

        eventually(lambda: f'adsml_training_runs_active{{training="{job}"}}' in metrics())
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    (run,) = TrainingRuns(database).list()
    assert (run.job, run.shard_count, run.launcher) == (job, 3, LauncherKind.KUBERNETES)
    assert run.launcher_ref == started.run.launcher_ref == job_name(job, "r1")
