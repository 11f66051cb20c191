"""A connection to one service: balanced, with deadlines, bounded retries, credentials and typed errors."""

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

import grpc
import grpc.aio

from adsml_client.errors import REQUEST_ID, ConfigurationError, UnsafeConnection, error_of
from adsml_client.spans import client_span

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
Metadata: TypeAlias = Sequence[tuple[str, str]]
Token: TypeAlias = str | Callable[[], str]

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
_SCHEMES: Final = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "passthrough:", "xds:")

# Not safe to send twice without `expected_active_version`: the second goes back one version further.
_NEVER_RETRIED: Final = (("adsml.registry.v1.ModelRegistryService", "RollbackModel"),)


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of a secured connection.

    Attributes
    ----------
    ca_file
        PEM: who may have issued the server's certificate; None: the authorities that gRPC brings.
    cert_file, key_file
        PEM: the client's own certificate and key, for mTLS.
    server_name
        Name expected in the server's certificate where it is not the target's host.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """As gRPC takes them.

        Raises
        ------
        OSError
            A file can't be read.
        ConfigurationError
            One of certificate and key is missing.
        """
        if (self.cert_file is None) != (self.key_file is None):
            raise ConfigurationError("cert_file and key_file belong together: give both or neither")

        def read(path: Path | None) -> bytes | None:
            return None if path is None else path.read_bytes()

        return grpc.ssl_channel_credentials(read(self.ca_file), read(self.key_file), read(self.cert_file))


@dataclass(frozen=True, slots=True)
class Retry:
    """What happens when a service is UNAVAILABLE; nothing else is retried.

    Attributes
    ----------
    attempts
        Tries per call, the first included; 1 for no retries, at most 5.
    first_backoff_seconds, longest_backoff_seconds
        Waits between them, doubled each time, with jitter.
    budget
        Failures in a row after which retrying stops for everybody on the connection: a service that is down
        is not helped by fourfold load. Ten successes give one back.
    """

    attempts: int = 4
    first_backoff_seconds: float = 0.1
    longest_backoff_seconds: float = 2.0
    budget: int = 100

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= 5:
            raise ConfigurationError(f"attempts is {self.attempts}; expected 1 to 5, as gRPC allows")
        # gRPC 1.85 never sends a retry whose wait, after jitter, comes to less than a millisecond: the call
        # then hangs until its deadline.
        if not 0.01 <= self.first_backoff_seconds <= self.longest_backoff_seconds:
            raise ConfigurationError(
                f"waits are {self.first_backoff_seconds:g} to {self.longest_backoff_seconds:g} s; "
                "expected at least 0.01 s, and the first not above the longest"
            )
        if not 1 <= self.budget <= 500:
            raise ConfigurationError(f"budget is {self.budget}; expected 1 to 500")


def service_config(retry: Retry, *, health_checks: bool) -> dict[str, Any]:
    """GRPC's service config: round robin over all addresses, retries, health of each server.

    Parameters
    ----------
    retry
        When to try again.
    health_checks
        Watch each server's health, so that one that drains gets no new calls.
    """
    methods: list[dict[str, Any]] = [
        {"name": [{"service": service, "method": method} for service, method in _NEVER_RETRIED]}
    ]
    default: dict[str, Any] = {"name": [{}]}
    if retry.attempts > 1:
        default["retryPolicy"] = {
            "maxAttempts": retry.attempts,
            "initialBackoff": f"{retry.first_backoff_seconds:g}s",
            "maxBackoff": f"{retry.longest_backoff_seconds:g}s",
            "backoffMultiplier": 2,
            # CANCELLED by the other side: its process ended in the midst. What a caller cancels is never retried.
            "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
        }
    config: dict[str, Any] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [*methods, default],
        # Half of the tokens may be spent before retrying stops.
        "retryThrottling": {"maxTokens": 2 * retry.budget, "tokenRatio": 0.1},
    }
    if health_checks:
        config["healthCheckConfig"] = {"serviceName": ""}
    return config


class _Caller:
    """What the blocking and the asynchronous connection share."""

    def __init__(
        self,
        *,
        token: Token | None = None,
        deadline_seconds: float = 10.0,
        wait_for_ready: bool = False,
    ) -> None:
        self.deadline_seconds = deadline_seconds
        self._token = token
        self._wait_for_ready = wait_for_ready

    def _options(self, timeout: float | None, metadata: Metadata) -> dict[str, Any]:
        return {
            "timeout": self.deadline_seconds if timeout is None else timeout,
            "metadata": tuple(metadata),
            "wait_for_ready": self._wait_for_ready,
        }

    def _complete(self, metadata: Metadata, request_id: str | None) -> tuple[str, list[tuple[str, str]]]:
        """The call's id, and the metadata with it and the credentials."""
        own = {key.lower(): value for key, value in metadata}
        request_id = request_id or own.get(REQUEST_ID) or uuid.uuid4().hex
        out = [pair for pair in metadata if pair[0].lower() != REQUEST_ID] + [(REQUEST_ID, request_id)]
        if self._token is not None and "authorization" not in own:
            token = self._token if isinstance(self._token, str) else self._token()
            out.append(("authorization", f"Bearer {token}"))
        return request_id, out


class Connection(_Caller):
    """A blocking connection; safe to share between threads, and a context manager that closes it.

    `connect` makes one; over a `testing.FakeChannel` it needs no service.

    Parameters
    ----------
    channel
        What the calls go through.
    options
        `token`, `deadline_seconds` and `wait_for_ready` as of `connect`.
    """

    def __init__(self, channel: grpc.Channel, **options: Any) -> None:
        super().__init__(**options)
        self.channel = channel

    def call(
        self,
        method: "grpc.UnaryUnaryMultiCallable[RequestT, ResponseT]",
        request: RequestT,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
        request_id: str | None = None,
    ) -> ResponseT:
        """Call a method of a stub on `channel`.

        Parameters
        ----------
        method, request
            Which one, with what.
        timeout
            Seconds; None: the connection's `deadline_seconds`.
        metadata
            To send along; a service that answers a call passes on its ``context.outgoing()``.
        request_id
            Names the call in every log; None: a new one, unless metadata hold one.

        Raises
        ------
        CallError
            One of its family.
        """
        request_id, sent = self._complete(metadata, request_id)
        with client_span(method, sent) as sent:
            try:
                return method(request, **self._options(timeout, sent))
            except grpc.RpcError as error:
                raise error_of(error, request_id=request_id) from None

    def stream(
        self,
        method: "grpc.UnaryStreamMultiCallable[RequestT, ResponseT]",
        request: RequestT,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
        request_id: str | None = None,
    ) -> Iterator[ResponseT]:
        """Call a method that answers with a stream; parameters as of `call`. Cancelled when left early.

        Raises
        ------
        CallError
            One of its family, while it is read.
        """
        request_id, sent = self._complete(metadata, request_id)
        with client_span(method, sent) as sent:
            responses = method(request, **self._options(timeout, sent))
            try:
                yield from responses
            except grpc.RpcError as error:
                raise error_of(error, request_id=request_id) from None
            finally:
                responses.cancel()

    def close(self) -> None:
        """Close it; calls in flight are cancelled."""
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncConnection(_Caller):
    """The same for ``asyncio``; to be made and used on one event loop."""

    def __init__(self, channel: grpc.aio.Channel, **options: Any) -> None:
        super().__init__(**options)
        self.channel = channel

    async def call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT]",
        request: RequestT,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
        request_id: str | None = None,
    ) -> ResponseT:
        """As `Connection.call`."""
        request_id, sent = self._complete(metadata, request_id)
        with client_span(method, sent) as sent:
            try:
                response: ResponseT = await method(request, **self._options(timeout, sent))
                return response
            except grpc.RpcError as error:
                raise error_of(error, request_id=request_id) from None

    async def close(self) -> None:
        """Close it; calls in flight are cancelled."""
        await self.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def connect(
    target: str,
    *,
    tls: Tls | None = None,
    insecure: bool = False,
    token: Token | None = None,
    deadline_seconds: float = 10.0,
    wait_for_ready: bool = False,
    retry: Retry | None = None,
    health_checks: bool = False,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
) -> Connection:
    """Connect to a service, lazily: the first call finds out whether it is there.

    Parameters
    ----------
    target
        ``host:port``; all addresses of the host are used in turn. Or a gRPC target with its scheme, such as
        ``ipv4:10.0.0.1:50051,10.0.0.2:50051``.
    tls
        Files of a secured connection.
    insecure
        Speak plain text to another machine.
    token
        Bearer token, or what gives a fresh one for each call.
    deadline_seconds
        For calls that set none.
    wait_for_ready
        Calls wait for a service that can't be reached until their deadline; by default they are retried for
        under a second and then `Unavailable`.
    retry
        When to try again; None: `Retry`'s defaults.
    health_checks
        Watch each server's health and leave out those that say NOT_SERVING. Needs a server that lets itself be
        watched; without it a server that starts or drains refuses the call, which is retried at another.
    max_message_bytes
        Longest response.

    Raises
    ------
    UnsafeConnection
        Plain text to another machine without `insecure`.
    ConfigurationError
        The options do not fit together.
    OSError
        A file can't be read.
    """
    address, credentials, options = _channel(
        target, tls, insecure, retry or Retry(), health_checks, max_message_bytes
    )
    channel = (
        grpc.insecure_channel(address, options)
        if credentials is None
        else grpc.secure_channel(address, credentials, options)
    )
    return Connection(channel, token=token, deadline_seconds=deadline_seconds, wait_for_ready=wait_for_ready)


def connect_async(
    target: str,
    *,
    tls: Tls | None = None,
    insecure: bool = False,
    retry: Retry | None = None,
    health_checks: bool = False,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    **calls: Any,
) -> AsyncConnection:
    """As `connect`, for ``asyncio``."""
    address, credentials, options = _channel(
        target, tls, insecure, retry or Retry(), health_checks, max_message_bytes
    )
    channel = (
        grpc.aio.insecure_channel(address, options)
        if credentials is None
        else grpc.aio.secure_channel(address, credentials, options)
    )
    return AsyncConnection(channel, **calls)


def _channel(
    target: str, tls: Tls | None, insecure: bool, retry: Retry, health_checks: bool, max_message_bytes: int
) -> tuple[str, grpc.ChannelCredentials | None, list[tuple[str, Any]]]:
    """Address, credentials and options of a channel, checked."""
    if not target:
        raise ConfigurationError("the target is empty; expected host:port")
    if tls is None and not insecure and not _is_local(target):
        raise UnsafeConnection(
            f"{target} is another machine: give tls=Tls(...), or insecure=True where the network is trusted"
        )
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(service_config(retry, health_checks=health_checks))),
        ("grpc.enable_retries", 1),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # A server that restarts is back within a second; gRPC's own first wait is one.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.dns_min_time_between_resolutions_ms", 2_000),
        ("grpc.max_receive_message_length", max_message_bytes),
    ]
    if tls is not None and tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    address = target if target.startswith(_SCHEMES) else f"dns:///{target}"
    return address, None if tls is None else tls.credentials(), options


def _is_local(target: str) -> bool:
    scheme = next((one for one in _SCHEMES if target.startswith(one)), "")
    if scheme.startswith("unix"):
        return True
    rest = target.removeprefix(scheme).rpartition("/")[2]
    return all(_is_loopback(one.rpartition(":")[0]) for one in rest.split(","))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
