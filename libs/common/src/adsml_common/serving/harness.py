"""From the wire to a handler and back: every call takes the same way.

The order is telemetry, authentication, validation, deadline, shedding. What is cheap (metadata, sizes, the
deadline, the queue) is looked at on the event loop, so that a full server refuses quickly; what costs
(parsing, the rules of the contract, the handler, serialising) runs in one of the pool's threads, unless the method
has a way to answer from memory (`fast_path`).
"""

import asyncio
import contextlib
import functools
import logging
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from typing import Final

import grpc
from adsml.common.v1 import answer_pb2
from google.protobuf.message import Message

from adsml_common.domain.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidInput,
    Overloaded,
    Unavailable,
)
from adsml_common.serving import validation
from adsml_common.serving.access import Authorizer
from adsml_common.serving.budget import ServiceTimes, check_budget
from adsml_common.serving.context import CallContext
from adsml_common.serving.errors import status_of, unimplemented
from adsml_common.serving.health import HealthBoard
from adsml_common.serving.logs import current_call
from adsml_common.serving.methods import Method
from adsml_common.serving.micro_batcher import MicroBatcher
from adsml_common.serving.pool import WorkerPool
from adsml_common.serving.rates import RateLimit
from adsml_common.serving.serialized import SerializedResponse
from adsml_common.serving.telemetry import MethodMeter
from adsml_common.serving.tracing import Tracing
from adsml_common.serving.transport import (
    CODES,
    REQUEST_ID,
    Handler,
    ServicerContext,
    parse,
    refuse,
    text_metadata,
)

_REQUEST_ID_FORM: Final = re.compile(r"[!-~]{1,128}")
_STREAM_WINDOW: Final = 16
_STALL_SECONDS: Final = 60.0

_log = logging.getLogger(__name__)


class Harness:
    """Wraps handlers.

    Parameters
    ----------
    pool, stream_pool
        Where handlers run: short calls, and streams, which hold their thread for long.
    board
        Whether the process is warm.
    authorizer
        Authentication and permission.
    rates
        How often one caller may call.
    tracing
        Is told of every call.
    max_message_bytes
        Longer requests are refused.
    reserve_seconds
        Response overhead: taken off every deadline for the way back.
    clock
        Seconds, rising steadily.
    """

    def __init__(
        self,
        *,
        pool: WorkerPool,
        stream_pool: WorkerPool,
        board: HealthBoard,
        authorizer: Authorizer,
        rates: RateLimit,
        tracing: Tracing,
        max_message_bytes: int,
        reserve_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._stream_pool = stream_pool
        self._board = board
        self._authorizer = authorizer
        self._rates = rates
        self._tracing = tracing
        self._max_message_bytes = max_message_bytes
        self._reserve = reserve_seconds
        self._clock = clock
        self._times = ServiceTimes(clock=clock)

    def wrap(self, method: Method) -> Handler:
        """The method as gRPC wants it: bytes in, bytes out."""
        meter = MethodMeter(method.service, method.name)
        # Now, so that a rule that does not fit its field is found at the start and not by a caller.
        validation.require_rules(method.request.DESCRIPTOR)
        gathered = self._gathered(method)

        async def handle(raw: bytes, context: ServicerContext) -> bytes | None:
            meter.begin()
            call = self._open(method, raw, context)
            self._tracing.begin(call, method)
            code = grpc.StatusCode.CANCELLED
            try:
                self._admit(method, call, context)
                answer: bytes | None = None
                if method.streaming:
                    await self._stream(method, meter, call, raw, context)
                elif gathered is not None and (found := await gathered.answer(call, raw)) is not None:
                    answer = self._packed(method, meter, found)
                else:
                    self._check_room(method, call, self._pool)
                    work = functools.partial(self._answer, method, meter, call, raw)
                    answer = await self._pool.run(call, self._tracing.active(call, work))
                code = grpc.StatusCode.OK
                context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
                return answer
            except Exception as error:
                status = status_of(error)
                code = CODES[status.code]
                if isinstance(error, Overloaded | DeadlineExceeded):
                    meter.shed(error.reason.lower())
                _log.info("%s %s: %s", method.path, code.name, status.message)
                await refuse(context, status, request_id=call.request_id)
            finally:
                if code is grpc.StatusCode.CANCELLED and call.expired():
                    code = grpc.StatusCode.DEADLINE_EXCEEDED
                self._tracing.end(call, code)
                meter.end(code, self._clock() - call.started_at)

        if method.streaming:
            return grpc.unary_stream_rpc_method_handler(handle)
        return grpc.unary_unary_rpc_method_handler(handle)

    def _open(self, method: Method, raw: bytes, context: ServicerContext) -> CallContext:
        """What is known of a call before anything is checked."""
        metadata = text_metadata(context)
        request_id = metadata.get(REQUEST_ID, "")
        if not _REQUEST_ID_FORM.fullmatch(request_id):
            request_id = secrets.token_hex(8)
        left = context.time_remaining()
        call = CallContext(
            method.path,
            request_id=request_id,
            deadline_at=None if left is None else self._clock() + left - self._reserve,
            metadata=metadata,
            peer=context.peer(),
            size=len(raw),
            clock=self._clock,
        )
        current_call.set(call)
        return call

    def _gathered(self, method: Method) -> MicroBatcher | None:
        if method.fast_path is None:
            return None

        def request(call: CallContext, raw: bytes) -> Message:
            if call.expired():
                raise DeadlineExceeded("the deadline passed while the call waited for its turn")
            return self._request(method, call, raw)

        return MicroBatcher(method.fast_path, request)

    def _admit(self, method: Method, call: CallContext, context: ServicerContext) -> None:
        """Everything that can be refused without touching the message."""
        if not self._board.warm:
            raise Unavailable("the server is still loading its models")
        call.caller = self._authorizer.authenticate(call, context)
        self._authorizer.check_scope(call.caller, method.scope, method=method.name)
        if call.size > self._max_message_bytes:
            raise InvalidInput.at(
                "",
                f"the message has {call.size} bytes and this server takes {self._max_message_bytes}; "
                "send less at once",
            )
        check_budget(call.deadline, wait=0.0, work=0.0)
        self._rates.check(call)

    def _check_room(self, method: Method, call: CallContext, pool: WorkerPool) -> None:
        """Refuse what a pool can't do, or not in time."""
        work = self._times.estimate(method.path, size=call.size)
        check_budget(call.deadline, wait=pool.expected_wait(), work=work)
        pool.check_room()

    def _request(self, method: Method, call: CallContext, raw: bytes) -> Message:
        """The request, parsed and checked."""
        current_call.set(call)
        request = parse(method.request, raw)
        self._authorizer.check_request(call.caller, request)
        validation.check(request)
        return request

    def _answer(self, method: Method, meter: MethodMeter, call: CallContext, raw: bytes) -> bytes:
        started = self._clock()
        try:
            return self._packed(method, meter, method.handler(self._request(method, call, raw), call))
        finally:
            self._times.add(method.path, size=call.size, seconds=self._clock() - started)
            current_call.set(None)

    async def _stream(
        self, method: Method, meter: MethodMeter, call: CallContext, raw: bytes, context: ServicerContext
    ) -> None:
        self._check_room(method, call, self._stream_pool)
        outbox = Outbox(call, window=_STREAM_WINDOW)
        work = functools.partial(self._answer_stream, method, meter, call, raw, outbox)
        task = asyncio.ensure_future(self._stream_pool.run(call, self._tracing.active(call, work)))
        task.add_done_callback(outbox.finished)
        try:
            async for data in outbox.messages():
                await context.write(data)
            await task
        finally:
            task.cancel()

    def _answer_stream(
        self, method: Method, meter: MethodMeter, call: CallContext, raw: bytes, outbox: "Outbox"
    ) -> None:
        try:
            answers: Generator[Message, None, None] = method.handler(self._request(method, call, raw), call)
            # Closed also where the caller has gone, so that the handler's own `finally` runs now.
            with contextlib.closing(answers):
                for answer in answers:
                    outbox.put(self._packed(method, meter, answer))
        finally:
            current_call.set(None)

    def _packed(self, method: Method, meter: MethodMeter, answer: object) -> bytes:
        degradations: Sequence[answer_pb2.Degradation]
        if isinstance(answer, SerializedResponse) and answer.kind is method.response:
            data, degradations = answer.data, answer.degradations
        elif isinstance(answer, method.response):
            data, degradations = answer.SerializeToString(), method.degradations(answer)
        else:
            raise TypeError(f"{method.path} answered with a {type(answer).__name__}")
        if degradations:
            meter.degraded(degradations)
        return data


class Outbox:
    """Messages on their way from a thread to the event loop, a bounded number at a time.

    Parameters
    ----------
    call
        When its caller goes, `put` stops waiting.
    window
        How many messages may lie here before `put` waits for the caller to read.
    """

    def __init__(self, call: CallContext, *, window: int) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._room = threading.Semaphore(window)
        self._items: deque[bytes] = deque()
        self._ready = asyncio.Event()
        self._finished = False
        call.on_cancel(self._room.release)

    def put(self, data: bytes) -> None:
        """Hand over one message; from a thread.

        Raises
        ------
        Cancelled, DeadlineExceeded
            Nobody waits for it any more.
        """
        if not self._room.acquire(timeout=_STALL_SECONDS):
            raise Cancelled("the caller has stopped reading")
        self._call.check_cancelled()
        self._items.append(data)
        self._loop.call_soon_threadsafe(self._ready.set)

    def finished(self, _: object) -> None:
        """No more messages will come."""
        self._finished = True
        self._ready.set()

    async def messages(self) -> AsyncIterator[bytes]:
        """The messages as they come, until `finished`."""
        while True:
            self._ready.clear()
            while self._items:
                yield self._items.popleft()
                self._room.release()
            if self._finished:
                return
            await self._ready.wait()


class _Unknown(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        path = handler_call_details.method

        async def handle(_: object, context: ServicerContext) -> None:
            await refuse(context, unimplemented(path))

        return grpc.stream_stream_rpc_method_handler(handle)


def refuse_unknown() -> grpc.GenericRpcHandler:
    """A handler of last resort, so that methods nobody serves are refused in the form of all errors."""
    return _Unknown()
