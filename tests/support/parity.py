"""An account with trained models, and the doors by which a question about it gets its answer."""

import contextlib
import importlib
import io
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest
from adsml.common.v1 import change_pb2, entity_pb2, metrics_pb2
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
    rows_from_frame,
)
from adsml_common.cli.ask import to_dict
from adsml_common.cli.main import main
from adsml_common.database import Database
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.models import ModelStatus
from adsml_common.registry.registry import ModelRegistry
from adsml_common.serving.context import CallContext
from adsml_common.store.accounts import Account, bind_account
from adsml_common.store.metrics import MetricStore
from adsml_simulate import AccountSettings, RandomChanges, simulate_account
from adsml_simulate.storing import write_to_store
from google.protobuf.message import Message

from support.families import build, settings_of

CONFIG: Final = 1
LAST: Final = date(2026, 3, 31)
CLIENTS: Final[dict[str, Any]] = {
    "classifier": ClassifierClient,
    "forecasting": ForecastingClient,
    "anomaly": AnomalyClient,
    "impact": ImpactClient,
}
JOBS: Final = {
    "classifier": ("classifiers",),
    "forecasting": ("prophet", "ensemble-weights"),
    "anomaly": ("anomaly-detectors",),
    "impact": (),
}


class World:
    """The account in a store, and each family's models, service and server, made when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = AccountSettings(
            last_day=LAST, days=120, config_id=CONFIG, campaigns=2, adsets=5, ads=10, late_start_share=0.0,
            early_end_share=0.0, shared_budget_share=0.0, random_changes=RandomChanges(count=3),
        )  # fmt: skip
        self.account = simulate_account(settings, seed=4)
        self.url = f"sqlite:///{folder / 'adsml.db'}"
        self.database = Database.open(self.url)
        self.database.migrate()
        write_to_store(self.account, self.database)
        with self.database.write() as connection:
            bind_account(connection, CONFIG, Account(currency_code="EUR"))
        self.environment = {
            **os.environ,
            "ADSML_DATABASE_URL": self.url,
            "ADSML_ARTIFACT_URL": str(folder / "artifacts"),
            "ADSML_CACHE_DIR": str(folder / "cache"),
            "COLUMNS": "200",
        }
        self._doors: dict[str, tuple[Any, str]] = {}
        self._stack = contextlib.ExitStack()
        self._stack.callback(self.database.close)

    def close(self) -> None:
        """Close services, servers and store."""
        self._stack.close()

    # -- the account ------------------------------------------------------------------------------------------

    @cached_property
    def daily(self) -> pd.DataFrame:
        """The stored rows."""
        return MetricStore(self.database).daily(CONFIG)

    def ids(self, level: str) -> list[str]:
        return [one.ref.entity_id for one in self.account.entities if one.ref.entity_type.value == level]

    def ref(self, level: str, index: int = 0) -> entity_pb2.EntityRef:
        return entity_ref(CONFIG, level, self.ids(level)[index])

    def inline(self, ref: entity_pb2.EntityRef) -> entity_pb2.InlineSeries:
        """The rows of a stored entity, as a caller sends them who names whose they are."""
        level = entity_pb2.EntityType.Name(ref.entity_type).removeprefix("ENTITY_TYPE_").lower()
        own = (self.daily["entity_type"] == level) & (self.daily["entity_id"] == ref.entity_id)
        return inline_series(
            rows_from_frame(self.daily[own]), entity_type=level, entity_id=ref.entity_id, config_id=CONFIG
        )

    def account_rows(self) -> list[metrics_pb2.DailyMetrics]:
        """The whole account's days: the sums of its campaigns."""
        figures = ["spend", "impressions", "clicks", "leads"]
        campaigns = self.daily[self.daily["entity_type"] == "campaign"]
        return rows_from_frame(campaigns.groupby("date", as_index=False)[figures].sum())

    def changes_around(self, adsets: list[str]) -> list[tuple[str, change_pb2.ChangeEvent]]:
        """Recorded changes of ad sets, of their campaigns and of their ads, each named by the ad set."""
        parents = {one.ref.entity_id: one.parent_id for one in self.account.entities}
        return [
            (adset, change)
            for changed, change in self.changes()
            for adset in adsets
            if changed in {adset, parents[adset]} or parents[changed] == adset
        ]

    def changes(self) -> list[tuple[str, change_pb2.ChangeEvent]]:
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
        """Panel and change of an ad set's edit that has nine days behind it; all other ad sets are its controls."""
        adsets = self.ids("adset")
        treated, change = next(
            (one, change)
            for one, change in reversed(self.changes())
            if one in adsets and (LAST - day(change.date)).days >= 9
        )
        refs = {one: entity_ref(CONFIG, "adset", one) for one in adsets}
        controls = [ref for one, ref in refs.items() if one != treated]
        return {"panel": {"stored": {"treated": [refs[treated]], "controls": controls}}, "change": change}

    # -- the doors --------------------------------------------------------------------------------------------

    def _door(self, family: str) -> tuple[Any, str]:
        if family not in self._doors:
            for job in JOBS[family]:
                self.train(job)
            if family == "anomaly":
                self.run("scan-anomalies", "--config-id", str(CONFIG), "--as-of-date", str(LAST))
            settings = settings_of(family, database_url=self.url, folder=self.folder)
            opened = importlib.import_module(f"adsml_{family}.server").open_service(settings)
            self._stack.callback(opened.close)
            server = self._stack.enter_context(build(family, settings).start())
            self._doors[family] = opened.service, server.target
        return self._doors[family]

    def train(self, job: str) -> None:
        """Train, and let every model answer, also those that a gate turned away: so small an account teaches little."""
        self.run("train", job, "--config-id", str(CONFIG))
        artifacts = ArtifactStore(str(self.folder / "artifacts"), cache_dir=self.folder / "cache")
        registry = ModelRegistry(self.database, artifacts)
        for one in registry.iterate(status=ModelStatus.READY):
            registry.activate(one.name, one.version, actor="test", reason="parity")

    def run(self, *arguments: str) -> None:
        """A command in a process of its own."""
        command = [sys.executable, "-m", "adsml_common.cli", *arguments]
        ran = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr

    def service(self, family: str) -> Any:
        """The service in this process, on the store."""
        return self._door(family)[0]

    def target(self, family: str) -> str:
        """The address of a server with it."""
        return self._door(family)[1]

    def in_process(self, method: str, request: Message) -> Any:
        """The answer of the service in this process, as JSON has it."""
        family, _, name = method.partition(".")
        return plain(getattr(self.service(family), name)(request, CallContext(name)))

    def by_client(self, method: str, request: Message) -> Any:
        """The answer that the client gets from a server, as JSON has it."""
        family, _, name = method.partition(".")
        snake = re.sub("(?<!^)(?=[A-Z])", "_", name).lower()
        with connect(self.target(family), deadline_seconds=60) as connection:
            return plain(getattr(CLIENTS[family](connection), snake)(request, timeout=60))

    def adsml(self, *arguments: str) -> str:
        """What a command prints, run in this process on the store."""
        out = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
            for name, value in self.environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["adsml", *arguments])
            with pytest.raises(SystemExit) as left:
                main()
        assert not left.value.code, out.getvalue()
        return out.getvalue()

    @contextlib.contextmanager
    def recorded(self, family: str, methods: set[str]) -> Any:
        """What the family's service is asked in this process, and answers: method, request, answer."""
        kind, calls = type(self.service(family)), []

        def recording(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
            def call(service: Any, request: Message, context: CallContext) -> Any:
                answer = method(service, request, context)
                calls.append((f"{family}.{name}", request, answer))
                return answer

            return call

        with pytest.MonkeyPatch.context() as patch:
            for name in methods:
                patch.setattr(kind, name, recording(name, getattr(kind, name)))
            yield calls


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
                refs = [*stored.treated, *stored.controls]
                for entity_id, change in world.changes_around([ref.entity_id for ref in refs]):
                    one.inline.changes.add(entity_id=entity_id, change=change)
            else:
                _inline(world, one)


def plain(answer: Any) -> Any:
    """An answer as JSON has it, without what a clock wrote; of a stream the last message."""
    if not isinstance(answer, Message) and hasattr(answer, "message"):  # serialized already
        answer = answer.message()
    if not isinstance(answer, Message):
        *_, answer = answer
    return without(to_dict(answer), "compute_time")


def without(value: Any, name: str) -> Any:
    """JSON without the fields of one name, wherever they are."""
    if isinstance(value, dict):
        return {key: without(one, name) for key, one in value.items() if key != name}
    return [without(one, name) for one in value] if isinstance(value, list) else value


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
