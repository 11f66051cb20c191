"""Metrics, logs, traces, reflection: what is seen from outside."""

import datetime as dt
import json
import logging
import shutil
import subprocess
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from sys import executable
from types import SimpleNamespace

import grpc
import pytest
from adsml.common.v1 import answer_pb2, entity_pb2, metrics_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting_pb2
from adsml.registry.v1 import registry_service_pb2 as pb
from adsml_common.domain.errors import NotFound
from adsml_common.serving.context import CallContext
from adsml_common.serving.logs import CallFilter, JsonFormatter, current_call
from adsml_common.serving.serialized import SerializedResponse
from adsml_common.serving.telemetry import ModelCollector
from google.type import date_pb2
from support.serving import FORECASTING, REGISTRY, SECONDS, builder, eventually, refusal, running

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@dataclass(frozen=True)
class Loaded:
    name: str
    version: int
    created_at: dt.datetime


def models_in_memory(versions, stats=None):
    loaded = [SimpleNamespace(version=one) for one in versions]
    return ModelCollector(SimpleNamespace(in_memory=lambda: loaded, stats=lambda: stats or {}))


def read(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS) as answer:
        lines = answer.read().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_prometheus_reads_rate_errors_duration_queue_and_models():
    def get_model(request, context):
        raise NotFound("no")

    models = [Loaded("classifier/1/adset", 7, dt.datetime.now(dt.UTC) - dt.timedelta(hours=2))]
    built = builder({"GetModel": get_model}, metrics_port=0).metrics(models_in_memory(models))
    labels = f'method="GetModel",service="{REGISTRY}"'
    with running(built) as service:
        port = service.server.runtime.metrics_port
        before = float(read(port).get(f'adsml_rpc_handled_total{{code="NOT_FOUND",{labels}}}', 0))
        refusal(lambda: service.registry.GetModel(pb.GetModelRequest(family=1, name="a"), timeout=SECONDS))
        eventually(
            # Counted once the answer is out, so that at first there may be no such line.
            lambda: (
                float(read(port).get(f'adsml_rpc_handled_total{{code="NOT_FOUND",{labels}}}', 0))
                == before + 1
            )
        )
        now = read(port)
    assert float(now[f"adsml_rpc_seconds_count{{{labels}}}"]) >= 1
    assert float(now[f"adsml_rpc_in_flight{{{labels}}}"]) == 0
    assert float(now['adsml_queue_waiting{pool="registry/calls"}']) == 0
    assert float(now['adsml_model_version{name="classifier/1/adset"}']) == 7
    assert 7_100 < float(now['adsml_model_age_seconds{name="classifier/1/adset"}']) < 7_400


def test_an_answer_written_as_bytes_goes_out_as_it_is_and_its_degradations_are_counted():
    told = [answer_pb2.Degradation(reason=answer_pb2.DEGRADATION_REASON_CORRUPT)]
    model = pb.GetModelResponse(model=pb.Model(model_type="a"))

    def get_model(request, context):
        if request.name == "another":
            return SerializedResponse(pb.ListModelsResponse, b"")
        return SerializedResponse(pb.GetModelResponse, model.SerializeToString(), told)

    with running(builder({"GetModel": get_model}, metrics_port=0)) as service:
        series = f'adsml_degradations_total{{method="GetModel",reason="CORRUPT",service="{REGISTRY}"}}'
        port = service.server.runtime.metrics_port
        before = float(read(port).get(series, 0))
        assert service.registry.GetModel(pb.GetModelRequest(family=1, name="a"), timeout=SECONDS) == model
        assert float(read(port)[series]) == before + 1
        # Bytes of another message are as wrong as another message.
        refused = refusal(
            lambda: service.registry.GetModel(pb.GetModelRequest(family=1, name="another"), timeout=SECONDS)
        )
        assert refused.code is grpc.StatusCode.INTERNAL


def test_prometheus_reads_shedding_degradations_and_the_cache():
    let_go = threading.Event()
    reason = answer_pb2.DEGRADATION_REASON_STALE
    forecast = forecasting_pb2.Forecast(degradations=[answer_pb2.Degradation(reason=reason)])
    degraded = forecasting_pb2.ForecastResponse(forecast=forecast)

    def list_models(request, context):
        let_go.wait(SECONDS)
        return pb.ListModelsResponse()

    built = builder(
        {"ListModels": list_models, "Forecast": lambda request, context: degraded},
        metrics_port=0,
        workers=1,
        queue_size=1,
    ).metrics(
        models_in_memory(
            [], {"hits": 5, "loads": 3, "swaps": 2, "evictions": 1, "failures": 4, "fallbacks": 6}
        )
    )
    series = entity_pb2.InlineSeries(
        entity_type=1,
        rows=[
            metrics_pb2.DailyMetrics(
                date=date_pb2.Date(year=2026, month=3, day=1), spend=1, impressions=1, clicks=1, leads=1
            )
        ],
    )
    asked = forecasting_pb2.ForecastRequest(
        subject=entity_pb2.Subject(inline=series),
        metric=metrics_pb2.METRIC_LEADS,
        method=forecasting_pb2.FORECAST_METHOD_EMA,
    )
    with running(built) as service:
        port = service.server.runtime.metrics_port
        service.forecasting.Forecast(asked, timeout=SECONDS)
        calls = [
            service.registry.ListModels.future(pb.ListModelsRequest(family=1), timeout=SECONDS)
            for _ in range(6)
        ]
        try:
            eventually(lambda: sum(call.done() for call in calls) >= 4)
            now = read(port)
        finally:
            let_go.set()
    labels = f'method="ListModels",reason="overloaded",service="{REGISTRY}"'
    assert float(now[f"adsml_shed_total{{{labels}}}"]) >= 4
    assert sum(float(value) for name, value in now.items() if name.startswith("adsml_queue_busy")) >= 2
    labels = f'method="Forecast",reason="STALE",service="{FORECASTING}"'
    assert float(now[f"adsml_degradations_total{{{labels}}}"]) >= 1
    events = {"hits": 5, "loads": 3, "swaps": 2, "evictions": 1, "failures": 4, "fallbacks": 6}
    assert {one: float(now[f'adsml_model_cache_total{{event="{one}"}}']) for one in events} == events


def test_log_lines_are_json_and_name_their_call():
    record = logging.makeLogRecord(
        {"msg": "loaded %s", "args": ("it",), "levelname": "INFO", "name": "a", "x": 1}
    )
    call = CallContext("/s/m", request_id="abc")
    call.trace_id = TRACE
    token = current_call.set(call)
    try:
        CallFilter().filter(record)
    finally:
        current_call.reset(token)
    line = json.loads(JsonFormatter().format(record))
    assert (line["message"], line["request_id"], line["trace_id"], line["x"]) == (
        "loaded it",
        "abc",
        TRACE,
        1,
    )
    assert dt.datetime.fromisoformat(line["time"])


def test_the_callers_trace_is_on_the_call_without_opentelemetry():
    seen = []

    def list_models(request, context):
        seen.append((context.trace_id, current_call.get() is context))
        return pb.ListModelsResponse()

    metadata = (("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"),)
    with running(builder({"ListModels": list_models})) as service:
        service.registry.ListModels(pb.ListModelsRequest(family=1), timeout=SECONDS, metadata=metadata)
    assert seen == [(TRACE, True)]


def test_spans_are_children_of_the_callers_and_travel_on():
    export = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    import grpc
    from adsml_common.serving.field_collector import FieldCollector
    from adsml_common.serving.methods import Method
    from adsml_common.serving.tracing import OpenTelemetry
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    exporter = export.InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = OpenTelemetry(provider)
    method = Method(
        REGISTRY, "ListModels", lambda r, c: None, pb.ListModelsRequest, pb.ListModelsResponse, False, "adsml.read",
        FieldCollector(pb.ListModelsResponse.DESCRIPTOR, lambda field: False),
    )  # fmt: skip
    call = CallContext(
        method.path, request_id="abc", metadata={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    )
    tracing.begin(call, method)
    tracing.active(call, lambda: provider.get_tracer("t").start_span("inner").end())()
    tracing.end(call, grpc.StatusCode.INTERNAL)
    inner, span = exporter.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == call.trace_id == TRACE
    assert f"{span.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert inner.parent.span_id == span.context.span_id
    assert span.attributes["rpc.grpc.status_code"] == 13
    assert dict(call.outgoing())["traceparent"] == f"00-{TRACE}-{span.context.span_id:016x}-01"


def test_a_client_nobody_here_wrote_finds_its_way_by_reflection():
    buf = Path(executable).with_name("buf")
    if not buf.exists() and not shutil.which("buf"):
        pytest.skip("needs buf, which `make setup` installs")
    with running(builder({"ListModels": lambda r, c: pb.ListModelsResponse(next_page_token="t")})) as service:
        done = subprocess.run(
            [
                str(buf), "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--reflect",
                "--data", '{"family": "FAMILY_FORECASTING"}', f"http://{service.server.target}/{REGISTRY}/ListModels",
            ],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"nextPageToken": "t"}
