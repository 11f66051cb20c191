"""Adds TrainingService to a server: the record, who does the work, and what Prometheus is told of runs."""

from collections.abc import Sequence

from adsml.training.v1 import training_service_pb2_grpc as training_grpc
from prometheus_client import REGISTRY

from adsml_common.database import Database
from adsml_common.serving.paging import PageTokens
from adsml_common.serving.server import ServerBuilder
from adsml_common.serving.settings import ServingSettings
from adsml_common.serving.training_service import SERVICE, TrainingService
from adsml_common.training.launchers import ClusterLauncher, Launcher, LocalLauncher
from adsml_common.training.metrics import RunWatch
from adsml_common.training.runs import TrainingRuns


def add_training(
    builder: ServerBuilder, database: Database, *, jobs: Sequence[str], page_tokens: PageTokens
) -> None:
    """Serve the runs of a family's jobs; the builder's settings say who does the work (``..._LAUNCHER``)."""
    runs = TrainingRuns(database)
    service = TrainingService(
        runs,
        family=builder.family,
        jobs=jobs,
        launcher=_launcher(builder.settings, runs) if jobs else None,
        max_shards=builder.settings.launcher_max_shards,
        open_runs=builder.settings.launcher_open_runs,
        page_tokens=page_tokens,
    )
    builder.add(training_grpc.add_TrainingServiceServicer_to_server, service, SERVICE)
    if not jobs:
        return
    watch = RunWatch(runs, jobs)

    def begin() -> None:
        REGISTRY.register(watch)
        watch.start()

    def end() -> None:
        REGISTRY.unregister(watch)
        watch.close()

    builder.on_ready(begin).on_drain(end)


def _launcher(settings: ServingSettings, runs: TrainingRuns) -> Launcher | None:
    match settings.launcher:
        case "local":
            return LocalLauncher(runs, log_dir=settings.cache_dir / "training-logs")
        case "kubernetes":
            return ClusterLauncher(shards=settings.launcher_shards)
        case _:
            return None
