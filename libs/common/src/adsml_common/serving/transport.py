"""Small things that everything on the event loop shares: parsing, refusing."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2

from adsml_common.domain.errors import InvalidInput

REQUEST_ID: Final = "x-request-id"
CODES: Final[dict[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}
_STATUS_DETAILS: Final = "grpc-status-details-bin"

ServicerContext: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
MessageT = TypeVar("MessageT", bound=Message)
T = TypeVar("T")


def parse(kind: type[MessageT], raw: bytes) -> MessageT:
    """The message in some bytes; raises `InvalidInput` where they are none.

    Handlers take bytes and parse them here: gRPC's own deserialising would answer INTERNAL, and quote its exception.
    """
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise InvalidInput.at("", f"the bytes are no {kind.DESCRIPTOR.full_name}") from None


async def read_message(context: ServicerContext, largest: int, *, seconds: float) -> bytes:
    """The one message of a call whose method is registered as one that takes a stream.

    Raises `InvalidInput` where there is none, it has more than `largest` bytes, or it does not come within `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            raw = await context.read()
    except TimeoutError:
        raise InvalidInput.at("", f"the message did not come within {seconds:g} s") from None
    if not isinstance(raw, bytes):
        raise InvalidInput.at("", "the call has no message")
    if (size := len(raw)) > largest:
        del raw  # not to be held while the refusal is on its way
        raise InvalidInput.at(
            "", f"the message has {size} bytes and this method takes {largest}; send less at once"
        )
    return raw


async def refuse(context: ServicerContext, status: status_pb2.Status, *, request_id: str = "") -> NoReturn:
    """End a call with a status, its details and the request's id."""
    metadata: list[tuple[str, str | bytes]] = [(_STATUS_DETAILS, status.SerializeToString())]
    if request_id:
        metadata.append((REQUEST_ID, request_id))
    await context.abort(CODES[status.code], status.message, tuple(metadata))


def clear_refusals(
    handle: Callable[[Any, ServicerContext], Awaitable[T]],
) -> Callable[[Any, ServicerContext], Awaitable[T]]:
    """A handler whose refusals keep nothing alive.

    gRPC keeps the exception of a refused call in a circle with the call, and what led to it holds itself in the frames
    that it came through. The message would stay in them until the collector comes by: strangers' 32 messages of 15 MiB
    were half a gigabyte.
    """

    async def outer(request: Any, context: ServicerContext) -> T:
        try:
            return await handle(request, context)
        except grpc.aio.AbortError as aborted:
            for error in (aborted.__context__, aborted):
                traceback.clear_frames(None if error is None else error.__traceback__)
            raise

    return outer


def text_metadata(context: ServicerContext) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
