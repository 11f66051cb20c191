"""What a handler is told about the call it answers."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final

from adsml_common.domain.errors import Cancelled, DeadlineExceeded, PermissionDenied


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling; `config_ids` and `scopes` that are None permit everything. ``""`` where authentication is off."""

    identity: str
    config_ids: frozenset[int] | None = None
    scopes: frozenset[str] | None = None

    def permits(self, config_id: int) -> bool:
        return self.config_ids is None or config_id in self.config_ids


ANONYMOUS: Final = Caller(identity="")
"""The caller of a server without authentication."""


@dataclass(slots=True, eq=False)
class CallContext:
    """One call as its handler sees it. Safe to read from any thread.

    `deadline_at` (on `clock`; None for never) is when the answer must be on its way: a little before the caller's own
    deadline. Keys of `metadata` are in lower case. `size` is of the request in bytes.
    """

    method: str = ""
    _: KW_ONLY
    request_id: str = ""
    caller: Caller = ANONYMOUS
    deadline_at: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    peer: str = ""
    size: int = 0
    clock: Callable[[], float] = time.monotonic
    started_at: float = field(init=False)
    trace_id: str = field(init=False, default="")
    traceparent: str = field(init=False, default="")
    span: Any = field(init=False, default=None)
    _cancelled: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.started_at = self.clock()

    @property
    def owner(self) -> str:
        """In whose share the call counts: its caller's, or its address' where nobody is asked who calls."""
        return self.caller.identity or self.peer.rpartition(":")[0] or self.peer

    @property
    def deadline(self) -> float | None:
        """Seconds left for the answer, never negative; None without a deadline."""
        if self.deadline_at is None:
            return None
        return max(self.deadline_at - self.clock(), 0.0)

    def expired(self) -> bool:
        return self.deadline_at is not None and self.clock() >= self.deadline_at

    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more: the caller has gone, or its deadline has passed."""
        return self._cancelled or self.expired()

    def check_cancelled(self) -> None:
        """Raise `Cancelled` or `DeadlineExceeded` if nobody waits for the answer; for long loops."""
        if self._cancelled:
            raise Cancelled("the caller has gone")
        if self.expired():
            raise DeadlineExceeded("the deadline passed while the call was being answered")

    def check_config(self, config_id: int) -> None:
        """Raise `PermissionDenied` for an account that the caller may not see, whether or not it exists."""
        if not self.caller.permits(config_id):
            raise denied([config_id])

    def outgoing(self) -> tuple[tuple[str, str], ...]:
        """Metadata for calls that the handler makes to other services, so that they log the same ids."""
        own = (("x-request-id", self.request_id),)
        return (*own, ("traceparent", self.traceparent)) if self.traceparent else own

    def cancel(self) -> None:
        """Tell the handler that nobody waits any more."""
        self._cancelled = True


def denied(config_ids: Iterable[int]) -> PermissionDenied:
    """The one answer for accounts that a caller may not see, whether or not they exist."""
    named = ", ".join(str(config_id) for config_id in sorted(set(config_ids))[:10])
    return PermissionDenied(f"these credentials do not permit account {named}")
