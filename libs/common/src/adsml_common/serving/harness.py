"""From the wire to a handler and back: telemetry, authentication, shedding, the message, validation, deadline.

Nothing of the message is read before it is known who calls and that there is memory for it: every method is
registered as one that takes a stream, so that gRPC hands over the metadata alone. What is cheap is looked at on the
event loop, so that a full server refuses quickly; what costs (parsing, rules, handler, serialising) runs in one of
the pool's threads, unless the method can answer from memory (`fast_path`).
"""

import asyncio
import functools
import logging
import re
import secrets
import time
from collections.abc import Callable, Generator, Sequence
from typing import Final, TypeVar

import grpc
from adsml.common.v1 import answer_pb2
from google.protobuf.message import Message

from adsml_common.domain.errors import (
    Cancelled,
    DeadlineExceeded,
    Overloaded,
    Unavailable,
)
from adsml_common.serving import contract_rules, validation
from adsml_common.serving.access import Authorizer
from adsml_common.serving.budget import ServiceTimes, check_budget
from adsml_common.serving.context import CallContext
from adsml_common.serving.errors import status_of, unimplemented
from adsml_common.serving.health import HealthBoard
from adsml_common.serving.limits import RateLimit, StreamLimit
from adsml_common.serving.logs import current_call
from adsml_common.serving.memory_budget import MemoryBudget
from adsml_common.serving.methods import Method
from adsml_common.serving.micro_batcher import MicroBatcher
from adsml_common.serving.pool import WorkerPool
from adsml_common.serving.serialized import SerializedResponse
from adsml_common.serving.stream_buffer import StreamBuffer
from adsml_common.serving.telemetry import MethodMeter
from adsml_common.serving.tracing import Tracing
from adsml_common.serving.transport import (
    CODES,
    REQUEST_ID,
    Handler,
    ServicerContext,
    clear_refusals,
    parse,
    read_message,
    refuse,
    text_metadata,
)

_REQUEST_ID_FORM: Final = re.compile(r"[!-~]{1,128}")
_MESSAGE_SECONDS: Final = 10.0
"""How long a caller may take to send its request."""
_STALL_SECONDS: Final = 60.0
"""How long a caller may take to read one message of a stream."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Harness:
    """Wraps handlers. `reserve_seconds` (response overhead) are taken off every deadline for the way back."""

    def __init__(
        self,
        *,
        pool: WorkerPool,
        memory: MemoryBudget,
        streams: StreamLimit,
        board: HealthBoard,
        authorizer: Authorizer,
        rates: RateLimit,
        tracing: Tracing,
        max_message_bytes: int,
        reserve_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._memory = memory
        self._streams = streams
        self._board = board
        self._authorizer = authorizer
        self._rates = rates
        self._tracing = tracing
        self._max_message_bytes = max_message_bytes
        self._reserve = reserve_seconds
        self._clock = clock
        self._times = ServiceTimes(clock=clock)
        self._closing: set[asyncio.Future[None]] = set()

    def wrap(self, method: Method) -> Handler:
        """The method as gRPC wants it: bytes in, bytes out."""
        meter = MethodMeter(method.service, method.name)
        # Now, so that a rule that does not fit its field is found at the start and not by a caller.
        validation.require_rules(method.request.DESCRIPTOR)
        batcher = self._batcher(method)
        largest = contract_rules.largest_message(method.request.DESCRIPTOR, self._max_message_bytes)

        async def handle(_: object, context: ServicerContext) -> bytes | None:
            meter.begin()
            call = self._open(method, context)
            self._tracing.begin(call, method)
            code = grpc.StatusCode.CANCELLED
            owner, reserved = "", 0
            try:
                self._admit(method, call, context)
                owner = call.owner
                await self._memory.reserve(owner, largest)
                reserved = largest
                raw = await read_message(context, largest, seconds=_MESSAGE_SECONDS)
                call.size = len(raw)
                self._memory.release(owner, largest - len(raw))
                reserved = len(raw)
                answer: bytes | None = None
                if method.streaming:
                    with self._streams.open(call):
                        await self._stream(method, meter, call, raw, context)
                elif batcher is not None and (response := await batcher.answer(call, raw)) is not None:
                    answer = self._serialized(method, meter, response)
                else:
                    work = functools.partial(self._answer, method, meter, call, raw)
                    answer = await self._run(method, call, work)
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
                if reserved:
                    self._memory.release(owner, reserved)
                if code is grpc.StatusCode.CANCELLED and call.expired():
                    code = grpc.StatusCode.DEADLINE_EXCEEDED
                self._tracing.end(call, code)
                meter.end(code, self._clock() - call.started_at)

        # As methods that take a stream: of those gRPC reads no message before it is asked to.
        if method.streaming:
            return grpc.stream_stream_rpc_method_handler(clear_refusals(handle))
        return grpc.stream_unary_rpc_method_handler(clear_refusals(handle))

    def _open(self, method: Method, context: ServicerContext) -> CallContext:
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
            clock=self._clock,
        )
        current_call.set(call)
        return call

    def _batcher(self, method: Method) -> MicroBatcher | None:
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
        check_budget(call.deadline, wait=0.0, work=0.0)
        self._rates.check(call)

    async def _run(self, method: Method, call: CallContext, work: Callable[[], T]) -> T:
        """Run a call's work in the pool, unless that can't be done, or not in time."""
        seconds = self._times.mean(method.path, size=call.size)
        quick = self._times.estimate(method.path, size=call.size)
        check_budget(call.deadline, wait=self._pool.expected_wait(call, seconds=seconds), work=quick)
        self._pool.check_room(call, seconds=seconds)
        return await self._pool.run(call, self._tracing.active(call, work), seconds=seconds)

    def _request(self, method: Method, call: CallContext, raw: bytes) -> Message:
        current_call.set(call)
        request = parse(method.request, raw)
        self._authorizer.check_request(call.caller, request)
        validation.check(request)
        return request

    def _answer(self, method: Method, meter: MethodMeter, call: CallContext, raw: bytes) -> bytes:
        started = self._clock()
        try:
            return self._serialized(method, meter, method.handler(self._request(method, call, raw), call))
        finally:
            self._times.add(method.path, size=call.size, seconds=self._clock() - started)
            current_call.set(None)

    async def _stream(
        self, method: Method, meter: MethodMeter, call: CallContext, raw: bytes, context: ServicerContext
    ) -> None:
        def begin() -> Generator[bytes, None, None]:
            for answer in method.handler(self._request(method, call, raw), call):
                yield self._serialized(method, meter, answer)

        def fill() -> bool:
            current_call.set(call)
            started = self._clock()
            try:
                return buffer.fill()
            finally:
                self._times.add(method.path, size=call.size, seconds=self._clock() - started)
                current_call.set(None)

        buffer = StreamBuffer(call, begin)
        try:
            over = False
            while not over:
                filling = asyncio.ensure_future(self._run(method, call, fill))
                try:
                    async for data in buffer.messages(filling):
                        await _write(context, data)
                    over = await filling
                finally:
                    filling.cancel()
        finally:
            if (close := buffer.stop()) is not None:
                closing = asyncio.ensure_future(self._pool.run(call, close, required=True))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    def _serialized(self, method: Method, meter: MethodMeter, answer: object) -> bytes:
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


async def _write(context: ServicerContext, data: bytes) -> None:
    try:
        async with asyncio.timeout(_STALL_SECONDS):
            await context.write(data)
    except TimeoutError:
        raise Cancelled("the caller has stopped reading") from None


class _Unknown(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        path = handler_call_details.method

        async def handle(_: object, context: ServicerContext) -> None:
            await refuse(context, unimplemented(path))

        return grpc.stream_stream_rpc_method_handler(handle)


def refuse_unknown() -> grpc.GenericRpcHandler:
    """A handler of last resort, so that methods nobody serves are refused in the form of all errors."""
    return _Unknown()
