"""The gateway: a real Envoy in front of all four real services."""

import contextlib
import json
import shutil
import socket
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import pytest
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting_pb
from adsml.registry.v1 import registry_service_pb2 as registry_pb
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml_common.cli.gateway import gateway_config
from adsml_common.database import Database
from adsml_common.gateway import FAMILY_HEADER
from adsml_simulate import clean, simulate_account
from adsml_simulate.storing import write_to_store
from support.browser import browser, find_browser
from support.calling import CALLING, contracts, npm_install
from support.databases import migrated
from support.serving import eventually, free_port

ENVOY = Path(sys.executable).with_name("envoy")
FAMILIES = ("classifier", "forecasting", "anomaly", "impact")
ORIGIN = "https://dash.example.com"


@dataclass(frozen=True)
class Gateway:
    """A running gateway."""

    port: int
    metrics_port: int
    page_port: int
    last_day: date
    campaign: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Status and parsed JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data=data, headers={"content-type": "application/json", **headers}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """All four services on a simulated account, and the gateway before them."""
    folder = tmp_path_factory.mktemp("gateway")
    url = f"sqlite:///{folder / 'adsml.db'}"
    migrated(url)
    last = date(2026, 5, 31)
    account = simulate_account(clean(last_day=last, days=80), seed=3)
    database = Database.open(url)
    write_to_store(account, database)
    database.close()
    with contextlib.ExitStack() as stack:
        backends = []
        for family in FAMILIES:
            settings = getattr(import_module(f"adsml_{family}.settings"), f"{family.capitalize()}Settings")
            built = import_module(f"adsml_{family}.server").build(
                settings(
                    database_url=url,
                    artifact_url=str(folder / "models"),
                    cache_dir=folder / "cache",
                    port=0,
                    drain_wait_seconds=0,
                )
            )
            server = stack.enter_context(built.start())
            backends.append(f"{family}={server.target}")
        port, metrics_port, page_port = free_port(), free_port(), free_port()
        gateway_config(
            output=folder / "config",
            backend=backends,
            port=port,
            metrics_port=metrics_port,
            origin=[ORIGIN, f"http://127.0.0.1:{page_port}"],
        )
        with (folder / "envoy.log").open("wb") as log:
            envoy = subprocess.Popen(
                [
                    ENVOY,
                    "-c",
                    folder / "config" / "envoy.json",
                    "--concurrency",
                    "1",
                    "--use-dynamic-base-id",
                ],
                stdout=log,
                stderr=log,
            )
        stack.callback(envoy.wait, 20)
        stack.callback(envoy.terminate)
        running = Gateway(port, metrics_port, page_port, last, account.tree.campaign_ids[0])

        def ready() -> bool:
            assert envoy.poll() is None, (folder / "envoy.log").read_text()
            try:
                # A family's cluster takes calls once its first health check has passed.
                return all(
                    running.call(f"/v1/models/FAMILY_{family.upper()}")[0] == 200 for family in FAMILIES
                )
            except (urllib.error.URLError, ConnectionError):
                return False

        eventually(ready, within=60)
        yield running


def iso(day: date) -> dict[str, int]:
    return {"year": day.year, "month": day.month, "day": day.day}


def rows(last: date, days: int, leads: float) -> list[dict[str, Any]]:
    return [
        {
            "date": iso(last - timedelta(days=back)),
            "spend": 100.0,
            "impressions": "10000",
            "clicks": "200",
            "leads": leads + back % 3,
        }
        for back in range(days)
    ]


def entity(gateway: Gateway) -> dict[str, str]:
    return {"configId": "1", "entityType": "ENTITY_TYPE_CAMPAIGN", "entityId": gateway.campaign}


def test_the_seeds_two_requests(gateway: Gateway) -> None:
    query = (
        "subject.entity.configId=1&subject.entity.entityType=ENTITY_TYPE_CAMPAIGN&metric=METRIC_LEADS"
        "&options.horizonDays=7"
    )
    status, answer = gateway.call(f"/forecasts/ensemble/{gateway.campaign}?{query}")
    assert status == 200
    assert len(answer["forecast"]["days"]) == 7
    assert answer["forecast"]["days"][0]["date"] == iso(gateway.last_day + timedelta(days=1))

    change = {"date": iso(gateway.last_day - timedelta(days=13)), "changeType": "CHANGE_TYPE_CREATIVE_CHANGE"}
    panel = {"stored": {"treated": [entity(gateway)]}}
    status, answer = gateway.call("/impact/analyze", {"panel": panel, "change": change})
    assert status == 200
    assert answer["report"]["verdict"].startswith("VERDICT_")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/classifier:classify", {"subject": {}}, "classification"),
        ("/v1/anomaly:detect", {"subject": {}}, "report"),
        ("/v1/forecasting:forecast", {"subject": {}, "metric": "METRIC_SPEND", "method": 2}, "forecast"),
    ],
)
def test_natural_paths_give_what_the_service_gives(
    gateway: Gateway, path: str, body: dict[str, Any], field: str
) -> None:
    status, answer = gateway.call(path, {**body, "subject": {"entity": entity(gateway)}})
    assert status == 200, answer
    assert field in answer


def test_json_and_grpc_give_the_same_number(gateway: Gateway) -> None:
    request = forecasting_pb.ForecastRequest(metric="METRIC_SPEND", method="FORECAST_METHOD_EMA")
    request.subject.entity.config_id = 1
    request.subject.entity.entity_type = 1
    request.subject.entity.entity_id = gateway.campaign
    with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        method = channel.unary_unary(
            "/adsml.forecasting.v1.ForecastingService/Forecast",
            request_serializer=forecasting_pb.ForecastRequest.SerializeToString,
            response_deserializer=forecasting_pb.ForecastResponse.FromString,
        )
        by_grpc = method(request, timeout=60).forecast.total.value
    body = {"subject": {"entity": entity(gateway)}, "metric": "METRIC_SPEND", "method": "FORECAST_METHOD_EMA"}
    _, answer = gateway.call("/v1/forecasting:forecast", body)
    assert answer["forecast"]["total"]["value"] == by_grpc


def test_errors_come_as_json_with_every_violation(gateway: Gateway) -> None:
    body = {"subject": {"entity": {"configId": "1"}}, "options": {"horizonDays": 999}}
    status, answer = gateway.call("/v1/forecasting:forecast", body)
    assert status == 400
    assert answer["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    violations = next(one for one in answer["details"] if one["@type"].endswith("BadRequest"))[
        "fieldViolations"
    ]
    assert {one["field"] for one in violations} >= {
        "subject.entity.entity_id",
        "subject.entity.entity_type",
        "options.horizon_days",
        "metric",
        "method",
    }


def test_an_entity_that_is_not_there_is_404(gateway: Gateway) -> None:
    subject = {"entity": {**entity(gateway), "entityId": "nobody"}}
    status, answer = gateway.call("/v1/classifier:classify", {"subject": subject})
    assert status == 404
    assert "nobody" in answer["message"]


def test_a_misspelt_query_parameter_is_refused(gateway: Gateway) -> None:
    status, _ = gateway.call("/v1/anomaly/incidents?configId=1&pagesize=3")
    assert status == 400


def test_registry_of_each_family_by_path_and_by_header(gateway: Gateway) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        stub = registry_grpc.ModelRegistryServiceStub(channel)
        for family in FAMILIES:
            request = registry_pb.ListModelsRequest(family=f"FAMILY_{family.upper()}")
            assert not stub.ListModels(request, metadata=((FAMILY_HEADER, family),), timeout=20).models
        request = registry_pb.ListModelsRequest(family="FAMILY_IMPACT")
        with pytest.raises(grpc.RpcError) as refused:
            stub.ListModels(request, metadata=((FAMILY_HEADER, "classifier"),), timeout=20)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_grpc_web_from_a_page_of_another_origin(gateway: Gateway) -> None:
    request = registry_pb.ListModelsRequest(family="FAMILY_CLASSIFIER").SerializeToString()
    frame = b"\0" + struct.pack(">I", len(request)) + request
    headers = {"content-type": "application/grpc-web+proto", "origin": ORIGIN, FAMILY_HEADER: "classifier"}
    path = "/adsml.registry.v1.ModelRegistryService/ListModels"
    with urllib.request.urlopen(
        urllib.request.Request(gateway.url + path, data=frame, headers=headers), timeout=20
    ) as answer:
        body = answer.read()
        assert answer.headers["access-control-allow-origin"] == ORIGIN
    # After the message's frame comes one with the trailers.
    length = struct.unpack(">I", body[1:5])[0]
    assert b"grpc-status:0" in body[5 + length :]


def test_a_page_in_a_real_browser_asks_with_generated_types(gateway: Gateway, tmp_path: Path) -> None:
    executable = find_browser()
    if executable is None:
        pytest.skip("no browser is installed here")
    folder = tmp_path / "browser"
    shutil.copytree(
        CALLING / "browser", folder, ignore=shutil.ignore_patterns("node_modules", "gen", "page.js")
    )
    contracts(folder)
    npm_install(folder)
    buf = str(Path(sys.executable).with_name("buf"))
    tools = folder / "node_modules" / ".bin"
    build = ([buf, "generate", "contracts.binpb"], [tools / "tsc", "--noEmit"], ["npm", "run", "build"])
    for command in build:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(gateway.page_port), "--bind", "127.0.0.1"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        eventually(lambda: answers(gateway.page_port), within=20)
        with browser(executable) as page:
            page.open(f"http://127.0.0.1:{gateway.page_port}/?gateway={gateway.url}", width=1280)

            def ask(spend: str) -> str:
                page.run(f"document.querySelector('[name=spend]').value = '{spend}'")
                page.run("document.querySelector('form').requestSubmit()")
                text = "document.querySelector('#answer').textContent"
                eventually(lambda: page.run(text) not in ("", "asking ..."), within=20)
                return str(page.run(text))

            assert ask("50") == "mine: HIGH_PERFORMER, CPL 5.00"
            refused = ask("-1")
            assert refused.startswith("not classified: InvalidArgument")
            assert "subject.inline.rows[0].spend" in refused
    finally:
        server.terminate()
        server.wait(20)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def test_a_page_of_an_unknown_origin_gets_no_leave(gateway: Gateway) -> None:
    preflight = urllib.request.Request(
        gateway.url + "/v1/impact:analyze",
        method="OPTIONS",
        headers={"origin": "https://elsewhere.example.com", "access-control-request-method": "POST"},
    )
    try:
        with urllib.request.urlopen(preflight, timeout=20) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as error:
        headers = error.headers
    assert "access-control-allow-origin" not in headers


def test_figures_for_prometheus_and_nothing_else_of_the_admin_interface(gateway: Gateway) -> None:
    base = f"http://127.0.0.1:{gateway.metrics_port}"
    with urllib.request.urlopen(base + "/metrics", timeout=20) as answer:
        assert b"envoy_cluster_upstream_rq_total" in answer.read()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(base + "/quitquitquit", data=b"", timeout=20)
    assert refused.value.code == 404
