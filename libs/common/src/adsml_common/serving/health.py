"""Health on the event loop: what probes and balancers see."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import grpc
from grpc_health.v1 import health_pb2

from adsml_common.domain.errors import AdsmlError, NotFound
from adsml_common.serving.errors import status_of, unimplemented
from adsml_common.serving.memory_budget import MemoryBudget
from adsml_common.serving.pool import in_daemon_thread
from adsml_common.serving.transport import (
    Handler,
    ServicerContext,
    clear_refusals,
    parse,
    read_message,
    refuse,
)
from adsml_common.version import version

SERVICE: Final = "grpc.health.v1.Health"
LIVENESS: Final = "liveness"
READINESS: Final = "readiness"
OVERALL: Final = ""
SERVER_VERSION: Final = "x-adsml-version"
SERVER_TIME: Final = "x-adsml-time"
"""Trailing metadata of `Check`: the version that runs, and seconds since 1970 on its clock."""

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_FALLS_AFTER: Final = 3
_RISES_AFTER: Final = 2
_MAX_WATCHERS: Final = 1_000
_MAX_PEER_WATCHERS: Final = 100
"""Of one address. A client that watches needs one stream for each connection."""
_MAX_BYTES: Final = 4_096
_REQUEST_SECONDS: Final = 2.0
_READ_BYTES: Final = 32 * 1024 * 1024
"""What gRPC may have read before we see how long a request is, and our copy of it."""

_log = logging.getLogger(__name__)


class Hysteresis:
    """A state that takes several like observations to change; the first success of all brings it up at once."""

    def __init__(self) -> None:
        self.up = False
        self._seen_up = False
        self._against = 0

    def observe(self, ok: bool) -> bool:
        self._against = 0 if ok == self.up else self._against + 1
        if self._against >= (_FALLS_AFTER if self.up else _RISES_AFTER if self._seen_up else 1):
            self.up, self._against = ok, 0
            self._seen_up = True
        return self.up


class HealthBoard:
    """The statuses of a process. Used on the event loop only.

    ``liveness`` is SERVING from start to end: the event loop turns, and nothing of database or models. ``""`` and
    every service's name are SERVING once warm, until the drain. ``readiness`` is that, and `ready`: what the process
    depends on can be used.
    """

    def __init__(self, services: tuple[str, ...]) -> None:
        self._services = services
        self.warm = False
        self.draining = False
        self.ready = True
        self.next_change = asyncio.Event()
        """Is set at the next change; take it before looking at `statuses`, so that none is missed."""

    def change(self, **states: bool) -> None:
        """Change `warm`, `draining` or `ready`, and tell whoever waits for it."""
        vars(self).update(states)
        event, self.next_change = self.next_change, asyncio.Event()
        event.set()

    def statuses(self) -> dict[str, bool]:
        serving = self.warm and not self.draining
        return {
            OVERALL: serving,
            **dict.fromkeys(self._services, serving),
            READINESS: serving and self.ready,
            LIVENESS: True,
        }


@dataclass(eq=False, repr=False)
class HealthService:
    """``grpc.health.v1.Health`` of a board; answers on the event loop, so a full pool can't fail a probe.

    Nobody is asked for credentials, so what a caller may cost is bounded: bytes of requests, watchers in all and of
    one address. Who is one too many is told that watching is not implemented, which clients take for a server without
    health checks: they go on calling it.
    """

    board: HealthBoard
    memory: MemoryBudget
    watchers: Counter[str] = field(init=False, default_factory=Counter)

    def handlers(self) -> dict[str, Handler]:
        return {
            # As methods that take a stream: of those gRPC reads no message before it is asked to.
            "Check": grpc.stream_unary_rpc_method_handler(clear_refusals(self._check)),
            "List": grpc.stream_unary_rpc_method_handler(clear_refusals(self._list)),
            "Watch": grpc.stream_stream_rpc_method_handler(clear_refusals(self._watch)),
        }

    async def _name(self, context: ServicerContext) -> str:
        address = _address(context)
        await self.memory.reserve(address, _READ_BYTES)
        try:
            raw = await read_message(context, _MAX_BYTES, seconds=_REQUEST_SECONDS)
        finally:
            self.memory.release(address, _READ_BYTES)
        return parse(health_pb2.HealthCheckRequest, raw).service

    async def _check(self, _: object, context: ServicerContext) -> bytes:
        try:
            name = await self._name(context)
            serving = self.board.statuses().get(name)
            if serving is None:
                raise NotFound("this server knows no such service; List has those it knows")
        except AdsmlError as error:
            await refuse(context, status_of(error))
        context.set_trailing_metadata(((SERVER_VERSION, version()), (SERVER_TIME, f"{time.time():.3f}")))
        return _response(serving).SerializeToString()

    async def _list(self, _: object, context: ServicerContext) -> bytes:
        response = health_pb2.HealthListResponse()  # type: ignore[attr-defined]  # newer than the stubs
        for name, serving in self.board.statuses().items():
            response.statuses[name].CopyFrom(_response(serving))
        answer: bytes = response.SerializeToString()
        return answer

    async def _watch(self, _: object, context: ServicerContext) -> None:
        address = _address(context)
        if self.watchers.total() >= _MAX_WATCHERS or self.watchers[address] >= _MAX_PEER_WATCHERS:
            await refuse(context, unimplemented(f"/{SERVICE}/Watch for so many at once"))
        self.watchers[address] += 1
        try:
            await self._report(context)
        finally:
            self.watchers[address] -= 1
            if not self.watchers[address]:
                del self.watchers[address]

    async def _report(self, context: ServicerContext) -> None:
        try:
            name = await self._name(context)
        except AdsmlError as error:
            await refuse(context, status_of(error))
        last = None
        while True:
            changed, last_one = self.board.next_change, self.board.draining
            response = _response(self.board.statuses().get(name))
            if response != last:
                await context.write(response.SerializeToString())
                last = response
            if last_one:
                # An open stream would hold up the server's stop until its grace is over.
                return
            await changed.wait()


def _address(context: ServicerContext) -> str:
    return str(context.peer()).rpartition(":")[0]


def _response(serving: bool | None) -> health_pb2.HealthCheckResponse:
    status = _SERVICE_UNKNOWN if serving is None else _SERVING if serving else _NOT_SERVING
    return health_pb2.HealthCheckResponse(status=status)


async def watch_readiness(
    board: HealthBoard, name: str, check: Callable[[], None], *, interval_seconds: float
) -> None:
    """Run a check every `interval_seconds`, in a thread of its own, and tell the board.

    A check raises when its dependency is not usable; one that takes longer than the interval counts as failed.
    """
    state = Hysteresis()
    running: asyncio.Future[None] | None = None
    while True:
        # One that hangs is not joined by a second: it counts as failed until it ends.
        running = running or in_daemon_thread(check, name=f"readiness-{name}")
        await asyncio.wait({running}, timeout=interval_seconds)
        ok = False
        if running.done():
            if (error := running.exception()) is None:
                ok = True
            else:
                _log.warning("readiness check of %s failed: %s", name, error)
            running = None
        if state.observe(ok) != board.ready:
            board.change(ready=state.up)
            level = logging.INFO if state.up else logging.WARNING
            _log.log(level, "readiness of %s: %s", name, "up" if state.up else "down")
        if running is None:
            await asyncio.sleep(interval_seconds)
