"""What can go wrong, as one typed family.

::

    AdsmlError
    ├── ConfigurationError        what `connect` was given does not fit together (also a ValueError)
    │   └── UnsafeConnection      plain text to another machine
    └── CallError                 a call, or one entry of a batch, failed
        ├── InvalidArgument       the request can never work; `violations` lists everything wrong with it
        ├── NotFound              no such account, entity, model or run
        ├── AlreadyExists         the request id was used for something else
        ├── FailedPrecondition    data or models do not allow it now
        ├── PermissionDenied      the credentials do not allow this
        ├── Unauthenticated       no valid credentials
        ├── Overloaded            the service sheds load; `retry_after_seconds`
        ├── Unavailable           not reachable, starting, draining, or its store is down
        ├── DeadlineExceeded      no answer in time
        ├── Cancelled             the call was cancelled
        └── InternalError         a defect of the service; `incident`

A request that can't be built or a frame that can't be read is `InvalidArgument` too, raised before anything is sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.rpc import error_details_pb2, status_pb2

__all__ = [
    "AdsmlError", "AlreadyExists", "CallError", "Cancelled", "ConfigurationError", "DeadlineExceeded",
    "FailedPrecondition", "InternalError", "InvalidArgument", "NotFound", "Overloaded", "PermissionDenied",
    "Unauthenticated", "Unavailable", "UnsafeConnection", "Violation",
]  # fmt: skip

DETAILS: Final = "grpc-status-details-bin"
REQUEST_ID: Final = "x-request-id"


class AdsmlError(Exception):
    """Base of the family."""


class ConfigurationError(AdsmlError, ValueError):
    """What a connection was given does not fit together."""


class UnsafeConnection(ConfigurationError):
    """Plain text to another machine, without ``insecure=True``."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with a request: what was wrong and what was expected."""

    path: str  # dotted, e.g. "subjects[3].inline.rows[7].spend"; "" for the whole
    description: str

    def __str__(self) -> str:
        return f"{self.path}: {self.description}" if self.path else self.description


class CallError(AdsmlError):
    """A call, or one entry of a batch, failed.

    `reason` is a stable upper-case word for machines (``INSUFFICIENT_HISTORY``; ``""`` where the error does not come
    from a service of adsml), `metadata` are facts for them (``{"days_had": "3", "days_needed": "7"}``); `request_id`
    is what to quote when asking about it, and in the service's log.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        metadata: dict[str, str] | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.metadata = metadata or {}
        self.request_id = request_id

    def __str__(self) -> str:
        suffix = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.code.name}: {self.message}{suffix}"

    def __reduce__(self) -> tuple[object, ...]:
        # The constructor takes keywords, which pickle does not keep: without this, an error that comes out of a
        # process pool breaks the pool.
        return _restored, (type(self), self.message), self.__dict__


class InvalidArgument(CallError):
    """The request can never work; `violations` says why, all at once."""

    violations: tuple[Violation, ...] = ()

    @classmethod
    def of(cls, violations: Sequence[Violation]) -> "InvalidArgument":
        """One that was seen before anything was sent."""
        error = cls(grpc.StatusCode.INVALID_ARGUMENT, "; ".join(map(str, violations)), reason="INVALID_INPUT")
        error.violations = tuple(violations)
        return error


class NotFound(CallError):
    """No such account, entity, model or run."""


class AlreadyExists(CallError):
    """The request id was used for something else."""


class FailedPrecondition(CallError):
    """Data or models do not allow it now: too little history, no artifact."""


class PermissionDenied(CallError):
    """The credentials do not allow this."""


class Unauthenticated(CallError):
    """No valid credentials."""


class Overloaded(CallError):
    """Shed. `retry_after_seconds` says when to come back; None where the service did not say."""

    retry_after_seconds: float | None = None


class Unavailable(CallError):
    """Not reachable, starting, draining, or its store is down. It was retried already."""


class DeadlineExceeded(CallError):
    """No answer in time."""


class Cancelled(CallError):
    """The call was cancelled."""


class InternalError(CallError):
    """A defect of the service; `incident` is how its log knows it."""

    incident: str = ""


def _restored(kind: type[CallError], message: str) -> CallError:
    return kind.__new__(kind, message)


_KINDS: Final[dict[str, type[CallError]]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "FAILED_PRECONDITION": FailedPrecondition,
    "PERMISSION_DENIED": PermissionDenied,
    "UNAUTHENTICATED": Unauthenticated,
    "RESOURCE_EXHAUSTED": Overloaded,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "CANCELLED": Cancelled,
    "INTERNAL": InternalError,
}
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def error_of(error: grpc.RpcError, *, request_id: str = "") -> CallError:
    """The typed error of a call that failed; `request_id` is the call's, where the service did not send one back."""
    call: Any = error
    trailing = dict(call.trailing_metadata() or ())
    status = status_pb2.Status()
    details = trailing.get(DETAILS)
    if isinstance(details, bytes):
        status.MergeFromString(details)
    status.code = call.code().value[0]
    status.message = status.message or call.details() or ""
    return error_of_status(status, request_id=str(trailing.get(REQUEST_ID, request_id)))


def error_of_status(status: status_pb2.Status, *, request_id: str = "") -> CallError:
    """The typed error of a status, such as that of one entry of a batch."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    info = _detail(status, error_details_pb2.ErrorInfo)
    error = _KINDS.get(code.name, CallError)(
        code, status.message, reason=info.reason, metadata=dict(info.metadata), request_id=request_id
    )
    if isinstance(error, InvalidArgument):
        bad = _detail(status, error_details_pb2.BadRequest)
        error.violations = tuple(Violation(one.field, one.description) for one in bad.field_violations)
    elif isinstance(error, Overloaded):
        retry = _detail(status, error_details_pb2.RetryInfo)
        if retry.HasField("retry_delay"):
            error.retry_after_seconds = retry.retry_delay.ToNanoseconds() / 1e9
    elif isinstance(error, InternalError):
        error.incident = error.metadata.get("incident", "")
    return error


def _detail(status: status_pb2.Status, kind: Any) -> Any:
    out = kind()
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            packed.Unpack(out)
    return out
