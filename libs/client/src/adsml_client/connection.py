"""A connection to one service: balanced, with deadlines, bounded retries, credentials and typed errors."""

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, TypeVar

import grpc
import grpc.aio

from adsml_client.errors import REQUEST_ID, ConfigurationError, UnsafeConnection, error_of

try:
    from opentelemetry import propagate, trace
except ImportError:  # the extra `otel` is not installed: callers' own metadata go as they are
    propagate = None  # type: ignore[assignment]
    trace = None  # type: ignore[assignment]

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
Metadata: TypeAlias = Sequence[tuple[str, str]]
Token: TypeAlias = str | Callable[[], str]

# gRPC 1.85 never sends a retry whose wait, after jitter, is below a millisecond: the call then hangs until its
# deadline.
_FIRST_BACKOFF: Final = "0.1s"
# Failures in a row after which retrying stops for everybody on the connection: a service that is down is not helped by
# fourfold load. Ten successes give one back.
_BUDGET: Final = 100
_MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024
_SCHEMES: Final = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "passthrough:", "xds:")

# Not safe to send twice without `expected_active_version`: the second goes back one version further.
_NEVER_RETRIED: Final = (("adsml.registry.v1.ModelRegistryService", "RollbackModel"),)


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files of a secured connection."""

    ca_file: Path | None = None  # who may have issued the server's certificate; None: the authorities of gRPC
    cert_file: Path | None = None  # the client's own, for mTLS
    key_file: Path | None = None
    server_name: str | None = None  # expected in the server's certificate where it is not the target's host

    def credentials(self) -> grpc.ChannelCredentials:
        """As gRPC takes them; OSError where a file can't be read."""
        if (self.cert_file is None) != (self.key_file is None):
            raise ConfigurationError("cert_file and key_file belong together: give both or neither")
        files = (self.ca_file, self.key_file, self.cert_file)
        return grpc.ssl_channel_credentials(*(None if one is None else one.read_bytes() for one in files))


def service_config(attempts: int, *, health_checks: bool) -> dict[str, Any]:
    """GRPC's service config: round robin over all addresses, retries, health of each server."""
    if not 1 <= attempts <= 5:
        raise ConfigurationError(f"attempts is {attempts}; expected 1 to 5, as gRPC allows")
    methods: list[dict[str, Any]] = [
        {"name": [{"service": service, "method": method} for service, method in _NEVER_RETRIED]},
        {"name": [{}]},
    ]
    if attempts > 1:
        methods[1]["retryPolicy"] = {
            "maxAttempts": attempts,
            "initialBackoff": _FIRST_BACKOFF,
            "maxBackoff": "2s",
            "backoffMultiplier": 2,
            # CANCELLED by the other side: its process ended in the midst. What a caller cancels is never retried.
            "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
        }
    config: dict[str, Any] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": methods,
        # Half of the tokens may be spent before retrying stops.
        "retryThrottling": {"maxTokens": 2 * _BUDGET, "tokenRatio": 0.1},
    }
    return config | ({"healthCheckConfig": {"serviceName": ""}} if health_checks else {})


@dataclass(repr=False, eq=False)
class _Caller:
    """What the blocking and the asynchronous connection share."""

    channel: Any
    _: KW_ONLY
    token: Token | None = None
    deadline_seconds: float = 10.0
    wait_for_ready: bool = False

    @contextmanager
    def _calling(self, method: Any, timeout: float | None, metadata: Metadata) -> Iterator[dict[str, Any]]:
        """The options of a call, with an id and the credentials among its metadata; its error becomes a typed one."""
        own = {key.lower(): value for key, value in metadata}
        request_id = own.get(REQUEST_ID) or uuid.uuid4().hex
        sent = [pair for pair in metadata if pair[0].lower() != REQUEST_ID] + [(REQUEST_ID, request_id)]
        if self.token is not None and "authorization" not in own:
            token = self.token if isinstance(self.token, str) else self.token()
            sent.append(("authorization", f"Bearer {token}"))
        with _client_span(method, sent) as sent:
            try:
                yield {
                    "timeout": self.deadline_seconds if timeout is None else timeout,
                    "metadata": tuple(sent),
                    "wait_for_ready": self.wait_for_ready,
                }
            except grpc.RpcError as error:
                raise error_of(error, request_id=request_id) from None


class Connection(_Caller):
    """A blocking connection; safe to share between threads, and a context manager that closes it.

    `connect` makes one; over a `testing.FakeChannel` it needs no service. Options as of `connect`.
    """

    def call(
        self,
        method: "grpc.UnaryUnaryMultiCallable[RequestT, ResponseT]",
        request: RequestT,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> ResponseT:
        """Call a method of a stub on `channel`, within `timeout` seconds or the connection's `deadline_seconds`.

        `metadata` are sent along; a service that answers a call passes on its ``context.outgoing()``.
        ``x-request-id`` names the call in every log; without it there is a new one. Raises a `CallError`.
        """
        with self._calling(method, timeout, metadata) as options:
            return method(request, **options)

    def stream(
        self,
        method: "grpc.UnaryStreamMultiCallable[RequestT, ResponseT]",
        request: RequestT,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Iterator[ResponseT]:
        """Call a method that answers with a stream; errors while it is read. Cancelled when left early."""
        with self._calling(method, timeout, metadata) as options:
            responses = method(request, **options)
            try:
                yield from responses
            finally:
                responses.cancel()

    def close(self) -> None:
        """Close it; calls in flight are cancelled."""
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncConnection(_Caller):
    """The same for ``asyncio``; to be made and used on one event loop."""

    async def call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT]",
        request: RequestT,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> ResponseT:
        """As `Connection.call`."""
        with self._calling(method, timeout, metadata) as options:
            response: ResponseT = await method(request, **options)
            return response

    async def close(self) -> None:
        """Close it; calls in flight are cancelled."""
        await self.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def connect(
    target: str,
    *,
    token: Token | None = None,
    deadline_seconds: float = 10.0,
    wait_for_ready: bool = False,
    tls: Tls | None = None,
    insecure: bool = False,
    attempts: int = 4,
    health_checks: bool = False,
) -> Connection:
    """Connect to a service, lazily: the first call finds out whether it is there.

    Parameters
    ----------
    target
        ``host:port``; all addresses of the host are used in turn. Or a gRPC target with its scheme, such as
        ``ipv4:10.0.0.1:50051,10.0.0.2:50051``.
    token
        Bearer token, or what gives a fresh one for each call.
    deadline_seconds
        For calls that set none.
    wait_for_ready
        Calls wait for a service that can't be reached until their deadline; by default they are retried for
        under a second and then `Unavailable`.
    insecure
        Speak plain text to another machine.
    attempts
        Tries per call where a service is UNAVAILABLE, or goes in the midst of it, the first included; 1 for no
        retries, at most 5.
    health_checks
        Watch each server's health and leave out those that say NOT_SERVING. Needs a server that lets itself be
        watched; without it a server that starts or drains refuses the call, which is retried at another.

    Raises
    ------
    UnsafeConnection
        Plain text to another machine without `insecure`.
    ConfigurationError
        The options do not fit together.
    OSError
        A file can't be read.
    """
    channel = _channel(grpc, target, tls, insecure, attempts, health_checks)
    return Connection(channel, token=token, deadline_seconds=deadline_seconds, wait_for_ready=wait_for_ready)


def connect_async(
    target: str,
    *,
    token: Token | None = None,
    deadline_seconds: float = 10.0,
    wait_for_ready: bool = False,
    **options: Any,
) -> AsyncConnection:
    """As `connect`, for ``asyncio``."""
    channel = _channel(grpc.aio, target, **options)
    return AsyncConnection(
        channel, token=token, deadline_seconds=deadline_seconds, wait_for_ready=wait_for_ready
    )


def _channel(
    api: Any,
    target: str,
    tls: Tls | None = None,
    insecure: bool = False,
    attempts: int = 4,
    health_checks: bool = False,
) -> Any:
    """A channel of ``grpc`` or ``grpc.aio``, its options checked."""
    if not target:
        raise ConfigurationError("the target is empty; expected host:port")
    if tls is None and not insecure and not _is_local(target):
        raise UnsafeConnection(
            f"{target} is another machine: give tls=Tls(...), or insecure=True where the network is trusted"
        )
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(service_config(attempts, health_checks=health_checks))),
        ("grpc.enable_retries", 1),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # A server that restarts is back within a second; gRPC's own first wait is one.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.dns_min_time_between_resolutions_ms", 2_000),
        ("grpc.max_receive_message_length", _MAX_RESPONSE_BYTES),
    ]
    address = target if target.startswith(_SCHEMES) else f"dns:///{target}"
    if tls is None:
        return api.insecure_channel(address, options)
    if tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return api.secure_channel(address, tls.credentials(), options)


def _is_local(target: str) -> bool:
    scheme = next((one for one in _SCHEMES if target.startswith(one)), "")
    addresses = target.removeprefix(scheme).rpartition("/")[2].split(",")
    return scheme.startswith("unix") or all(_is_loopback(one.rpartition(":")[0]) for one in addresses)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@contextmanager
def _client_span(method: Any, metadata: Sequence[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """A span around a call, and the metadata that carry it to the service.

    Without OpenTelemetry, or where nothing records, the metadata are as given.
    """
    if trace is None:
        yield list(metadata)
        return
    path = getattr(method, "_method", b"")
    name = (path.decode() if isinstance(path, bytes) else str(path)).lstrip("/")
    service, _, method_name = name.rpartition("/")
    tracer = trace.get_tracer("adsml")
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method_name}
    with tracer.start_as_current_span(name, kind=trace.SpanKind.CLIENT, attributes=attributes):
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        others = [pair for pair in metadata if pair[0].lower() not in carrier]
        yield [*others, *carrier.items()]
