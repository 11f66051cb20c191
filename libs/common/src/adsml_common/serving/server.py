"""Puts a server together, refuses unsafe ones, runs it and drains it."""

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from typing import Any, Self

import uvloop
from prometheus_client import REGISTRY
from prometheus_client.registry import Collector

from adsml_common.serving import logs
from adsml_common.serving.methods import UnsafeServer, methods_of
from adsml_common.serving.micro_batcher import FastPath
from adsml_common.serving.pool import in_daemon_thread
from adsml_common.serving.runtime import ServerRuntime, ServerSpec

__all__ = ["Server", "ServerBuilder", "UnsafeServer"]

_log = logging.getLogger(__name__)


class ServerBuilder(ServerSpec):
    """Collects what a server is made of; `run` or `start` makes it."""

    def add(
        self,
        servicer: object,
        service_name: str,
        *,
        fast_path: Mapping[str, FastPath] | None = None,
    ) -> Self:
        """Serve a servicer whose methods are plain synchronous ``(self, request, context: CallContext)``.

        A method that answers with a stream is a generator. `fast_path` gives methods that memory alone can often
        answer a second way (`micro_batcher`). Raises `UnsafeServer` where the service is unknown, registered already,
        or not implemented in full.
        """
        if service_name in self.methods:
            raise UnsafeServer(f"{service_name} is registered twice")
        self.methods[service_name] = methods_of(servicer, service_name, fast_path=fast_path)
        return self

    def on_ready(self, warm: Callable[[], None]) -> Self:
        """Call `warm` before the server says SERVING: load models, run each once. In order; may take long."""
        self.warm.append(warm)
        return self

    def on_drain(self, close: Callable[[], None]) -> Self:
        """Call `close` once the last call is answered. In reverse order: what was opened first goes last."""
        self.close.append(close)
        return self

    def readiness(self, name: str, check: Callable[[], None]) -> Self:
        """Make readiness depend on `check`, which raises where `name` is not usable."""
        if self.check is not None:
            raise UnsafeServer("there are two readiness checks")
        self.check = name, check
        return self

    def metrics(self, collector: Collector) -> Self:
        """Show what a collector knows among the metrics while the server runs."""

        def end() -> None:
            # A server whose start failed is drained too, and this may not have begun.
            with contextlib.suppress(KeyError):
                REGISTRY.unregister(collector)

        return self.on_ready(lambda: REGISTRY.register(collector)).on_drain(end)

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, drain, and return the process' exit status.

        1 where it could not serve: unsafe as put together, warming failed, address taken, key unreadable; the log
        says which.
        """
        logs.configure(form=self.settings.log_format, level=self.settings.log_level)
        for name, value in self.settings.masked().items():
            _log.info("%s=%s", name, value)
        try:
            self._check()
        except UnsafeServer as error:
            _log.error("refused to serve: %s", error)
            return 1
        return uvloop.run(self._run())

    def start(self) -> "Server":
        """Serve from a thread of this process; returns once SERVING, or raises what kept it from that."""
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
        except (OSError, ValueError) as error:
            _log.error("could not serve: %s", error)
            return 1
        except Exception:
            _log.exception("could not serve")
            return 1
        return 0

    @contextlib.asynccontextmanager
    async def serving(self, stop: asyncio.Event) -> AsyncIterator[ServerRuntime]:
        """The server, from its first breath to its last; `stop` cuts a long warming short."""
        runtime = ServerRuntime(self)
        try:
            await runtime.start()
            warming: asyncio.Future[Any] = in_daemon_thread(self._warm, name="warm")
            stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
            await asyncio.wait({warming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if warming.done():
                await warming
                runtime.board.change(warm=True)
                _log.info("serving %s at %s", ", ".join(self.methods), runtime.address)
            yield runtime
        finally:
            await runtime.drain()
            for close in reversed(self.close):
                try:
                    await in_daemon_thread(close, name="close")
                except Exception:
                    _log.exception("could not close cleanly")

    def _warm(self) -> None:
        for warm in self.warm:
            warm()

    def _check(self) -> None:
        if not self.methods:
            raise UnsafeServer("nothing is registered; a server without services is a mistake")
        settings = self.settings
        if not (settings.tls or settings.loopback or settings.insecure):
            raise UnsafeServer(
                f"{settings.host} can be reached from other machines and there is no TLS: set tls_cert_file "
                "and tls_key_file, or insecure=true where something in front ends TLS, or listen on 127.0.0.1"
            )


class Server:
    """A server in a thread of this process; a context manager that stops it. `runtime` has its pieces."""

    def __init__(self, builder: ServerBuilder) -> None:
        ready: Future[ServerRuntime] = Future()
        self._thread = threading.Thread(
            target=lambda: uvloop.run(self._main(builder, ready)), name="server", daemon=True
        )
        self._thread.start()
        self.runtime = ready.result()

    @property
    def port(self) -> int:
        return self.runtime.port

    @property
    def target(self) -> str:
        """What a channel takes, ``"127.0.0.1:50051"``."""
        return self.runtime.address

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _main(self, builder: ServerBuilder, ready: "Future[ServerRuntime]") -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            async with builder.serving(self._stop) as runtime:
                ready.set_result(runtime)
                await self._stop.wait()
        except BaseException as error:
            if ready.done():
                _log.exception("the server ended badly")
            else:
                ready.set_exception(error)
