"""How fast forecasts come: many at once beside the libraries, a first question, the first batches of a server."""

import logging
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from adsml_common.domain.metrics import Metric
from adsml_forecasting.models.answering import ForecastTask, answer
from adsml_forecasting.models.calibration import Combiner, Weights, calibrate
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.origins import Task, cores, forecast_origins, worker_pool
from adsml_forecasting.models.prediction import (
    DEFAULT_MEMBERS,
    ForecastSpec,
    LearnedModels,
    Source,
    predict,
)
from adsml_forecasting.models.prepared import Prepared, Surroundings
from adsml_forecasting.models.series import DailySeries, EntityHistory
from adsml_simulate import small_accounts


def task_of(series: DailySeries, learned: LearnedModels | None = None) -> ForecastTask:
    """A question about leads of which nothing else is known."""
    columns = {"leads": series.values}
    history = EntityHistory(series.first_day, columns, series.name, series.last_day)
    return ForecastTask(
        history,
        Metric.LEADS,
        series.last_day,
        ForecastSpec(),
        Surroundings(),
        learned=(learned or LearnedModels(),),
    )


def throughput(count: int, days: int) -> dict[str, Any]:
    """Questions answered by registered weights, intervals and all, against the members by their own libraries.

    Ours as `BatchForecast` does it: over all cores, after the processes are warm. The others one series after the
    other in one process, as a loop over libraries would, on a part of the series; beside it ours in one process on
    that part.
    """
    rng = np.random.default_rng(0)
    season = 1 + 0.3 * np.sin(2 * np.pi * np.arange(days) / 7)
    table = rng.poisson(20 * season, size=(count, days)).astype(float)
    series = [DailySeries(19_000, row, True, f"s{at}") for at, row in enumerate(table)]
    members = DEFAULT_MEMBERS
    weights = Weights(Combiner.STACKED, dict.fromkeys(members, 1 / len(members)))
    tasks = [Task(one, [days - 14, days - 7]) for one in series[:20]]
    origins = forecast_origins(tasks, methods=members, horizon=7)
    calibration = calibrate(origins, members=members, level=0.9, weights=weights)
    learned = LearnedModels(calibration=calibration)
    questions = [task_of(one, learned) for one in series]
    part = max(count // 20, 5)
    answer(questions[0])
    began = time.perf_counter()
    for question in questions[:part]:
        found = answer(question).prediction
        if {member.method for member in found.members} != set(members) or found.source is not Source.MODEL:
            raise RuntimeError(f"not what was to be measured: {found.source} by {found.members}")
    alone = time.perf_counter() - began
    with worker_pool() as pool:
        list(pool.map(answer, questions[:20]))
        began = time.perf_counter()
        list(pool.map(answer, questions))
        ours = time.perf_counter() - began
    theirs = one_by_one(table[:part])
    return {
        "series": count,
        "days": days,
        "members": [member.value for member in members],
        "cores": cores(),
        "seconds": round(ours, 2),
        "part": part,
        "part_seconds_one_process": round(alone, 2),
        "part_seconds_own_libraries": round(sum(theirs.values()), 2),
        "part_seconds_by_library": {name: round(spent, 2) for name, spent in theirs.items()},
        "seconds_own_libraries_extrapolated": round(sum(theirs.values()) * count / part, 1),
        "ratio": round(sum(theirs.values()) * count / part / ours, 2),
        "ratio_one_process": round(sum(theirs.values()) / alone, 2),
    }


def one_by_one(table: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    """Seconds for the same members by statsforecast and Prophet themselves, by member; ours for EMA."""
    from adsml_forecasting.models.methods import forecast
    from prophet import Prophet
    from statsforecast import models

    logging.getLogger("cmdstanpy").setLevel(logging.ERROR)
    dates = pd.date_range("2022-01-08", periods=table.shape[1] + 7)

    def prophet(row: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        model = Prophet(uncertainty_samples=0, daily_seasonality=False)
        model.fit(pd.DataFrame({"ds": dates[:-7], "y": row}))
        model.predict(pd.DataFrame({"ds": dates[-7:]}))

    ways: dict[str, Callable[[np.ndarray[Any, np.dtype[np.float64]]], object]] = {
        "AutoETS": lambda row: models.AutoETS(season_length=7, damped=True).forecast(y=row, h=7),
        "AutoCES": lambda row: models.AutoCES(season_length=7).forecast(y=row, h=7),
        "DynamicOptimizedTheta": lambda row: models.DynamicOptimizedTheta(
            season_length=7, decomposition_type="additive"
        ).forecast(y=row, h=7),
        "Prophet": prophet,
        "EMA (ours)": lambda row: forecast(Method.EMA, DailySeries(19_000, row), 7),
    }
    seconds = {}
    for name, way in ways.items():
        way(table[0])
        began = time.perf_counter()
        for row in table:
            way(row)
        seconds[name] = time.perf_counter() - began
    return seconds


def cached() -> dict[str, float]:
    """A first question, milliseconds."""
    rng = np.random.default_rng(0)
    series = DailySeries(19_000, rng.poisson(20, 120).astype(float))
    predict(Prepared.of_series(series, horizon=7), ForecastSpec())
    began = time.perf_counter()
    answer(task_of(series))
    return {"first_ms": round(1000 * (time.perf_counter() - began), 2)}


def first_batch() -> dict[str, Any]:
    """A server of its own: seconds until SERVING, and of the first batches after it, four entities and twenty."""
    import grpc
    from adsml.forecasting.v1 import forecasting_service_pb2 as pb
    from adsml.forecasting.v1 import forecasting_service_pb2_grpc as pb_grpc
    from adsml_common.database import Database
    from adsml_common.store.metrics import MetricStore
    from adsml_forecasting.server import build
    from adsml_forecasting.settings import ForecastingSettings
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        url = f"sqlite:///{scratch}/adsml.db"
        database = Database.open(url)
        database.migrate()
        daily = next(iter(small_accounts(1, last_day=date(2026, 3, 31), seed=5, days=120))).daily
        campaign = daily[daily["entity_type"] == "campaign"]
        campaign = campaign[campaign["entity_id"] == campaign["entity_id"].iloc[0]]
        copies = [campaign.assign(entity_id=str(one)) for one in range(20)]
        MetricStore(database).upsert_daily(1, pd.concat(copies, ignore_index=True), source="bench")
        database.close()
        settings = ForecastingSettings(
            database_url=url,
            artifact_url=f"{scratch}/models",
            cache_dir=Path(scratch) / "cache",
            port=0,
            drain_wait_seconds=0,
        )
        began = time.perf_counter()
        with build(settings).start() as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            health = health_pb2_grpc.HealthStub(channel)
            while health.Check(health_pb2.HealthCheckRequest(), timeout=60, wait_for_ready=True).status != 1:
                time.sleep(0.05)
            out["seconds_to_serving"] = round(time.perf_counter() - began, 2)
            stub = pb_grpc.ForecastingServiceStub(channel)
            for name, count in (("first_4", 4), ("next_20", 20)):
                request = pb.BatchForecastRequest()
                for one in range(count):
                    entity = {"config_id": 1, "entity_type": "ENTITY_TYPE_CAMPAIGN", "entity_id": str(one)}
                    request.items.add(subject={"entity": entity}, metric="METRIC_LEADS")
                began = time.perf_counter()
                answered = stub.BatchForecast(request, timeout=120).results
                out[f"{name}_seconds"] = round(time.perf_counter() - began, 2)
                out[f"{name}_answered"] = sum(one.HasField("forecast") for one in answered)
    return out
