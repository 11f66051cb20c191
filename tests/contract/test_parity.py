"""A question has one answer, by whatever door it comes in.

An account with trained models of every family is asked by every method: about a stored entity, and about the same rows
sent inline; of the service in this process, by the client over a real server, and by the command, in process and with
``--server``. The report asks the services too: what it shows is what they answer.
"""

import contextlib
import importlib
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from adsml.anomaly.v1 import anomaly_service_pb2 as anomaly
from adsml.classifier.v1 import classifier_service_pb2 as classifier
from adsml.common.v1 import change_pb2, entity_pb2, metrics_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting
from adsml.impact.v1 import impact_service_pb2 as impact
from adsml_client import (
    AnomalyClient,
    ClassifierClient,
    ForecastingClient,
    ImpactClient,
    change_event,
    connect,
    day,
    entity_ref,
    inline_series,
    message,
    rows_from_frame,
)
from adsml_common.cli.ask import to_dict
from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.models import ModelStatus
from adsml_common.registry.registry import ModelRegistry
from adsml_common.serving.context import CallContext
from adsml_common.store.metrics import MetricStore
from adsml_simulate import AccountSettings, RandomChanges, SimulatedAccount, simulate_account
from adsml_simulate.storing import write_to_store
from google.protobuf.message import Message
from support.families import build, settings_of

CONFIG = 1
LAST = date(2026, 3, 31)
JOBS = ("classifiers", "prophet", "ensemble-weights", "anomaly-detectors")
CLIENTS = {
    "classifier": ClassifierClient,
    "forecasting": ForecastingClient,
    "anomaly": AnomalyClient,
    "impact": ImpactClient,
}


@dataclass(frozen=True)
class World:
    """The account, stored and with models, and what answers questions about it."""

    account: SimulatedAccount
    daily: pd.DataFrame
    environment: Mapping[str, str]
    services: Mapping[str, Any]
    targets: Mapping[str, str]

    def ref(self, level: str, index: int = 0) -> entity_pb2.EntityRef:
        ids = [one.ref.entity_id for one in self.account.entities if one.ref.entity_type.value == level]
        return entity_ref(CONFIG, level, ids[index])

    def rows(self, level: str, entity_id: str) -> pd.DataFrame:
        own = self.daily[(self.daily["entity_type"] == level) & (self.daily["entity_id"] == entity_id)]
        return own.drop(columns=["entity_type", "entity_id"])

    def inline(self, ref: entity_pb2.EntityRef) -> entity_pb2.InlineSeries:
        """The rows of a stored entity, as a caller would send them who names whose they are."""
        level = entity_pb2.EntityType.Name(ref.entity_type).removeprefix("ENTITY_TYPE_").lower()
        return inline_series(
            rows_from_frame(self.rows(level, ref.entity_id)),
            entity_type=level,
            entity_id=ref.entity_id,
            config_id=CONFIG,
        )

    def account_rows(self) -> list[metrics_pb2.DailyMetrics]:
        """The whole account's days: the sums of its campaigns."""
        figures = ["spend", "impressions", "clicks", "leads"]
        campaigns = self.daily[self.daily["entity_type"] == "campaign"]
        return rows_from_frame(campaigns.groupby("date", as_index=False)[figures].sum())

    def recorded(self) -> list[tuple[str, change_pb2.ChangeEvent]]:
        """Every recorded change, with the id of what was changed."""
        return [
            (
                event.entity.entity_id,
                change_event(
                    event.date,
                    event.change_type.value,
                    value_before=event.detail.get("budget_before"),
                    value_after=event.detail.get("budget_after"),
                ),
            )
            for event in self.account.changes
        ]

    def change_of_adset(self) -> dict[str, Any]:
        """Panel and change of an ad set's edit that has a week behind it; all other ad sets are its controls."""
        adsets = [
            one.ref.entity_id for one in self.account.entities if one.ref.entity_type is EntityType.ADSET
        ]
        entity_id, change = next(
            (entity_id, change)
            for entity_id, change in reversed(self.recorded())
            if entity_id in adsets and (LAST - day(change.date)).days >= 9
        )
        treated, *controls = [
            entity_ref(CONFIG, "adset", one)
            for one in [entity_id, *(one for one in adsets if one != entity_id)]
        ]
        return {"panel": {"stored": {"treated": [treated], "controls": controls}}, "change": change}


@dataclass(frozen=True)
class Question:
    """One method's question.

    Attributes
    ----------
    method
        ``"classifier.Classify"``.
    request
        About stored entities.
    command
        The same in `adsml`'s words; None where no command asks it.
    answer
        The command's JSON for this question in the response's form.
    """

    method: str
    request: Callable[[World], Message]
    command: Callable[[World], Sequence[str]] | None = None

    @property
    def family(self) -> str:
        return self.method.partition(".")[0]

    @property
    def name(self) -> str:
        return self.method.partition(".")[2]


QUESTIONS = [
    Question(
        "classifier.Classify",
        lambda world: message(
            classifier.ClassifyRequest, subject=world.ref("adset"), options={"as_of_date": LAST}
        ),
    ),
    Question(
        "classifier.BatchClassify",
        lambda world: message(
            classifier.BatchClassifyRequest,
            subjects=[world.ref("adset", index) for index in range(4)],
            options={"as_of_date": LAST},
        ),
        lambda world: ["classify", "--entity-type", "adset", "--as-of-date", str(LAST)],
    ),
    Question(
        "classifier.ClassifyNewEntity",
        lambda world: message(
            classifier.ClassifyNewEntityRequest, subject=world.ref("ad"), options={"as_of_date": LAST}
        ),
    ),
    Question(
        "forecasting.Forecast",
        lambda world: message(
            forecasting.ForecastRequest,
            subject=world.ref("campaign"),
            metric="leads",
            method="prophet",
            options={"as_of_date": LAST},
        ),
    ),
    Question(
        "forecasting.ForecastEnsemble",
        lambda world: message(
            forecasting.ForecastEnsembleRequest,
            subject=world.ref("campaign"),
            metric="cpl",
            options={"as_of_date": LAST},
        ),
    ),
    Question(
        "forecasting.ForecastNewEntity",
        lambda world: message(
            forecasting.ForecastNewEntityRequest,
            subject=world.ref("ad"),
            metric="leads",
            donors=[world.ref("ad", index) for index in (1, 2, 3)],
            tier="moderate",
            options={"as_of_date": LAST},
        ),
    ),
    Question(
        "forecasting.BatchForecast",
        lambda world: message(
            forecasting.BatchForecastRequest,
            items=[{"subject": world.ref("adset", index), "metric": "leads"} for index in range(4)],
            options={"as_of_date": LAST},
        ),
    ),
    Question(
        "forecasting.Backtest",
        lambda world: message(
            forecasting.BacktestRequest,
            subjects=[world.ref("campaign", index) for index in range(2)],
            metric="leads",
            methods=["linear", "ema", "ensemble"],
            cutoffs=2,
            attribution_lag_days=0,
        ),
    ),
    Question(
        "anomaly.DetectAnomalies",
        lambda world: message(
            anomaly.DetectAnomaliesRequest, subject=world.ref("adset"), options={"as_of_date": LAST}
        ),
    ),
    Question(
        "anomaly.BatchDetectAnomalies",
        lambda world: message(
            anomaly.BatchDetectAnomaliesRequest,
            subjects=[world.ref("adset", index) for index in range(4)],
            options={"as_of_date": LAST},
        ),
    ),
    Question(
        "impact.AnalyzeImpact",
        lambda world: message(
            impact.AnalyzeImpactRequest, **world.change_of_adset(), options={"as_of_date": LAST}
        ),
    ),
    Question(
        "impact.BatchAnalyzeImpact",
        lambda world: message(
            impact.BatchAnalyzeImpactRequest, items=[world.change_of_adset()], options={"as_of_date": LAST}
        ),
    ),
    Question(
        "impact.EstimateDetectableEffect",
        lambda world: message(
            impact.EstimateDetectableEffectRequest, **world.change_of_adset(), options={"as_of_date": LAST}
        ),
    ),
]
NOT_INLINE = {
    "impact.SummarizeChanges": "of recorded changes, which are stored",
    "anomaly.ListIncidents": "of what the scan keeps",
}


def inlined(world: World, request: Message) -> Message:
    """The same request with the rows of its stored entities instead of their names."""
    out = type(request)()
    out.CopyFrom(request)
    _inline(world, out)
    return out


def _inline(world: World, holder: Message) -> None:
    for field, value in holder.ListFields():
        if field.message_type is None:
            continue
        for one in value if field.is_repeated else [value]:
            name = one.DESCRIPTOR.name
            if name in {"Subject", "DetectionSubject"} and one.WhichOneof("source") == "entity":
                one.inline.CopyFrom(world.inline(one.entity))
            elif name == "Panel":
                stored = impact.StoredPanel()
                stored.CopyFrom(one.stored)
                for part in ("treated", "controls"):
                    getattr(one.inline, part).extend(world.inline(ref) for ref in getattr(stored, part))
                one.inline.account_rows.extend(world.account_rows())
                for entity_id, change in world.recorded():
                    one.inline.changes.add(entity_id=entity_id, change=change)
            else:
                _inline(world, one)


def differences(first: Any, second: Any, at: str = "") -> list[str]:
    """Where two answers differ, number for number."""
    if isinstance(first, dict) and isinstance(second, dict):
        keys = [*first, *(key for key in second if key not in first)]
        return [
            one
            for key in keys
            for one in differences(first.get(key), second.get(key), f"{at}.{key}" if at else key)
        ]
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        return [
            one
            for index, pair in enumerate(zip(first, second, strict=True))
            for one in differences(*pair, f"{at}[{index}]")
        ]
    numbers = isinstance(first, int | float) and isinstance(second, int | float)
    same = math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-12) if numbers else first == second
    return [] if same else [f"{at}: {first!r} and {second!r}"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An account in a store, a model of every kind and every level, and the four services: here and over gRPC."""
    folder = tmp_path_factory.mktemp("parity")
    settings = AccountSettings(
        last_day=LAST, days=120, config_id=CONFIG, campaigns=2, adsets=4, ads=8, late_start_share=0.0,
        early_end_share=0.0, random_changes=RandomChanges(count=3),
    )  # fmt: skip
    account = simulate_account(settings, seed=4)
    url = f"sqlite:///{folder / 'adsml.db'}"
    database = Database.open(url)
    database.migrate()
    write_to_store(account, database)
    environment = {
        **os.environ,
        "ADSML_DATABASE_URL": url,
        "ADSML_ARTIFACT_URL": str(folder / "artifacts"),
        "ADSML_CACHE_DIR": str(folder / "cache"),
        "COLUMNS": "200",
    }
    for job in JOBS:
        command = [sys.executable, "-m", "adsml_common.cli", "train", job, "--config-id", str(CONFIG)]
        trained = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert trained.returncode == 0, trained.stdout + trained.stderr
    activate(database, folder)
    daily = MetricStore(database).daily(CONFIG)
    with contextlib.ExitStack() as stack:
        stack.callback(database.close)
        services, targets = {}, {}
        for name in CLIENTS:
            given = settings_of(name, database_url=url, folder=folder)
            opened = importlib.import_module(f"adsml_{name}.server").open_service(given)
            stack.callback(opened.close)
            services[name] = opened.service
            targets[name] = stack.enter_context(build(name, given).start()).target
        yield World(account, daily, environment, services, targets)


def activate(database: Database, folder: Path) -> None:
    """Let every model answer, also those that a gate turned away: so small an account teaches little."""
    registry = ModelRegistry(database, ArtifactStore(str(folder / "artifacts"), cache_dir=folder / "cache"))
    for one in registry.iterate():
        if one.status is ModelStatus.READY:
            registry.activate(one.name, one.version, actor="test", reason="parity")


def in_process(world: World, question: Question, request: Message) -> Any:
    answer = getattr(world.services[question.family], question.name)(request, CallContext(question.name))
    return plain(question, answer)


def by_client(world: World, question: Question, request: Message) -> Any:
    with connect(world.targets[question.family], deadline_seconds=60) as connection:
        method = re.sub("(?<!^)(?=[A-Z])", "_", question.name).lower()
        return plain(question, getattr(CLIENTS[question.family](connection), method)(request, timeout=60))


def plain(question: Question, answer: Any) -> Any:
    """An answer as JSON has it; of a stream the last message."""
    if not isinstance(answer, Message) and hasattr(answer, "message"):  # serialized already
        answer = answer.message()
    if not isinstance(answer, Message):
        *_, answer = answer
    return without_times(to_dict(answer))


def without_times(value: Any) -> Any:
    """What a clock writes differs from call to call."""
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if key != "compute_time"}
    return [without_times(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: one.method)
def test_stored_and_inline_and_the_client_are_one(world: World, question: Question) -> None:
    request = question.request(world)
    stored = in_process(world, question, request)
    assert differences(stored, by_client(world, question, request)) == []
    inline = inlined(world, request)
    assert differences(without_peers(stored), without_peers(in_process(world, question, inline))) == []
    assert differences(without_peers(stored), without_peers(by_client(world, question, inline))) == []


def without_peers(value: Any) -> Any:
    """Inline rows ask fewer peers, by contract: what an answer had to do without may differ."""
    if isinstance(value, dict):
        return {key: without_peers(one) for key, one in value.items() if key != "degradations"}
    return [without_peers(one) for one in value] if isinstance(value, list) else value
