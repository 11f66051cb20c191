"""A real server on a free port and a real stub, for tests of anything that is served."""

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting_pb2
from adsml.forecasting.v1 import forecasting_service_pb2_grpc as forecasting_grpc
from adsml.registry.v1 import registry_service_pb2 as registry_pb2
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml_common.serving.server import Server, ServerBuilder
from adsml_common.serving.settings import ServingSettings
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

REGISTRY = "adsml.registry.v1.ModelRegistryService"
FORECASTING = "adsml.forecasting.v1.ForecastingService"
SECONDS = 20.0
"""Longest wait for anything in a test; nothing is expected to take it."""

Method = Callable[[Any, Any], Any]


def eventually(holds: Callable[[], object], *, within: float = SECONDS) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + within
    while not holds():
        assert time.monotonic() < until, f"did not come to hold within {within:g} s"
        time.sleep(0.005)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def registry_service(methods: Mapping[str, Method]) -> object:
    """A registry whose methods are plain functions; those not given answer with an empty message."""
    empty: dict[str, Method] = {
        "ListModels": lambda request, context: registry_pb2.ListModelsResponse(),
        "GetModel": lambda request, context: registry_pb2.GetModelResponse(),
        "ActivateModelVersion": lambda request, context: registry_pb2.ActivateModelVersionResponse(),
        "RollbackModel": lambda request, context: registry_pb2.RollbackModelResponse(),
        "ListModelEvents": lambda request, context: registry_pb2.ListModelEventsResponse(),
    }
    return _servicer(registry_grpc.ModelRegistryServiceServicer, empty | dict(methods))


def forecasting_servicer(methods: Mapping[str, Method]) -> object:
    """A forecasting service, likewise; `Backtest` is a generator."""

    def backtest(request: Any, context: Any) -> Iterator[forecasting_pb2.BacktestResponse]:
        yield forecasting_pb2.BacktestResponse()

    empty: dict[str, Method] = {
        "Forecast": lambda request, context: forecasting_pb2.ForecastResponse(),
        "ForecastEnsemble": lambda request, context: forecasting_pb2.ForecastEnsembleResponse(),
        "ForecastNewEntity": lambda request, context: forecasting_pb2.ForecastNewEntityResponse(),
        "BatchForecast": lambda request, context: forecasting_pb2.BatchForecastResponse(),
        "Backtest": backtest,
    }
    return _servicer(forecasting_grpc.ForecastingServiceServicer, empty | dict(methods))


def _servicer(base: type, methods: Mapping[str, Method]) -> object:
    def bound(function: Method) -> Callable[[Any, Any, Any], Any]:
        if function.__code__.co_flags & 0x20:  # a generator function

            def stream(self: object, request: Any, context: Any) -> Iterator[Any]:
                yield from function(request, context)

            return stream
        return lambda self, request, context: function(request, context)

    members = {name: bound(function) for name, function in methods.items()}
    return type("Servicer", (base,), members)()


def settings(**given: Any) -> ServingSettings:
    """Settings of a server on a free port that drains at once."""
    return ServingSettings(**{"port": 0, "drain_wait_seconds": 0, **given})


def builder(methods: Mapping[str, Method] | None = None, **given: Any) -> ServerBuilder:
    """A server of a registry and a forecasting service, not started yet."""
    methods = methods or {}
    names = {name for name in methods if name in {"Forecast", "Backtest", "BatchForecast"}}
    built = ServerBuilder(settings(**given))
    built.add(
        registry_service({name: one for name, one in methods.items() if name not in names}),
        REGISTRY,
    )
    built.add(
        forecasting_servicer({name: methods[name] for name in names}),
        FORECASTING,
    )
    return built


@dataclass(frozen=True)
class Running:
    """A server, and stubs that speak to it."""

    server: Server
    channel: grpc.Channel

    @property
    def registry(self) -> registry_grpc.ModelRegistryServiceStub:
        return registry_grpc.ModelRegistryServiceStub(self.channel)

    @property
    def forecasting(self) -> forecasting_grpc.ForecastingServiceStub:
        return forecasting_grpc.ForecastingServiceStub(self.channel)

    def health(self, name: str = "", *, timeout: float = SECONDS) -> str:
        """The status of a name, as a probe sees it."""
        stub = health_pb2_grpc.HealthStub(self.channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=timeout)
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


@contextlib.contextmanager
def running(built: ServerBuilder) -> Iterator[Running]:
    """Start a server and connect to it."""
    with built.start() as server, grpc.insecure_channel(server.target) as channel:
        yield Running(server, channel)


@dataclass(frozen=True)
class Refused:
    """An error as a caller sees it."""

    code: grpc.StatusCode
    message: str
    status: status_pb2.Status
    metadata: dict[str, str]

    @property
    def info(self) -> error_details_pb2.ErrorInfo:
        return self.detail(error_details_pb2.ErrorInfo)

    @property
    def violations(self) -> dict[str, str]:
        bad = self.detail(error_details_pb2.BadRequest)
        return {one.field: one.description for one in bad.field_violations}

    def detail(self, kind: Any) -> Any:
        for packed in self.status.details:
            if packed.Is(kind.DESCRIPTOR):
                out = kind()
                packed.Unpack(out)
                return out
        raise AssertionError(f"no {kind.__name__} in {self.status}")


@contextlib.contextmanager
def load_on(
    target: str, *, callers: int, options: Sequence[tuple[str, object]] = ()
) -> Iterator[Counter[str]]:
    """Callers that list models without a pause, each over a channel of its own; how their calls ended, so far."""
    codes: Counter[str] = Counter()
    stop = threading.Event()

    def call() -> None:
        with grpc.insecure_channel(target, options) as channel:
            stub = registry_grpc.ModelRegistryServiceStub(channel)
            while not stop.is_set():
                try:
                    stub.ListModels(registry_pb2.ListModelsRequest(family=1), timeout=SECONDS)
                    codes["OK"] += 1
                except grpc.RpcError as error:
                    codes[error.code().name] += 1

    with ThreadPoolExecutor(callers) as threads:
        running = [threads.submit(call) for _ in range(callers)]
        try:
            yield codes
        finally:
            stop.set()
        for one in running:
            one.result(60)


def refusal(call: Callable[[], object]) -> Refused:
    """The error that a call ends with."""
    try:
        answer = call()
    except grpc.RpcError as error:
        metadata = dict(error.trailing_metadata() or ())
        status = status_pb2.Status.FromString(metadata.pop("grpc-status-details-bin", b""))
        return Refused(error.code(), error.details() or "", status, metadata)
    raise AssertionError(f"expected an error, got {answer}")
