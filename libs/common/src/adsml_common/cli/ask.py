"""One question, two ways to its answer: the service in this process, or a running one.

A command makes a request message and asks. The request is checked by the rules of its contract; then the service's own
method answers it, opened here from the settings, or reached through a channel. Errors are the same by both ways.
"""

import contextlib
import getpass
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from google.protobuf import json_format, message_factory
from google.protobuf.message import Message

from adsml_common.cli.remote import Remote
from adsml_common.domain.errors import InvalidInput

if TYPE_CHECKING:
    from adsml_common.database import Database


class OpenService(Protocol):
    """A service with what it stands on, as a family's ``open_service(settings)`` gives it.

    Methods of `service` are named as the contract's: ``(request, context) -> response``.
    """

    @property
    def service(self) -> Any: ...

    @property
    def database(self) -> "Database": ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Door:
    """A service as commands reach it: its full name in the contracts, and what opens it in this process."""

    service: str
    open: Callable[[], OpenService]

    def method(self, request: Message) -> Any:
        """The descriptor of the method that takes such a request: in our contracts each has a type of its own."""
        # Known to the pool once the module of the request is imported: they are of one file.
        service = request.DESCRIPTOR.file.services_by_name[self.service.rpartition(".")[2]]
        taken = request.DESCRIPTOR.full_name
        return next(one for one in service.methods if one.input_type.full_name == taken)


def ask(door: Door, request: Message, *, remote: Remote | None = None) -> Any:
    """The response to a request, by the running service `remote` or, without one, answered here.

    Raises
    ------
    AdsmlError
        What the service refuses, or why it can't be reached.
    """
    with asking(door, remote=remote) as send:
        return send(request)


@contextlib.contextmanager
def asking(door: Door, *, remote: Remote | None = None) -> Iterator[Callable[[Message], Any]]:
    """Several questions to one service, opened or connected to once.

    What is yielded gives a request's response, or an iterator of them where the method streams.
    """
    from adsml_common.serving import validation  # noqa: PLC0415

    with _reached(door, remote) if remote is not None else _opened(door) as answer:

        def send(request: Message) -> Any:
            validation.check(request)
            return answer(door.method(request), request)

        yield send


def family_number(name: str | None, remote: Remote | None, *, model: str = "") -> int:
    """The number of a family for a request of registry or training; every server has those of one family.

    Without a name it is that of the `model` asked for, by the first word of the model's name. Here one service has
    them all, and whatever the request has to name is good.
    """
    from adsml_common.cli import family  # noqa: PLC0415

    names = family.names()
    if name is None and remote is None:
        return 1
    if name is None and (found := family.by_prefix().get(model.partition("/")[0])) is not None:
        name = found.name
    if name not in names:
        given = "is not given" if name is None else f"is {name!r}"
        raise InvalidInput.at("--family", f"{given}; expected whose server it is: {', '.join(names)}")
    return 1 + names.index(name)


def pages(send: Callable[[Message], Any], request: Any, field: str) -> Iterator[Any]:
    """The entries of all pages of a listing."""
    while True:
        response = send(request)
        yield from getattr(response, field)
        if not response.next_page_token:
            return
        request.page_token = response.next_page_token


def to_dict(response: Message) -> dict[str, Any]:
    """A response as JSON has it (json_format), with the contracts' own field names and without what is unset."""
    return json_format.MessageToDict(response, preserving_proto_field_name=True)


def _person() -> str:
    # A container's user may have no name.
    with contextlib.suppress(KeyError, OSError):
        return f"{getpass.getuser()} (command line)"
    return f"user {os.getuid()} (command line)"


@contextlib.contextmanager
def _opened(door: Door) -> Iterator[Callable[[Any, Message], Any]]:
    from adsml_common.serving.context import CallContext, Caller  # noqa: PLC0415
    from adsml_common.serving.serialized import SerializedResponse  # noqa: PLC0415

    def message(response: Any) -> Any:
        return response.message() if isinstance(response, SerializedResponse) else response

    with contextlib.closing(door.open()) as opened:

        def answer(method: Any, request: Message) -> Any:
            context = CallContext(
                f"/{door.service}/{method.name}", request_id=secrets.token_hex(8), caller=Caller(_person())
            )
            response = getattr(opened.service, method.name)(request, context)
            return map(message, response) if method.server_streaming else message(response)

        opened.database.require_schema()
        yield answer


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
                answered = call(request, timeout=remote.timeout, metadata=remote.metadata_for(request))
            except grpc.RpcError as error:
                raise error_of(error, target=remote.target) from None
            return each(answered) if method.server_streaming else answered

        def each(responses: Any) -> Iterator[Any]:
            try:
                yield from responses
            except grpc.RpcError as error:
                raise error_of(error, target=remote.target) from None

        yield answer
