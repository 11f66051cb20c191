"""Puts a server together, refuses unsafe ones, runs it and drains it."""

import asyncio
import contextlib
import functools
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Self

import grpc
import grpc.aio

from adsml_common.serving import health, reflection
from adsml_common.serving.access import gate_of
from adsml_common.serving.harness import Harness, refuse_unknown
from adsml_common.serving.methods import Method, UnsafeServer, methods_of
from adsml_common.serving.pool import WorkerPool, in_daemon_thread
from adsml_common.serving.rules import VALIDATOR
from adsml_common.serving.settings import ServingSettings
from adsml_common.serving.tls import server_credentials

_log = logging.getLogger(__name__)

# gRPC's own limit lies above ours, so that a request somewhat too long gets our answer, with its reason.
_CORE_LIMIT_FACTOR: Final = 4
_POOL_SECONDS: Final = 5.0


class ServerBuilder:
    """Collects what a server is made of; `run` or `start` makes it.

    Parameters
    ----------
    settings
        Where and how to serve.

    Examples
    --------
    >>> builder = ServerBuilder(ServingSettings(port=0))
    >>> builder.add(add_Service_to_server, servicer, "adsml.x.v1.Service")  # doctest: +SKIP
    >>> builder.run()  # doctest: +SKIP
    """

    def __init__(self, settings: ServingSettings) -> None:
        self.settings = settings
        self._methods: dict[str, tuple[Method, ...]] = {}
        self._warm: list[Callable[[], None]] = []
        self._close: list[Callable[[], None]] = []
        self._checks: dict[str, Callable[[], None]] = {}

    def add(self, add_to_server: Callable[[Any, Any], None], servicer: object, service_name: str) -> Self:
        """Serve a servicer whose methods are plain synchronous ``(self, request, context: CallContext)``.

        Raises
        ------
        UnsafeServer
            The service is unknown, registered already, or not implemented in full.
        """
        if service_name in self._methods:
            raise UnsafeServer(f"{service_name} is registered twice")
        self._methods[service_name] = methods_of(add_to_server, servicer, service_name)
        return self

    def on_ready(self, warm: Callable[[], None]) -> Self:
        """Call `warm` before the server says SERVING: load models, run each once. In order; may take long."""
        self._warm.append(warm)
        return self

    def on_drain(self, close: Callable[[], None]) -> Self:
        """Call `close` once the last call is answered. In reverse order: what was opened first goes last."""
        self._close.append(close)
        return self

    def readiness(self, name: str, check: Callable[[], None]) -> Self:
        """Make readiness depend on `check`, which raises where `name` is not usable."""
        if name in self._checks:
            raise UnsafeServer(f"there are two readiness checks named {name!r}")
        self._checks[name] = check
        return self

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, drain, and return the process' exit status.

        Returns
        -------
        int
            0 after a drain; 1 where warming failed or the address could not be bound.
        """
        self._check()
        return asyncio.run(self._run())

    def start(self) -> "Server":
        """Serve from a thread of this process; returns once SERVING.

        Raises
        ------
        Exception
            Whatever warming raised, or the address could not be bound.
        """
        self._check()
        return Server(self)

    async def _run(self) -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        try:
            async with self.serving(stop):
                await stop.wait()
        except Exception:
            _log.exception("could not serve")
            return 1
        return 0

    @contextlib.asynccontextmanager
    async def serving(self, stop: asyncio.Event) -> AsyncIterator["Parts"]:
        """The server, from its first breath to its last; `stop` cuts a long warming short."""
        parts = Parts(self.settings, self._methods, self._checks)
        try:
            await parts.start()
            warming: asyncio.Future[Any] = in_daemon_thread(self._warm_all, name="warm")
            stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
            await asyncio.wait({warming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if warming.done():
                await warming
                parts.board.set_warm()
                _log.info("serving %s at %s", ", ".join(self._methods), parts.address)
            stopping.cancel()
            yield parts
        finally:
            await parts.drain()
            for close in reversed(self._close):
                try:
                    await in_daemon_thread(close, name="close")
                except Exception:
                    _log.exception("could not close cleanly")

    def _warm_all(self) -> None:
        for warm in self._warm:
            warm()

    def _check(self) -> None:
        if not self._methods:
            raise UnsafeServer("nothing is registered; a server without services is a mistake")
        settings = self.settings
        if not (settings.tls or settings.loopback or settings.insecure):
            raise UnsafeServer(
                f"{settings.host} can be reached from other machines and there is no TLS: set tls_cert_file "
                "and tls_key_file, or insecure=true where something in front ends TLS, or listen on 127.0.0.1"
            )


class Parts:
    """The running pieces of one server; on one event loop."""

    def __init__(
        self,
        settings: ServingSettings,
        methods: dict[str, tuple[Method, ...]],
        checks: dict[str, Callable[[], None]],
    ) -> None:
        self.settings = settings
        self.port = 0
        self.board = health.HealthBoard(tuple(methods))
        self.pool = WorkerPool(
            "calls",
            workers=settings.workers,
            capacity=settings.queue_size,
            wait_seconds=settings.queue_seconds,
        )
        self.stream_pool = WorkerPool(
            "streams",
            workers=settings.stream_workers,
            capacity=settings.stream_workers,
            wait_seconds=settings.queue_seconds,
        )
        gate = gate_of(settings)
        self._monitor = health.ReadinessMonitor(
            self.board, checks, interval_seconds=settings.readiness_seconds
        )
        harness = Harness(
            pool=self.pool,
            stream_pool=self.stream_pool,
            board=self.board,
            gate=gate,
            validator=VALIDATOR,
            max_message_bytes=settings.max_message_bytes,
            reserve_seconds=settings.deadline_reserve_seconds,
        )
        self._server = grpc.aio.server(options=channel_options(settings))
        for service, of_service in methods.items():
            handlers = {method.name: harness.wrap(method) for method in of_service}
            self._server.add_registered_method_handlers(service, handlers)
        self._server.add_registered_method_handlers(
            health.SERVICE, health.HealthService(self.board).handlers()
        )
        self._server.add_registered_method_handlers(
            reflection.SERVICE, reflection.reflection_handlers((*methods, health.SERVICE), gate)
        )
        self._server.add_generic_rpc_handlers((refuse_unknown(),))

    @property
    def address(self) -> str:
        """Host and port."""
        host = self.settings.host
        return f"[{host}]:{self.port}" if ":" in host and not host.startswith("[") else f"{host}:{self.port}"

    async def start(self) -> None:
        """Bind, and answer health; calls are refused until the board is warm."""
        settings = self.settings
        self.port = settings.port
        if settings.tls_cert_file is None or settings.tls_key_file is None:
            self.port = self._server.add_insecure_port(self.address)
        else:
            credentials = server_credentials(
                cert_file=settings.tls_cert_file,
                key_file=settings.tls_key_file,
                client_ca_file=settings.tls_client_ca_file,
            )
            self.port = self._server.add_secure_port(self.address, credentials)
        self.pool.start()
        self.stream_pool.start()
        await self._server.start()
        self._monitor.start()

    async def drain(self) -> None:
        """Health down, a wait for balancers to see it, no new calls, the last answers, the threads."""
        self.board.set_draining()
        self._monitor.stop()
        if self.board.warm:
            _log.info("draining")
            await asyncio.sleep(self.settings.drain_wait_seconds)
        await self._server.stop(self.settings.drain_grace_seconds)
        for pool in (self.pool, self.stream_pool):
            close = functools.partial(pool.close, timeout=_POOL_SECONDS)
            if not await in_daemon_thread(close, name="close"):
                _log.warning("threads of pool %s were still at work and were left behind", pool.name)


class Server:
    """A server in a thread of this process."""

    def __init__(self, builder: ServerBuilder) -> None:
        self._builder = builder
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="server", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.parts.port

    @property
    def target(self) -> str:
        """What a channel takes, ``"127.0.0.1:50051"``."""
        return self.parts.address

    def stop(self) -> None:
        """Drain and end."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            async with self._builder.serving(self._stop) as self.parts:
                self._ready.set()
                await self._stop.wait()
        except Exception as error:
            if self._ready.is_set():
                _log.exception("the server ended badly")
            self._error = error
        finally:
            self._ready.set()


def channel_options(settings: ServingSettings) -> list[tuple[str, int]]:
    """The options of gRPC's core; see its ``grpc_types.h``."""
    return [
        # Two servers on one port by mistake would each get half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", _CORE_LIMIT_FACTOR * settings.max_message_bytes),
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
