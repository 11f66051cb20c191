"""The whole service on a real port, asked through a real stub; peers missing, slow or broken."""

import multiprocessing
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import grpc
import pytest
from adsml.anomaly.v1 import anomaly_service_pb2 as anomaly_pb
from adsml.anomaly.v1 import anomaly_service_pb2_grpc as anomaly_grpc
from adsml.common.v1 import answer_pb2, entity_pb2, metrics_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as pb
from adsml.forecasting.v1 import forecasting_service_pb2_grpc as pb_grpc
from adsml_common.database import Database
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.registry import ModelRegistry
from adsml_common.serving.messages import day_message
from adsml_common.serving.server import ServerBuilder
from adsml_common.serving.settings import ServingSettings
from adsml_common.store.changes import ChangeStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore
from adsml_common.training.records import Item
from adsml_forecasting import registered as models
from adsml_forecasting.server import build
from adsml_forecasting.settings import ForecastingSettings
from adsml_forecasting.training import jobs as training
from google.rpc import error_details_pb2, status_pb2
from support.forecasting import account
from support.serving import eventually

LEADS = metrics_pb2.METRIC_LEADS
ANOMALY = answer_pb2.DEPENDENCY_ANOMALY_SERVICE
FAST = [pb.FORECAST_METHOD_EMA, pb.FORECAST_METHOD_LINEAR, pb.FORECAST_METHOD_SEASONAL_NAIVE]


@pytest.fixture
def url(sqlite_template: Path, tmp_path: Path) -> str:
    """A database with four campaigns, of 90, 90, 90 and 4 days, and ad sets below the first."""
    path = tmp_path / "adsml.db"
    shutil.copy(sqlite_template, path)
    database = Database.open(f"sqlite:///{path}")
    try:
        store = MetricStore(database)
        store.upsert_daily(1, account({"1": 90, "2": 90, "3": 90, "4": 4}), source="test")
        store.upsert_daily(1, account({"11": 90, "12": 60, "13": 5}, level="adset", seed=1), source="test")
        EntityStore(database).upsert(
            Entity(EntityRef(1, EntityType.ADSET, name), parent_id="1") for name in ("11", "12", "13")
        )
        changed = EntityRef(1, EntityType.CAMPAIGN, "1")
        ChangeStore(database).upsert([ChangeEvent(changed, ChangeType.BUDGET_CHANGE, date(2024, 2, 20))])
    finally:
        database.close()
    return f"sqlite:///{path}"


@contextmanager
def served(url: str, tmp_path: Path, **given: Any) -> Iterator[pb_grpc.ForecastingServiceStub]:
    settings = ForecastingSettings(
        database_url=url,
        artifact_url=str(tmp_path / "artifacts"),
        cache_dir=tmp_path / "cache",
        port=0,
        drain_wait_seconds=0,
        **{"batch_processes": 0} | given,
    )
    with (
        build(settings, warm_up=lambda: None).start() as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield pb_grpc.ForecastingServiceStub(channel)


def stored(name: str, kind: int = entity_pb2.ENTITY_TYPE_CAMPAIGN) -> entity_pb2.Subject:
    return entity_pb2.Subject(
        entity=entity_pb2.EntityRef(config_id=1, entity_type=kind, entity_id=name)  # type: ignore[arg-type]
    )


def ensemble(subject: entity_pb2.Subject, **options: Any) -> pb.ForecastEnsembleRequest:
    return pb.ForecastEnsembleRequest(
        subject=subject,
        metric=LEADS,
        options=pb.ForecastOptions(**options),
        ensemble=pb.EnsembleOptions(members=FAST, combiner=pb.COMBINER_INVERSE_MAPE),
    )


def test_every_method_answers(url: str, tmp_path: Path) -> None:
    with served(url, tmp_path, batch_processes=1) as stub:
        assert len(multiprocessing.active_children()) == 1  # started before SERVING, not by the first batch
        one = stub.ForecastEnsemble(ensemble(stored("1")), timeout=300).forecast
        assert [day.date.day for day in one.days] == [31, 1, 2, 3, 4, 5, 6]
        assert one.total.value == pytest.approx(sum(day.value for day in one.days))
        assert (
            one.last_week_total
            == account({"1": 90, "2": 90, "3": 90, "4": 4}).query("entity_id == '1'")["leads"].iloc[-7:].sum()
        )
        assert all(day.interval.lower <= day.value <= day.interval.upper for day in one.days)
        assert sum(member.weight for member in one.members) == pytest.approx(1)
        assert [shift.date.day for shift in one.level_shifts] == [20]
        assert {d.reason for d in one.degradations} == {answer_pb2.DEGRADATION_REASON_NOT_CONFIGURED}

        single = stub.Forecast(
            pb.ForecastRequest(
                subject=stored("1"), metric=metrics_pb2.METRIC_CPL, method=pb.FORECAST_METHOD_EMA
            ),
            timeout=300,
        ).forecast
        assert single.total.value == pytest.approx(10, rel=0.2)
        assert single.ratio_mode == pb.RATIO_MODE_PARTS

        new = stub.ForecastNewEntity(
            pb.ForecastNewEntityRequest(subject=stored("13", entity_pb2.ENTITY_TYPE_ADSET), metric=LEADS),
            timeout=300,
        )
        assert new.transfer.own_days == 5
        assert new.transfer.parent.entity_id == "1"
        assert {donor.entity.entity_id for donor in new.transfer.donors} == {"11", "12"}
        assert new.forecast.answered_by.source == answer_pb2.ANSWER_SOURCE_TRANSFER

        batch = stub.BatchForecast(
            pb.BatchForecastRequest(
                items=[
                    pb.BatchForecastItem(subject=stored("1"), metric=LEADS),
                    pb.BatchForecastItem(subject=stored("2"), metric=LEADS),
                    pb.BatchForecastItem(subject=stored("nobody"), metric=LEADS),
                    pb.BatchForecastItem(
                        subject=stored("4"), metric=LEADS, method=pb.FORECAST_METHOD_PROPHET
                    ),
                    # Of no method of its own, and of a number that is no method.
                    pb.BatchForecastItem(
                        subject=stored("1"), metric=LEADS, method=pb.FORECAST_METHOD_TRANSFER
                    ),
                    pb.BatchForecastItem(subject=stored("1"), metric=LEADS, method=99),  # type: ignore[arg-type]
                ],
                ensemble=pb.EnsembleOptions(members=FAST, combiner=pb.COMBINER_MEAN),
            ),
            timeout=300,
        )
        assert [result.WhichOneof("result") for result in batch.results] == [
            "forecast",
            "forecast",
            *["error"] * 4,
        ]
        assert [result.error.code for result in batch.results] == [0, 0, 5, 9, 3, 3]

        events = list(
            stub.Backtest(
                pb.BacktestRequest(
                    subjects=[stored("1"), stored("2"), stored("4")],
                    metric=LEADS,
                    methods=[*FAST, pb.FORECAST_METHOD_ENSEMBLE],
                    bootstrap_samples=50,
                ),
                timeout=300,
            )
        )
        assert events[0].WhichOneof("event") == "progress"
        report = events[-1].report
        assert report.series == 2
        assert "needs 37" in report.skipped[0].reason
        assert {row.method for row in report.methods} == {*FAST, pb.FORECAST_METHOD_ENSEMBLE}
        wmape = [row.wmape.value for row in report.methods]
        assert wmape == sorted(wmape)
    eventually(lambda: not multiprocessing.active_children())


def test_too_little_history_says_how_much(url: str, tmp_path: Path) -> None:
    request = pb.ForecastRequest(subject=stored("4"), metric=LEADS, method=pb.FORECAST_METHOD_PROPHET)
    with served(url, tmp_path) as stub, pytest.raises(grpc.RpcError) as caught:
        stub.Forecast(request, timeout=300)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    raw = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    assert status_pb2.Status.FromString(raw).details[0].Unpack(info)
    assert dict(info.metadata) == {"days_had": "4", "days_needed": "14"}


def test_trained_weights_answer_and_say_so(url: str, tmp_path: Path) -> None:
    database = Database.open(url)
    try:
        registry = ModelRegistry(
            database, ArtifactStore(str(tmp_path / "artifacts"), cache_dir=tmp_path / "cache")
        )
        item = Item(
            "1/campaign/leads",
            1,
            EntityType.CAMPAIGN,
            None,
            {"metric": "leads", "attribution_lag_days": 0},
        )
        result = training.train_ensemble(item, store=MetricStore(database), registry=registry, run_id=None)
        assert result.model is not None
        # Poisson counts with a weekly season: the gate's bar, last week repeated, is far off.
        assert registry.active("ensemble/1/campaign/leads") is not None, result.reason
        assert models.parse(result.model, registry.read(result.model))
    finally:
        database.close()
    with served(url, tmp_path) as stub:
        request = pb.ForecastEnsembleRequest(subject=stored("2"), metric=LEADS)
        found = stub.ForecastEnsemble(request, timeout=300).forecast
    assert found.answered_by.source == answer_pb2.ANSWER_SOURCE_MODEL
    assert found.answered_by.model.name == "ensemble/1/campaign/leads"
    assert found.calibration.coverage_samples > 0


class _Anomaly(anomaly_grpc.AnomalyServiceServicer):
    """Flags 2024-03-28, after `wait` is set."""

    def __init__(self) -> None:
        self.wait = threading.Event()
        self.wait.set()
        self.fail = False

    def BatchDetectAnomalies(self, request: Any, context: Any) -> anomaly_pb.BatchDetectAnomaliesResponse:
        self.wait.wait(30)
        if self.fail:
            context.abort(grpc.StatusCode.INTERNAL, "no")
        out = anomaly_pb.BatchDetectAnomaliesResponse()
        for _ in request.subjects:
            out.results.add().report.days.add(anomalous=True, date=day_message(date(2024, 3, 28)))
        return out

    def DetectAnomalies(self, request: Any, context: Any) -> anomaly_pb.DetectAnomaliesResponse:
        return anomaly_pb.DetectAnomaliesResponse()

    def DetectAccountAnomalies(self, request: Any, context: Any) -> anomaly_pb.DetectAccountAnomaliesResponse:
        return anomaly_pb.DetectAccountAnomaliesResponse()

    def ListIncidents(self, request: Any, context: Any) -> anomaly_pb.ListIncidentsResponse:
        return anomaly_pb.ListIncidentsResponse()

    def RecordFeedback(self, request: Any, context: Any) -> anomaly_pb.RecordFeedbackResponse:
        return anomaly_pb.RecordFeedbackResponse()


@contextmanager
def anomaly_service() -> Iterator[tuple[_Anomaly, str]]:
    servicer = _Anomaly()
    builder = ServerBuilder(ServingSettings(port=0, drain_wait_seconds=0)).add(
        servicer, "adsml.anomaly.v1.AnomalyService"
    )
    with builder.start() as server:
        yield servicer, f"127.0.0.1:{server.port}"
        servicer.wait.set()


def reasons(found: pb.Forecast) -> dict[str, int]:
    return {one.dependency: one.reason for one in found.degradations}


def test_a_peer_masks_days_and_may_be_slow_broken_or_off(url: str, tmp_path: Path) -> None:
    with anomaly_service() as (peer, target), served(url, tmp_path, anomaly_target=target) as stub:
        found = stub.ForecastEnsemble(ensemble(stored("1")), timeout=30).forecast
        assert [(day.date.day, day.reason) for day in found.masked_days] == [(28, pb.MASK_REASON_ANOMALY)]
        assert ANOMALY not in reasons(found)

        off = stub.ForecastEnsemble(
            ensemble(stored("1"), peers=pb.PeerOptions(mask_anomalies=False)), timeout=30
        ).forecast
        assert reasons(off)[ANOMALY] == answer_pb2.DEGRADATION_REASON_DISABLED_BY_REQUEST

        peer.wait.clear()
        began = time.monotonic()
        slow = stub.ForecastEnsemble(ensemble(stored("2")), timeout=20).forecast
        assert reasons(slow)[ANOMALY] == answer_pb2.DEGRADATION_REASON_DEADLINE
        assert len(slow.days) == 7
        assert time.monotonic() - began < 20
        peer.wait.set()

        peer.fail = True
        broken = stub.ForecastEnsemble(ensemble(stored("3")), timeout=30).forecast
        assert reasons(broken)[ANOMALY] == answer_pb2.DEGRADATION_REASON_FAILED


def test_a_stopped_peer_is_reported(url: str, tmp_path: Path) -> None:
    with served(url, tmp_path, anomaly_target="127.0.0.1:1") as stub:
        found = stub.ForecastEnsemble(ensemble(stored("1")), timeout=30).forecast
    assert reasons(found)[ANOMALY] in (
        answer_pb2.DEGRADATION_REASON_UNAVAILABLE,
        answer_pb2.DEGRADATION_REASON_DEADLINE,
    )
