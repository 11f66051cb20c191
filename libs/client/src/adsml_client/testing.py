"""A channel without a service, so that callers can test their own code.

::

    def classify(request):
        return pb.ClassifyResponse(classification=pb.Classification(tier="TIER_LOW"))

    channel = FakeChannel({"Classify": classify})
    client = ClassifierClient(Connection(channel))
    client.classify(subject=entity_ref(1, "ad", "7"))
    assert channel.requests("Classify")[0].subject.entity.entity_id == "7"
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
from google.protobuf.message import Message

from adsml_client.errors import REQUEST_ID, CallError


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
            return _Responses((response_deserializer(one.SerializeToString()) for one in responses), metadata)

        return call

    def close(self) -> None:
        """Nothing is open."""

    def _answer(self, path: str, request: Any, metadata: Any) -> Any:
        sent = type(request)()
        sent.CopyFrom(request)
        self.calls.append((path, sent, dict(metadata or ())))
        handler = self._handlers.get(path) or self._handlers.get(path.rpartition("/")[2])
        try:
            if handler is None:
                raise CallError(grpc.StatusCode.UNIMPLEMENTED, f"there is no handler for {path}")
            return handler(sent)
        except CallError as error:
            raise _arrived(error, metadata) from error


class _Responses:
    """A stream's responses; a `CallError` while they are made fails the call."""

    def __init__(self, responses: Iterator[Any], metadata: Any) -> None:
        self._responses = responses
        self._metadata = metadata

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._responses
        except CallError as error:
            raise _arrived(error, self._metadata) from error

    def cancel(self) -> None:
        """Nothing is under way."""


def _arrived(error: CallError, metadata: Any) -> CallError:
    """The error as it comes from a service: with the id of the call."""
    out = copy.copy(error)
    out.request_id = dict(metadata or ()).get(REQUEST_ID, error.request_id)
    return out
