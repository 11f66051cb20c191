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

Handler = Callable[[Any], Any]
"""From a request to its response (of a stream: to its responses); raises `CallError` to fail the call."""

_DOMAIN: Final = "adsml.internal"


class FakeChannel(grpc.Channel):
    """Answers by functions instead of a service; messages are serialized on the way as they would be.

    Parameters
    ----------
    handlers
        By the method's name (``"Classify"``), or where two services have one of that name by its path
        (``"/adsml.classifier.v1.ClassifierService/RecordFeedback"``). Other methods are UNIMPLEMENTED.

    Attributes
    ----------
    calls
        What was called, in order: path, request, metadata.
    """

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = dict(handlers)
        self.calls: list[tuple[str, Message, dict[str, str | bytes]]] = []

    def requests(self, method: str) -> list[Any]:
        """The requests to one method, in order."""
        return [request for path, request, _ in self.calls if method in {path, path.rpartition("/")[2]}]

    def unary_unary(self, method: str, *serializers: Any, **options: Any) -> Any:
        """As of `grpc.Channel`."""
        return _Callable(self, method, *serializers, **options)

    def unary_stream(self, method: str, *serializers: Any, **options: Any) -> Any:
        """As of `grpc.Channel`."""
        return _Callable(self, method, *serializers, **options, streams=True)

    def stream_unary(self, method: str, *serializers: Any, **options: Any) -> Any:
        """No contract has one."""
        raise NotImplementedError(method)

    stream_stream = stream_unary

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool = False
    ) -> None:
        """It is ready from the start."""
        callback(grpc.ChannelConnectivity.READY)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Nothing changes later."""

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> "FakeChannel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answer(self, path: str, request: Any, metadata: Any) -> Any:
        """What a handler gives; a `CallError` as gRPC would raise it."""
        self.calls.append((path, request, dict(metadata or ())))
        handler = self._handlers.get(path) or self._handlers.get(path.rpartition("/")[2])
        if handler is None:
            raise _Failure(CallError(grpc.StatusCode.UNIMPLEMENTED, f"there is no handler for {path}"))
        try:
            return handler(request)
        except CallError as error:
            raise _Failure(error) from error


class _Callable:
    """A method of a fake channel."""

    def __init__(
        self,
        channel: FakeChannel,
        path: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        *,
        streams: bool = False,
        **_: Any,
    ) -> None:
        self._channel = channel
        self._method = path
        self._deserialize = response_deserializer
        self._streams = streams

    def __call__(self, request: Any, *, metadata: Any = None, **_: Any) -> Any:
        copy = type(request)()
        copy.CopyFrom(request)
        answer = self._channel.answer(self._method, copy, metadata)
        return _Responses(map(self._arrived, answer)) if self._streams else self._arrived(answer)

    def _arrived(self, response: Message) -> Any:
        return self._deserialize(response.SerializeToString())


class _Responses:
    """A stream's responses; a `CallError` while they are made fails the call."""

    def __init__(self, responses: Iterator[Any]) -> None:
        self._responses = responses

    def __iter__(self) -> "_Responses":
        return self

    def __next__(self) -> Any:
        try:
            return next(self._responses)
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
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=_DOMAIN, metadata=error.metadata)
    ]
    if isinstance(error, InvalidArgument):
        violation = error_details_pb2.BadRequest.FieldViolation
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    violation(field=one.path, description=one.description) for one in error.violations
                ]
            )
        )
    if isinstance(error, Overloaded) and error.retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(error.retry_after_seconds * 1e9))
        details.append(retry)
    for one in details:
        status.details.add().Pack(one)
    return status
