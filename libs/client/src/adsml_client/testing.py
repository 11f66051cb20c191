"""A channel without a service, so that callers can test their own code.

::

    def classify(request):
        return pb.ClassifyResponse(classification=pb.Classification(tier="TIER_LOW"))

    channel = FakeChannel({"Classify": classify})
    client = ClassifierClient(Connection(channel))
    client.classify(subject=entity_ref(1, "ad", "7"))
    assert channel.requests("Classify")[0].subject.entity.entity_id == "7"
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from adsml_client.errors import DETAILS, CallError, InvalidArgument, Overloaded

_DOMAIN: Final = "adsml.internal"


class FakeChannel:
    """Answers by functions instead of a service; messages are serialized on the way as they would be.

    A function takes a request and gives its response (of a stream: its responses), or raises a `CallError`. They go
    by the method's name (``"Classify"``), or where two services have one of that name by its path
    (``"/adsml.classifier.v1.ClassifierService/RecordFeedback"``). Other methods are UNIMPLEMENTED.
    """

    def __init__(self, handlers: Mapping[str, Callable[[Any], Any]]) -> None:
        self._handlers = dict(handlers)
        self.calls: list[tuple[str, Message, dict[str, str | bytes]]] = []
        """What was called, in order: path, request, metadata."""

    def requests(self, method: str) -> list[Any]:
        """The requests to one method, in order."""
        return [request for path, request, _ in self.calls if method in {path, path.rpartition("/")[2]}]

    def unary_unary(self, method: str, *, response_deserializer: Any, **options: Any) -> Any:
        """As of `grpc.Channel`."""

        def call(request: Any, *, metadata: Any = None, **options: Any) -> Any:
            return response_deserializer(self._answer(method, request, metadata).SerializeToString())

        return call

    def unary_stream(self, method: str, *, response_deserializer: Any, **options: Any) -> Any:
        """As of `grpc.Channel`."""

        def call(request: Any, *, metadata: Any = None, **options: Any) -> Any:
            responses = self._answer(method, request, metadata)
            return _Responses(response_deserializer(one.SerializeToString()) for one in responses)

        return call

    def close(self) -> None:
        """Nothing is open."""

    def _answer(self, path: str, request: Any, metadata: Any) -> Any:
        copy = type(request)()
        copy.CopyFrom(request)
        self.calls.append((path, copy, dict(metadata or ())))
        handler = self._handlers.get(path) or self._handlers.get(path.rpartition("/")[2])
        if handler is None:
            raise _Failure(CallError(grpc.StatusCode.UNIMPLEMENTED, f"there is no handler for {path}"))
        try:
            return handler(copy)
        except CallError as error:
            raise _Failure(error) from error


class _Responses:
    """A stream's responses; a `CallError` while they are made fails the call."""

    def __init__(self, responses: Iterator[Any]) -> None:
        self._responses = responses

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._responses
        except CallError as error:
            raise _Failure(error) from error

    def cancel(self) -> None:
        """Nothing is under way."""


class _Failure(grpc.RpcError):
    """A call that failed, as `grpc.Call` shows it."""

    def __init__(self, error: CallError) -> None:
        super().__init__(str(error))
        self._error = error

    def code(self) -> grpc.StatusCode:
        return self._error.code

    def details(self) -> str:
        return self._error.message

    def trailing_metadata(self) -> Any:
        return ((DETAILS, _status(self._error).SerializeToString()),)


def _status(error: CallError) -> status_pb2.Status:
    """The status that a service of ours would send."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=_DOMAIN, metadata=error.metadata)
    ]
    if isinstance(error, InvalidArgument):
        fields = [{"field": one.path, "description": one.description} for one in error.violations]
        details.append(error_details_pb2.BadRequest(field_violations=fields))
    if isinstance(error, Overloaded) and error.retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(error.retry_after_seconds * 1e9))
        details.append(retry)
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    for one in details:
        status.details.add().Pack(one)
    return status
