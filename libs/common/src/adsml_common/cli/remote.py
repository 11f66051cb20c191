"""A running service that a command asks instead of working here: its address, credentials and channel."""

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, get_type_hints

import typer

from adsml_common.cli.options import sign
from adsml_common.domain.errors import InvalidInput

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

TOKEN_VARIABLE: Final = "ADSML_TOKEN"  # noqa: S105 - a variable's name

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        help=f"Ask this running service instead of working here. A token is taken from {TOKEN_VARIABLE}.",
        show_default=False,
    ),
]
FamilyOption = Annotated[
    str | None,
    typer.Option(
        "--family",
        help="With --server: the family that it serves, or that a gateway shall ask.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a service is, how to speak to it (each an option of a command), and who asks."""

    target: str
    tls: Annotated[bool, typer.Option("--tls", help="The service speaks TLS.")] = False
    ca_file: Annotated[
        Path | None,
        typer.Option("--ca-file", help="PEM: who issued the service's certificate. Implies --tls."),
    ] = None
    cert_file: Annotated[
        Path | None, typer.Option("--cert-file", help="PEM: our own certificate, for mTLS.")
    ] = None
    key_file: Annotated[Path | None, typer.Option("--key-file", help="PEM: its key.")] = None
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the service's answer.")
    ] = 120.0
    token: str = field(default_factory=lambda: os.environ.get(TOKEN_VARIABLE, ""))

    def __post_init__(self) -> None:
        if not self.target.rpartition(":")[2].isdecimal():
            raise InvalidInput.at("--server", f"is {self.target!r}; expected HOST:PORT")
        if (self.cert_file is None) != (self.key_file is None):
            raise InvalidInput.at("--cert-file", "goes together with --key-file")
        files = {"--ca-file": self.ca_file, "--cert-file": self.cert_file, "--key-file": self.key_file}
        for name, path in files.items():
            if path is not None and not path.is_file():
                raise InvalidInput.at(name, f"is {path}, where there is no file")
        if self.ca_file is not None or self.cert_file is not None:
            object.__setattr__(self, "tls", True)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def metadata_for(self, request: "Message") -> tuple[tuple[str, str], ...]:
        """What goes with a request: where it names a family, a gateway is told it too."""
        from adsml_common.gateway import FAMILY_HEADER  # noqa: PLC0415

        field = request.DESCRIPTOR.fields_by_name.get("family")
        if field is None or field.enum_type is None:
            return self.metadata
        family = field.enum_type.values_by_number[getattr(request, field.name)]
        return (*self.metadata, (FAMILY_HEADER, family.name.removeprefix("FAMILY_").lower()))

    @contextlib.contextmanager
    def channel(self) -> "Iterator[grpc.Channel]":
        """A channel to it, closed on leaving."""
        import grpc  # noqa: PLC0415 - a third of a second

        options = [("grpc.max_receive_message_length", -1)]
        if not self.tls:
            with grpc.insecure_channel(self.target, options=options) as channel:
                yield channel
            return

        def read(path: Path | None) -> bytes | None:
            return None if path is None else path.read_bytes()

        credentials = grpc.ssl_channel_credentials(
            read(self.ca_file), read(self.key_file), read(self.cert_file)
        )
        with grpc.secure_channel(self.target, credentials, options=options) as channel:
            yield channel


def with_server(command: CommandT) -> CommandT:
    """Give a command ``--server`` and the options of a connection: TLS, its files, and ``--timeout``.

    The command takes them as one keyword argument, ``remote: Remote | None``: None without ``--server``.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [one for one in signature.parameters.values() if one.name != "remote"]
    hints = get_type_hints(Remote, include_extras=True)
    options = {one.name: (hints[one.name], one.default) for one in fields(Remote)[1:-1]}

    @wraps(command)
    def run(server: str | None, **given: Any) -> Any:
        how = {name: given.pop(name) for name in options}
        return command(**given, remote=None if server is None else Remote(server, **how))

    sign(run, own, {"server": (_ServerOption, None), **options})
    return run  # type: ignore[return-value]
