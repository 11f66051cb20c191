"""One question, two ways to its answer: the service in this process, or a running one.

A command makes a request message and asks. The request is checked by the rules of its contract; then the service's own
method answers it, opened here from the settings, or reached through a channel. Errors are the same by both ways.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from google.protobuf import json_format, message_factory
from google.protobuf.message import Message

from adsml_common.cli.remote import Remote

if TYPE_CHECKING:
    from adsml_common.database import Database


class OpenService(Protocol):
    """A service with what it stands on, as a family's ``open_service(settings)`` gives it."""

    @property
    def service(self) -> Any:
        """Its methods are named as the contract's: ``(request, context) -> response``."""

    @property
    def database(self) -> "Database":
        """The database it reads."""

    def close(self) -> None:
        """Close stores and models."""


@dataclass(frozen=True, slots=True)
class Door:
    """A service as commands reach it.

    Attributes
    ----------
    service
        Full name in the contracts, ``"adsml.classifier.v1.ClassifierService"``.
    open
        Opens it in this process, from the settings; imports what that takes.
    """

    service: str
    open: Callable[[], OpenService]

    def method(self, request: Message) -> Any:
        """The descriptor of the method that takes such a request: in our contracts each has a type of its own.

        Raises
        ------
        TypeError
            None does.
        """
        # Known to the pool once the module of the request is imported: they are of one file.
        service = request.DESCRIPTOR.file.services_by_name[self.service.rpartition(".")[2]]
        for method in service.methods:
            if method.input_type.full_name == request.DESCRIPTOR.full_name:
                return method
        raise TypeError(f"{self.service} has no method that takes a {request.DESCRIPTOR.full_name}")


def ask(door: Door, request: Message, *, remote: Remote | None = None) -> Any:
    """The response to a request.

    Parameters
    ----------
    door
        The service.
    request
        One of its request messages.
    remote
        A running service to send it to; None: answer it here.

    Raises
    ------
    AdsmlError
        What the service refuses, or why it can't be reached.
    """
    with asking(door, remote=remote) as send:
        return send(request)


def ask_stream(door: Door, request: Message, *, remote: Remote | None = None) -> Iterator[Any]:
    """The responses of a streaming method, as they come; otherwise as `ask`."""
    with asking(door, remote=remote) as send:
        yield from send(request)


@contextlib.contextmanager
def asking(door: Door, *, remote: Remote | None = None) -> Iterator[Callable[[Message], Any]]:
    """Several questions to one service, opened or connected to once.

    Yields
    ------
    callable
        Gives a request's response, or an iterator of them where the method streams.
    """
    from adsml_common.serving import validation  # noqa: PLC0415

    with _reached(door, remote) if remote is not None else _opened(door) as answer:

        def send(request: Message) -> Any:
            validation.check(request)
            return answer(door.method(request), request)

        yield send


def to_dict(response: Message) -> dict[str, Any]:
    """A response as JSON has it (json_format), with the contracts' own field names and without what is unset."""
    return json_format.MessageToDict(response, preserving_proto_field_name=True)


@contextlib.contextmanager
def _opened(door: Door) -> Iterator[Callable[[Any, Message], Any]]:
    from adsml_common.serving.context import CallContext  # noqa: PLC0415
    from adsml_common.serving.serialized import SerializedResponse  # noqa: PLC0415

    opened = door.open()

    def answer(method: Any, request: Message) -> Any:
        context = CallContext(f"/{door.service}/{method.name}", request_id=secrets.token_hex(8))
        response = getattr(opened.service, method.name)(request, context)
        if method.server_streaming:
            return map(_message, response)
        return _message(response)

    def _message(response: Any) -> Any:
        return response.message() if isinstance(response, SerializedResponse) else response

    try:
        opened.database.require_schema()
        yield answer
    finally:
        opened.close()


@contextlib.contextmanager
def _reached(door: Door, remote: Remote) -> Iterator[Callable[[Any, Message], Any]]:
    import grpc  # noqa: PLC0415

    from adsml_common.serving.errors import error_of  # noqa: PLC0415

    with remote.channel() as channel:

        def answer(method: Any, request: Message) -> Any:
            response = message_factory.GetMessageClass(method.output_type)
            open_method = channel.unary_stream if method.server_streaming else channel.unary_unary
            call = open_method(
                f"/{door.service}/{method.name}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=response.FromString,
            )
            try:
                answered = call(request, timeout=remote.timeout, metadata=remote.metadata)
            except grpc.RpcError as error:
                raise error_of(error, target=remote.target) from None
            return each(answered) if method.server_streaming else answered

        def each(responses: Any) -> Iterator[Any]:
            try:
                yield from responses
            except grpc.RpcError as error:
                raise error_of(error, target=remote.target) from None

        yield answer
