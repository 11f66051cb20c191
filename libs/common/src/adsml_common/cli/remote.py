"""A running service that a command asks instead of working here: its address, credentials and channel."""

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from adsml_common.cli.options import sign
from adsml_common.domain.errors import InvalidInput

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

TOKEN_VARIABLE: Final = "ADSML_TOKEN"  # noqa: S105 - a variable's name
_SECONDS: Final = 120.0

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_OPTIONS: Final = {
    "server": Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="HOST:PORT",
            help=f"Ask this running service instead of working here. A token is taken from {TOKEN_VARIABLE}.",
            show_default=False,
        ),
    ],
    "tls": Annotated[bool, typer.Option("--tls", help="The service speaks TLS.")],
    "ca_file": Annotated[
        Path | None,
        typer.Option("--ca-file", help="PEM: who issued the service's certificate. Implies --tls."),
    ],
    "cert_file": Annotated[
        Path | None, typer.Option("--cert-file", help="PEM: our own certificate, for mTLS.")
    ],
    "key_file": Annotated[Path | None, typer.Option("--key-file", help="PEM: its key.")],
    "timeout": Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the service's answer.")
    ],
}
FamilyOption = Annotated[
    str | None,
    typer.Option(
        "--family",
        help="With --server: the family that it serves, or that a gateway shall ask.",
        show_default=False,
    ),
]
_DEFAULTS: Final = {"tls": False, "timeout": _SECONDS}


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a service is (``HOST:PORT``) and how to speak to it.

    Attributes
    ----------
    ca_file
        PEM: who may have issued the server's certificate; None: the authorities that gRPC and Python bring.
    cert_file, key_file
        PEM: our own certificate and key, where the server asks for one.
    token
        Bearer token, where the server asks for one.
    timeout
        Seconds for one call.
    """

    target: str
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    token: str = field(default_factory=lambda: os.environ.get(TOKEN_VARIABLE, ""))
    timeout: float = _SECONDS

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
    if "remote" not in signature.parameters:
        raise TypeError(f"{command.__name__} has no parameter `remote`")
    own = [one for one in signature.parameters.values() if one.name != "remote"]

    @wraps(command)
    def run(**given: Any) -> Any:
        target, *others = (given.pop(name) for name in _OPTIONS)
        options = dict(zip(list(_OPTIONS)[1:], others, strict=True))
        return command(**given, remote=None if target is None else Remote(target, **options))

    sign(run, own, {name: (option, _DEFAULTS.get(name)) for name, option in _OPTIONS.items()})
    return run  # type: ignore[return-value]
