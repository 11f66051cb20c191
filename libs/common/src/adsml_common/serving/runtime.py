"""The pieces of one server and how they live together on one event loop."""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

import grpc.aio
from google.protobuf.message import Message
from grpc_reflection.v1alpha import reflection, reflection_pb2

from adsml_common.domain.errors import AdsmlError
from adsml_common.serving import health
from adsml_common.serving.access import Authorizer, authorizer_of
from adsml_common.serving.context import CallContext
from adsml_common.serving.errors import status_of
from adsml_common.serving.harness import Harness, refuse_unknown
from adsml_common.serving.limits import RateLimit, StreamLimit
from adsml_common.serving.memory_budget import MemoryBudget
from adsml_common.serving.methods import Method
from adsml_common.serving.pool import WorkerPool, in_daemon_thread
from adsml_common.serving.settings import ServingSettings
from adsml_common.serving.telemetry import Exposition, watch_pool
from adsml_common.serving.tracing import OpenTelemetry, Tracing
from adsml_common.serving.transport import Handler, ServicerContext, parse, refuse, text_metadata

_log = logging.getLogger(__name__)

# gRPC's own limit lies above ours, so that a request somewhat too long gets our answer, with its reason.
_CORE_LIMIT_SPARE: Final = 256 * 1024
# Bytes that gRPC takes of a call nobody has let in yet; more come once the message is asked for.
_WINDOW_BYTES: Final = 64 * 1024
_REFLECTION: Final = "grpc.reflection.v1alpha.ServerReflection"
_HANDSHAKE_SECONDS: Final = 10.0
_HEALTH_BYTES: Final = 128 * 1024 * 1024
_POOL_SECONDS: Final = 5.0


@dataclass(slots=True)
class ServerSpec:
    """What a server is made of.

    `methods` by service, `warm` and `close` called before the first and after the last call, `check` of what readiness
    depends on and its name.
    """

    settings: ServingSettings
    methods: dict[str, tuple[Method, ...]] = field(default_factory=dict)
    warm: list[Callable[[], None]] = field(default_factory=list)
    close: list[Callable[[], None]] = field(default_factory=list)
    check: tuple[str, Callable[[], None]] | None = None

    @property
    def family(self) -> str:
        """The family served: ``classifier`` for ``adsml.classifier.v1.ClassifierService``, added first."""
        return next(iter(self.methods)).split(".")[1]


class ServerRuntime:
    """The running pieces of one server; on one event loop."""

    def __init__(self, spec: ServerSpec) -> None:
        self.spec = spec
        self.settings = settings = spec.settings
        self.port = 0
        self.metrics_port: int | None = None
        self.health_port: int | None = None
        self.board = health.HealthBoard(tuple(spec.methods))
        self.pool = WorkerPool(
            "calls",
            workers=settings.workers,
            capacity=settings.queue_size,
            wait_seconds=settings.queue_seconds,
        )
        authorizer = authorizer_of(settings)
        self._readiness: asyncio.Task[None] | None = None
        harness = Harness(
            pool=self.pool,
            memory=MemoryBudget(settings.request_memory_bytes, wait_seconds=settings.queue_seconds),
            streams=StreamLimit(total=settings.streams, of_one_caller=settings.caller_streams),
            board=self.board,
            authorizer=authorizer,
            rates=RateLimit(settings.rate_per_second),
            tracing=OpenTelemetry(service_name=f"adsml-{spec.family}") if settings.traces else Tracing(),
            max_message_bytes=settings.max_message_bytes,
            reserve_seconds=settings.deadline_reserve_seconds,
        )
        self._server = grpc.aio.server(options=channel_options(settings))
        for service, of_service in spec.methods.items():
            handlers = {method.name: harness.wrap(method) for method in of_service}
            self._server.add_registered_method_handlers(service, handlers)
        health_handlers = health.HealthService(
            self.board, MemoryBudget(_HEALTH_BYTES, wait_seconds=_HANDSHAKE_SECONDS)
        ).handlers()
        self._server.add_registered_method_handlers(health.SERVICE, health_handlers)
        self._server.add_registered_method_handlers(
            _REFLECTION, _reflection_handlers((*spec.methods, health.SERVICE), authorizer)
        )
        self._server.add_generic_rpc_handlers((refuse_unknown(),))
        self._probed: grpc.aio.Server | None = None
        if settings.health_port is not None:
            self._probed = grpc.aio.server(
                options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", _WINDOW_BYTES)]
            )
            self._probed.add_registered_method_handlers(health.SERVICE, health_handlers)
        self._exposition: Exposition | None = None

    @property
    def address(self) -> str:
        host = self.settings.host
        return f"[{host}]:{self.port}" if ":" in host and not host.startswith("[") else f"{host}:{self.port}"

    async def start(self) -> None:
        """Bind, and answer health; calls are refused until the board is warm."""
        self._bind()
        if self.settings.metrics_port is not None:
            self._exposition = Exposition(host=self.settings.metrics_host, port=self.settings.metrics_port)
            self.metrics_port = self._exposition.port
        self.pool.start()
        watch_pool(f"{self.spec.family}/{self.pool.name}", self.pool)
        await self._server.start()
        if self._probed is not None:
            await self._probed.start()
        if self.spec.check is not None:
            self.board.ready = False
            watch = health.watch_readiness(
                self.board, *self.spec.check, interval_seconds=self.settings.readiness_seconds
            )
            self._readiness = asyncio.create_task(watch)

    def _bind(self) -> None:
        settings, credentials = self.settings, None
        if settings.tls_cert_file is not None and settings.tls_key_file is not None:
            from adsml_common.serving.tls import server_credentials  # noqa: PLC0415 - slow to load

            credentials = server_credentials(
                cert_file=settings.tls_cert_file,
                key_file=settings.tls_key_file,
                client_ca_file=settings.tls_client_ca_file,
            )
        self.port = settings.port
        self.port = _listen(self._server, self.address, credentials)
        if self._probed is not None:
            self.health_port = _listen(self._probed, f"{settings.health_host}:{settings.health_port}")

    async def drain(self) -> None:
        """Health down, a wait for balancers to see it, no new calls, the last answers, the threads."""
        self.board.change(draining=True)
        if self._readiness is not None:
            self._readiness.cancel()
        if self.board.warm:
            _log.info("draining")
            await asyncio.sleep(self.settings.drain_wait_seconds)
        # Calls that come in from here until callers have heard of it end with CANCELLED, before they reach a handler:
        # https://github.com/grpc/grpc/issues/41785. Who watches health has left by now; our client tries them again.
        await self._server.stop(self.settings.drain_grace_seconds)
        if self._probed is not None:
            # Last, so that liveness is answered for as long as anything is.
            await self._probed.stop(None)
        close = functools.partial(self.pool.close, timeout=_POOL_SECONDS)
        if not await in_daemon_thread(close, name="close"):
            _log.warning("threads of pool %s were still at work and were left behind", self.pool.name)
        if self._exposition is not None:
            await in_daemon_thread(self._exposition.close, name="close")


def _listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError:
        raise OSError(f"can't listen on {address}: taken, or not this machine's") from None


def channel_options(settings: ServingSettings) -> list[tuple[str, int]]:
    """The options of gRPC's core; see its ``grpc_types.h``."""
    return [
        # Two servers on one port by mistake would each get half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes + _CORE_LIMIT_SPARE),
        # Nothing but plain messages: some bytes of gzip can hold a thousand times as many.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
        ("grpc.http2.bdp_probe", 0),
        # It refuses streams at random once many were ended early: to callers with short deadlines that is UNAVAILABLE.
        # What a flood of cancelled calls costs was measured without it: 20,000 take 50 MB for a moment.
        ("grpc.http.overload_protection", 0),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.server_handshake_timeout_ms", round(_HANDSHAKE_SECONDS * 1000)),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", settings.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
        ("grpc.max_concurrent_streams", settings.max_concurrent_streams),
        ("grpc.max_connection_age_ms", round(settings.max_connection_age_seconds * 1000)),
        ("grpc.max_connection_age_grace_ms", round(settings.drain_grace_seconds * 1000)),
        # A dead peer is found out by pings, and a client may ping as often as ours does.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _reflection_handlers(services: tuple[str, ...], authorizer: Authorizer) -> dict[str, Handler]:
    """Tells callers that the authorizer knows which services there are, and their contracts."""
    servicer = reflection.aio.ReflectionServicer((*services, _REFLECTION))

    async def info(requests: AsyncIterator[bytes], context: ServicerContext) -> AsyncIterator[bytes]:
        try:
            authorizer.authenticate(CallContext(metadata=text_metadata(context)), context)
            async for raw in requests:
                request = parse(reflection_pb2.ServerReflectionRequest, raw)
                responses: AsyncIterator[Message] = servicer.ServerReflectionInfo(_only(request), context)  # type: ignore[assignment]
                async for response in responses:
                    yield response.SerializeToString()
        except AdsmlError as error:
            await refuse(context, status_of(error))

    return {"ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(info)}


async def _only(
    request: reflection_pb2.ServerReflectionRequest,
) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
    yield request
