"""The one place where an error becomes a gRPC status."""

import logging
import secrets
from collections.abc import Iterator
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from adsml_common.domain import errors

DOMAIN: Final = "adsml.internal"
"""``ErrorInfo.domain`` of every error."""

# A status travels in the trailing metadata, of which gRPC takes 8 KiB by default; above that the caller sees
# an error of its own library's instead of ours. The rest is left for the message's percent-encoding.
_MAX_MESSAGE: Final = 1_000
_MAX_DETAILS: Final = 4_000
_MAX_TEXT: Final = 500

_CODES: Final[dict[type[errors.AdsmlError], int]] = {
    errors.InvalidInput: code_pb2.INVALID_ARGUMENT,
    errors.NotFound: code_pb2.NOT_FOUND,
    errors.AlreadyExists: code_pb2.ALREADY_EXISTS,
    errors.FailedPrecondition: code_pb2.FAILED_PRECONDITION,
    errors.Overloaded: code_pb2.RESOURCE_EXHAUSTED,
    errors.Unavailable: code_pb2.UNAVAILABLE,
    errors.DeadlineExceeded: code_pb2.DEADLINE_EXCEEDED,
    errors.Cancelled: code_pb2.CANCELLED,
    errors.Unauthenticated: code_pb2.UNAUTHENTICATED,
    errors.PermissionDenied: code_pb2.PERMISSION_DENIED,
}

_log = logging.getLogger(__name__)


def status_of(error: BaseException) -> status_pb2.Status:
    """The status a caller gets for an error; also for the single entities of a batch.

    Always with ErrorInfo; with BadRequest for `InvalidInput`, with RetryInfo for `Overloaded`; small enough for
    gRPC's default limit on metadata. What is not of the domain's family is a defect of ours: it is logged with its
    traceback under a random incident id, and the caller is told the id and nothing else.
    """
    if not isinstance(error, errors.AdsmlError):
        return _incident(error)
    code = next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), None)
    if code is None:
        return _incident(error)
    metadata = {_clip(key, 64): _clip(value, 200) for key, value in list(error.metadata.items())[:16]}
    details: list[Message] = []
    if isinstance(error, errors.InvalidInput):
        details.append(_bad_request(error))
        metadata["violations"] = str(len(error.violations))
    if isinstance(error, errors.Overloaded):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(error.retry_after_seconds * 1e9))
        details.append(retry)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    return _status(code, error.message, [info, *details])


def error_of(error: grpc.RpcError, *, target: str) -> errors.AdsmlError:
    """The domain's error that a call of one of our services (`target`) ended with: the inverse of `status_of`."""
    metadata: dict[str, Any] = dict(error.trailing_metadata() or ())  # type: ignore[arg-type]
    raw, code, message = metadata.get("grpc-status-details-bin"), error.code(), error.details() or ""
    if not isinstance(raw, bytes):
        # Not the service's words: the channel's, or a proxy's.
        text = f"{target}: {message}" if message else f"{target} answered {code.name}"
        expired = code is grpc.StatusCode.DEADLINE_EXCEEDED
        return errors.DeadlineExceeded(text) if expired else errors.Unavailable(text)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status_pb2.Status.FromString(raw).details:
        for one in (info, bad, retry):
            detail.Unpack(one)
    kind = next(
        (one for one in _all_kinds(errors.AdsmlError) if one.reason == info.reason), errors.AdsmlError
    )
    made = kind.__new__(kind)
    errors.AdsmlError.__init__(made, message, metadata=dict(info.metadata))
    made.reason = info.reason
    if isinstance(made, errors.InvalidInput):
        made.violations = tuple(
            errors.FieldViolation(one.field, one.description) for one in bad.field_violations
        )
        made.metadata.pop("violations", None)
    if isinstance(made, errors.Overloaded):
        made.retry_after_seconds = retry.retry_delay.ToTimedelta().total_seconds()
    return made


def _all_kinds(kind: type[errors.AdsmlError]) -> Iterator[type[errors.AdsmlError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _all_kinds(one)


def unimplemented(path: str) -> status_pb2.Status:
    """The status of a method that this server does not serve."""
    info = error_details_pb2.ErrorInfo(reason="UNIMPLEMENTED", domain=DOMAIN)
    message = f"this server has no method {_clip(path, 200)}; ask its reflection service what it has"
    return _status(code_pb2.UNIMPLEMENTED, message, [info])


def _incident(error: BaseException) -> status_pb2.Status:
    incident = secrets.token_hex(8)
    _log.error("incident %s", incident, exc_info=error, extra={"incident": incident})
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"incident": incident})
    return _status(
        code_pb2.INTERNAL, f"internal error; the server's log has it as incident {incident}", [info]
    )


def _bad_request(error: errors.InvalidInput) -> error_details_pb2.BadRequest:
    """As many violations as fit, and how many more there are."""
    out = error_details_pb2.BadRequest()
    size = 0
    for index, violation in enumerate(error.violations):
        added = out.field_violations.add(
            field=_clip(violation.path, 200), description=_clip(violation.description, _MAX_TEXT)
        )
        size += added.ByteSize() + 4
        if size > _MAX_DETAILS:
            del out.field_violations[-1]
            more = len(error.violations) - index
            out.field_violations.add(description=f"and {more} more violations that did not fit here")
            break
    return out


def _status(code: int, message: str, details: list[Message]) -> status_pb2.Status:
    out = status_pb2.Status(code=code, message=_clip(message, _MAX_MESSAGE))
    for detail in details:
        out.details.add().Pack(detail)
    return out


def _clip(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, cut between characters."""
    data = text.encode("utf-8", errors="replace")
    if len(data) <= limit:
        return data.decode()
    return data[: limit - 3].decode(errors="ignore") + "..."
