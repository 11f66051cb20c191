"""The closed family of errors that domain code raises.

One interceptor maps each class to a gRPC status; the command line maps it to an exit status. Anything else that
escapes is a defect of ours and is reported without its text.
"""

import copyreg
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One thing wrong with the input, at the dotted path of a field as the caller wrote it."""

    path: str
    description: str


class AdsmlError(Exception):
    """Base of the family; `reason` is a stable word and `metadata` facts for machines."""

    reason = "ADSML_ERROR"

    def __init__(self, message: str, *, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})

    def __reduce__(self) -> tuple[object, ...]:
        # Constructors take keywords, which pickle does not keep: without this, an error on its way home from a
        # process pool breaks the pool.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class InvalidInput(AdsmlError):
    """The caller sent something that can never work; all violations at once."""

    reason = "INVALID_INPUT"

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        if not violations:
            raise ValueError("InvalidInput needs at least one violation")
        self.violations = tuple(violations)
        super().__init__(
            "; ".join(f"{v.path}: {v.description}" if v.path else v.description for v in violations)
        )

    @classmethod
    def at(cls, path: str, description: str) -> "InvalidInput":
        return cls([FieldViolation(path, description)])


class NotFound(AdsmlError):
    """No such account, entity, model, version or run, or none that the caller may see."""

    reason = "NOT_FOUND"


class FailedPrecondition(AdsmlError):
    """The request is well formed, but the state of the data or models does not allow it now."""

    reason = "FAILED_PRECONDITION"


class InsufficientHistory(FailedPrecondition):
    """Too little history of something (``"adset 42"``); says how much there is and how much is needed."""

    reason = "INSUFFICIENT_HISTORY"

    def __init__(self, what: str, *, had: int, needed: int, unit: str = "days") -> None:
        self.had, self.needed, self.unit = had, needed, unit
        super().__init__(
            f"{what} has {had} {unit} of history and needs {needed}",
            metadata={f"{unit}_had": str(had), f"{unit}_needed": str(needed)},
        )


class AlreadyRunning(FailedPrecondition):
    """Another run of the same job and shard holds the lease."""

    reason = "ALREADY_RUNNING"


class AlreadyExists(FailedPrecondition):
    """The same request id was used before, for something else."""

    reason = "ALREADY_EXISTS"


class ArtifactCorrupt(FailedPrecondition):
    """A stored model's bytes are missing, damaged or of a format this version can't read."""

    reason = "ARTIFACT_CORRUPT"


class Overloaded(AdsmlError):
    """Shed: try again after the given time."""

    reason = "OVERLOADED"

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class Unavailable(AdsmlError):
    """A dependency (store, artifacts, a peer) is down or the process is draining; a retry may succeed."""

    reason = "UNAVAILABLE"


class DeadlineExceeded(AdsmlError):
    """The caller's deadline leaves no room for meaningful work, or has passed."""

    reason = "DEADLINE_EXCEEDED"


class Cancelled(AdsmlError):
    """The caller has gone; the work was stopped."""

    reason = "CANCELLED"


class Unauthenticated(AdsmlError):
    """No valid credentials."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(AdsmlError):
    """Valid credentials that do not allow this."""

    reason = "PERMISSION_DENIED"


@dataclass(slots=True)
class Violations:
    """Collects violations so that a caller hears of all of them at once."""

    found: list[FieldViolation] = field(default_factory=list)

    def add(self, path: str, description: str) -> None:
        self.found.append(FieldViolation(path, description))

    def __bool__(self) -> bool:
        return bool(self.found)

    def raise_if_any(self) -> None:
        if self.found:
            raise InvalidInput(self.found)
