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

from adsml_common.domain.errors import InvalidInput

if TYPE_CHECKING:
    import grpc

TOKEN_VARIABLE: Final = "ADSML_TOKEN"  # noqa: S105 - a variable's name
_SECONDS: Final = 120.0

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

TlsOption = Annotated[bool, typer.Option("--tls", help="The service speaks TLS.")]
CaFileOption = Annotated[
    Path | None,
    typer.Option("--ca-file", help="PEM: who issued the service's certificate. Implies --tls."),
]
CertFileOption = Annotated[
    Path | None, typer.Option("--cert-file", help="PEM: our own certificate, for mTLS.")
]
KeyFileOption = Annotated[Path | None, typer.Option("--key-file", help="PEM: its key.")]
ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        help=f"Ask this running service instead of working here. A token is taken from {TOKEN_VARIABLE}.",
        show_default=False,
    ),
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the service's answer.")
]


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a service is and how to speak to it.

    Attributes
    ----------
    target
        ``HOST:PORT``.
    tls
        Whether to speak TLS.
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

    @classmethod
    def of(
        cls,
        target: str,
        *,
        option: str = "--server",
        tls: bool = False,
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        timeout: float = _SECONDS,
    ) -> "Remote":
        """What the options of a command say.

        Raises
        ------
        InvalidInput
            Naming the option that can't be right.
        """
        _, _, port = target.rpartition(":")
        if not port.isdecimal():
            raise InvalidInput.at(option, f"is {target!r}; expected HOST:PORT")
        if (cert_file is None) != (key_file is None):
            raise InvalidInput.at("--cert-file", "goes together with --key-file")
        for name, path in (("--ca-file", ca_file), ("--cert-file", cert_file), ("--key-file", key_file)):
            if path is not None and not path.is_file():
                raise InvalidInput.at(name, f"is {path}, where there is no file")
        secured = tls or ca_file is not None or cert_file is not None
        return cls(
            target, tls=secured, ca_file=ca_file, cert_file=cert_file, key_file=key_file, timeout=timeout
        )

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

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
    def run(
        *,
        server: str | None,
        tls: bool,
        ca_file: Path | None,
        cert_file: Path | None,
        key_file: Path | None,
        timeout: float,
        **given: Any,
    ) -> Any:
        remote = (
            None
            if server is None
            else Remote.of(
                server, tls=tls, ca_file=ca_file, cert_file=cert_file, key_file=key_file, timeout=timeout
            )
        )
        return command(**given, remote=remote)

    kind = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter("server", kind, default=None, annotation=ServerOption),
        inspect.Parameter("tls", kind, default=False, annotation=TlsOption),
        inspect.Parameter("ca_file", kind, default=None, annotation=CaFileOption),
        inspect.Parameter("cert_file", kind, default=None, annotation=CertFileOption),
        inspect.Parameter("key_file", kind, default=None, annotation=KeyFileOption),
        inspect.Parameter("timeout", kind, default=_SECONDS, annotation=TimeoutOption),
    ]
    run.__signature__ = signature.replace(parameters=[one.replace(kind=kind) for one in own] + added)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*own, *added)}
    return run  # type: ignore[return-value]
