"""A stored account with a trained classifier, and services on it, each in a process of its own."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.classifier.v1 import classifier_service_pb2_grpc as classifier_grpc
from adsml.common.v1 import entity_pb2, metrics_pb2
from adsml_classifier.artifacts import JOB, account_model
from adsml_classifier.training.job import AccountTrainer, items_of
from adsml_classifier.training.recipe import FitSettings, Recipe, Shape
from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.models import Candidate
from adsml_common.registry.registry import ModelRegistry
from adsml_common.serving.messages import ENTITY_TYPE
from adsml_common.training.records import run_id_of
from adsml_simulate import SimulatedAccount, presets, simulate_account
from adsml_simulate.storing import write_to_store
from google.type import date_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

LAST_DAY: Final = date(2026, 3, 31)
SERVED: Final = 2
"""The account that is asked about."""
START_SECONDS: Final = 120.0
# One shape of trees, not chosen among many: how they were found does not show in how fast they answer.
_QUICK: Final = Recipe(fit=FitSettings(shapes=(Shape(3, 10.0),), max_rounds=60, folds=2))


@dataclass(frozen=True)
class Prepared:
    """What `prepare` made.

    Attributes
    ----------
    env
        For the processes of services.
    booster
        The UBJSON file of the model that serves.
    features
        How many it takes.
    entities
        Level and id of entities that delivered in the last week.
    account
        The account.
    """

    env: dict[str, str]
    booster: Path
    features: int
    entities: list[tuple[EntityType, str]]
    account: SimulatedAccount


def prepare(folder: Path, *, entities: int = 1_600) -> Prepared:
    """Simulate, store, train and activate.

    The model learns from a small account, which takes seconds, and serves a large one: how good its answers are
    is not the matter here.
    """
    env = {
        **os.environ,
        "ADSML_DATABASE_URL": f"sqlite:///{folder / 'adsml.db'}",
        "ADSML_ARTIFACT_URL": str(folder / "artifacts"),
        "ADSML_CACHE_DIR": str(folder / "cache"),
        "ADSML_LOG_LEVEL": "WARNING",
    }
    database = Database.open(env["ADSML_DATABASE_URL"])
    database.migrate()
    write_to_store(simulate_account(presets.demo(last_day=LAST_DAY, config_id=1), seed=1), database)
    settings = presets.large(last_day=LAST_DAY, entities=entities, config_id=SERVED, days=60)
    account = simulate_account(settings, seed=1)
    write_to_store(account, database)
    registry = ModelRegistry(database, ArtifactStore(env["ADSML_ARTIFACT_URL"], cache_dir=folder / "cache"))
    train_classifiers(database, registry, config_id=1)
    learnt = next(iter(registry.list(name_prefix=account_model(1))))
    files = registry.read(learnt).files
    served = registry.register(
        Candidate(
            name=account_model(SERVED),
            model_type=learnt.model_type,
            config_id=SERVED,
            entity_type=None,
            entity_id=None,
            files=files,
            parameters=learnt.parameters,
            feature_columns=learnt.feature_columns,
            training_metrics=learnt.training_metrics,
            samples_count=learnt.samples_count,
            window_start=learnt.window_start,
            window_end=learnt.window_end,
            run_id="bench",
        )
    )
    registry.activate(served.name, served.version, actor="benchmark", reason="to be measured")
    database.close()
    booster = folder / "model.ubj"
    booster.write_bytes(files["model.ubj"])
    week = account.daily[account.daily["date"] > np.datetime64(LAST_DAY) - np.timedelta64(7, "D")]
    busy = week[week["impressions"] > 0][["entity_type", "entity_id"]].drop_duplicates()
    ids = [(EntityType(kind), name) for kind, name in busy.itertuples(index=False)]
    return Prepared(env, booster, len(learnt.feature_columns), ids, account)


def train_classifiers(database: Database, registry: ModelRegistry, *, config_id: int) -> None:
    """Train and activate an account's classifiers in seconds, without a choice among many."""
    trainer = AccountTrainer(database, registry, run_id=run_id_of(JOB, "bench"), recipe=_QUICK)
    for item in items_of([config_id]):
        trainer(item)


@contextlib.contextmanager
def process(command: list[str], env: Mapping[str, str], port: int, log: Path) -> Iterator[int]:
    """Run a server until the end of the block; its process id once it is SERVING."""
    with log.open("ab") as out:
        running = subprocess.Popen(command, env=dict(env), stdout=out, stderr=out)
    try:
        wait_until_serving(f"127.0.0.1:{port}", running, log)
        yield running.pid
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def wait_until_serving(target: str, running: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait for health to say SERVING; a server without health, for its port to be open."""
    until = time.monotonic() + START_SECONDS
    with grpc.insecure_channel(target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        while True:
            try:
                answer = health.Check(health_pb2.HealthCheckRequest(), timeout=2)
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return
            if running.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{target} is not serving; see {log}:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)


def require_model(target: str, request: bytes) -> None:
    """Raise `RuntimeError` unless a registered model answers for every subject of a batch: a rule is less work."""
    with grpc.insecure_channel(target) as channel:
        asked = pb.BatchClassifyRequest.FromString(request)
        answer = classifier_grpc.ClassifierServiceStub(channel).BatchClassify(asked)
    for one in answer.results:
        if not one.classification.answered_by.HasField("model"):
            raise RuntimeError(f"{target} answers without a model: {one}")


def processor_seconds(pid: int) -> float:
    """Of a process and its children, user and system."""
    ticks = 0
    for one in (pid, *_children(pid)):
        with contextlib.suppress(FileNotFoundError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found += [int(child), *_children(int(child))]
    return found


def stored_batch(prepared: Prepared, names: list[tuple[EntityType, str]], *, reasons: int) -> bytes:
    """A request for stored entities."""
    return pb.BatchClassifyRequest(
        subjects=[
            entity_pb2.Subject(
                entity=entity_pb2.EntityRef(
                    config_id=SERVED,
                    entity_type=ENTITY_TYPE.to_wire(kind),
                    entity_id=name,  # type: ignore[arg-type]
                )
            )
            for kind, name in names
        ],
        options=pb.ClassificationOptions(max_contributions=reasons, max_reasons=reasons),
    ).SerializeToString()


def inline_batch(prepared: Prepared, names: list[tuple[EntityType, str]], *, reasons: int) -> bytes:
    """A request that sends the last 28 days of each entity along, to be compared with the stored account."""
    daily = prepared.account.daily
    recent = daily[daily["date"] > np.datetime64(LAST_DAY) - np.timedelta64(28, "D")]
    groups = dict(iter(recent.groupby(["entity_type", "entity_id"])))
    return pb.BatchClassifyRequest(
        subjects=[
            entity_pb2.Subject(
                inline=entity_pb2.InlineSeries(
                    config_id=SERVED,
                    entity_type=ENTITY_TYPE.to_wire(kind),  # type: ignore[arg-type]
                    entity_id=name,
                    rows=[_row(one) for one in groups[kind.value, name].itertuples()],
                )
            )
            for kind, name in names
        ],
        options=pb.ClassificationOptions(max_contributions=reasons, max_reasons=reasons),
    ).SerializeToString()


def _row(one: Any) -> metrics_pb2.DailyMetrics:
    return metrics_pb2.DailyMetrics(
        date=date_pb2.Date(year=one.date.year, month=one.date.month, day=one.date.day),
        spend=one.spend,
        impressions=int(one.impressions),
        clicks=int(one.clicks),
        leads=one.leads,
    )
