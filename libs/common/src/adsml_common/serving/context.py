"""What a handler is told about the call it answers."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from adsml_common.domain.errors import Cancelled, DeadlineExceeded, PermissionDenied


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, and what they may do.

    Attributes
    ----------
    identity
        A token's subject or a client certificate's name; ``""`` where authentication is off.
    config_ids
        Ad accounts the caller may see; None for all of them.
    scopes
        What the caller may do; None for everything (authentication is off).
    """

    identity: str
    config_ids: frozenset[int] | None = None
    scopes: frozenset[str] | None = None

    def permits(self, config_id: int) -> bool:
        """Whether the caller may see this account."""
        return self.config_ids is None or config_id in self.config_ids


ANONYMOUS: Final = Caller(identity="")
"""The caller of a server without authentication."""


class CallContext:
    """One call as its handler sees it. Safe to read from any thread.

    Parameters
    ----------
    method
        Full name, ``"/package.Service/Method"``.
    request_id
        The caller's ``x-request-id``, or a generated one.
    caller
        Who calls.
    deadline_at
        When the answer must be on its way, on `clock`; None for never. The caller's own deadline is a little
        later.
    metadata
        The caller's text metadata, keys in lower case.
    peer
        The caller's address as gRPC writes it.
    size
        Length of the request message in bytes.
    clock
        Seconds, rising steadily.
    """

    __slots__ = (
        "_cancelled",
        "_clock",
        "_on_cancel",
        "caller",
        "deadline_at",
        "metadata",
        "method",
        "peer",
        "request_id",
        "size",
        "span",
        "started_at",
        "trace_id",
        "traceparent",
    )

    def __init__(
        self,
        method: str = "",
        *,
        request_id: str = "",
        caller: Caller = ANONYMOUS,
        deadline_at: float | None = None,
        metadata: Mapping[str, str] | None = None,
        peer: str = "",
        size: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.method = method
        self.request_id = request_id
        self.caller = caller
        self.deadline_at = deadline_at
        self.metadata: Mapping[str, str] = {} if metadata is None else metadata
        self.peer = peer
        self.size = size
        self.started_at = clock()
        self.trace_id = ""
        self.traceparent = ""
        self.span: Any = None
        self._clock = clock
        self._cancelled = False
        self._on_cancel: Callable[[], None] | None = None

    @property
    def deadline(self) -> float | None:
        """Seconds left for the answer, never negative; None without a deadline."""
        if self.deadline_at is None:
            return None
        return max(self.deadline_at - self._clock(), 0.0)

    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline_at is not None and self._clock() >= self.deadline_at

    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more: the caller has gone, or its deadline has passed."""
        return self._cancelled or self.expired()

    def check_cancelled(self) -> None:
        """Stop here if nobody waits for the answer; for long loops in handlers.

        Raises
        ------
        Cancelled, DeadlineExceeded
            The caller has gone; its deadline has passed.
        """
        if self._cancelled:
            raise Cancelled("the caller has gone")
        if self.expired():
            raise DeadlineExceeded("the deadline passed while the call was being answered")

    def check_config(self, config_id: int) -> None:
        """Refuse an account that the caller may not see, whether or not it exists.

        Raises
        ------
        PermissionDenied
        """
        if not self.caller.permits(config_id):
            raise denied([config_id])

    def outgoing(self) -> tuple[tuple[str, str], ...]:
        """Metadata for calls that the handler makes to other services, so that they log the same ids."""
        own = (("x-request-id", self.request_id),)
        return (*own, ("traceparent", self.traceparent)) if self.traceparent else own

    def cancel(self) -> None:
        """Tell the handler that nobody waits any more."""
        self._cancelled = True
        if self._on_cancel is not None:
            self._on_cancel()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once the caller has gone; at once if it has already."""
        self._on_cancel = callback
        if self._cancelled:
            callback()


def denied(config_ids: Iterable[int]) -> PermissionDenied:
    """The one answer for accounts that a caller may not see, whether or not they exist."""
    named = ", ".join(str(config_id) for config_id in sorted(set(config_ids))[:10])
    return PermissionDenied(f"these credentials do not permit account {named}")
