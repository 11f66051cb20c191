"""Words of the registry: a version of a model, a candidate to become one, and their names."""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote

from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import Violations

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]*(/[A-Za-z0-9%~_.-]+)+")
_NAME_LENGTH: Final = 255
_SEGMENT_LENGTH: Final = 100


class ModelStatus(StrEnum):
    """Where a version stands."""

    READY = "READY"
    """Registered; not active, or not yet."""
    ACTIVE = "ACTIVE"
    """Serves; at most one version of a name does."""
    ARCHIVED = "ARCHIVED"
    """Served once."""
    FAILED = "FAILED"
    """Found unusable; never activated again."""


class ModelEventType(StrEnum):
    """What happened to a version."""

    REGISTERED = "REGISTERED"
    ACTIVATED = "ACTIVATED"
    ROLLED_BACK = "ROLLED_BACK"
    REJECTED = "REJECTED"
    FAILED = "FAILED"
    RETIRED = "RETIRED"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One trained model.

    Whose it is, `config_id`, `entity_type`, `entity_id`: None where it is wider. `model_type` says what can parse its
    bundle at `artifact_uri`, a key of the artifact store. ``training_metrics["gate"]`` says why it was rejected, if
    it was. `code_version` and `library_versions` are those at hand when it was trained.
    """

    name: str
    version: int
    model_type: str
    config_id: int
    entity_type: EntityType | None
    entity_id: str | None
    artifact_uri: str
    sha256: str
    size_bytes: int
    format_version: int
    parameters: dict[str, Any]
    feature_columns: tuple[str, ...]
    training_metrics: dict[str, Any]
    samples_count: int
    window_start: date | None
    window_end: date | None
    code_version: str
    library_versions: dict[str, str]
    run_id: str | None
    status: ModelStatus
    created_at: datetime

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"


@dataclass(frozen=True, slots=True)
class ModelEvent:
    """Something that happened to a version: never changed, never removed; `key` grows with time."""

    key: int
    name: str
    version: int
    event: ModelEventType
    previous_version: int | None
    actor: str
    reason: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that training made, about to be registered; attributes as of `ModelVersion`.

    `files` are in safe formats: JSON, UBJSON, arrays; no pickle.
    """

    name: str
    model_type: str
    config_id: int
    files: Mapping[str, bytes]
    entity_type: EntityType | None = None
    entity_id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    feature_columns: tuple[str, ...] = ()
    training_metrics: Mapping[str, Any] = field(default_factory=dict)
    samples_count: int = 0
    window_start: date | None = None
    window_end: date | None = None
    run_id: str | None = None

    def check(self) -> None:
        """Raise `InvalidInput` naming everything for which it can't be registered."""
        found = Violations()
        if not _NAME.fullmatch(self.name) or len(self.name) > _NAME_LENGTH:
            found.add("name", f"is {self.name!r}; make names with model_name()")
        if not self.model_type:
            found.add("model_type", "is empty")
        if self.config_id < 1:
            found.add("config_id", f"is {self.config_id}; expected a positive integer")
        if self.entity_id is not None and self.entity_type is None:
            found.add("entity_type", "is missing; an id is unique within its level only")
        if not self.files:
            found.add("files", "is empty; a model has at least one file")
        if self.samples_count < 0:
            found.add("samples_count", f"is {self.samples_count}; expected 0 or more")
        if self.window_start and self.window_end and self.window_end < self.window_start:
            found.add("window_end", f"is {self.window_end}, before window_start {self.window_start}")
        found.raise_if_any()


def model_name(
    family: str,
    config_id: int,
    entity_type: EntityType | None = None,
    entity_id: str | None = None,
    part: str | None = None,
) -> str:
    """The name of a model: family, account, level, id, part: ``prophet/1/campaign/7/cpl``.

    Ids are percent-encoded, since they may hold anything; very long ones are cut, with a checksum.
    """
    if entity_id is not None and entity_type is None:
        raise ValueError("an id is unique within its level only; give entity_type too")
    parts = [family, str(config_id)]
    parts += [str(entity_type)] if entity_type is not None else []
    parts += [_segment(entity_id)] if entity_id is not None else []
    parts += [_segment(part)] if part is not None else []
    return "/".join(parts)


def _segment(text: str) -> str:
    encoded = quote(text, safe="").replace("~", "%7E")
    if encoded.strip(".") == "":
        # Folders know "." and ".." as something else.
        encoded = encoded.replace(".", "%2E")
    if len(encoded) > _SEGMENT_LENGTH:
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        encoded = f"{encoded[: _SEGMENT_LENGTH - 17]}~{digest}"
    return encoded


def jsonable(value: Any) -> Any:
    """A value as JSON can hold it: numpy's numbers and arrays as plain ones, days as text, NaN as null."""
    if hasattr(value, "tolist"):
        # numpy's numbers and arrays, known by their method: naming a model should not load numpy.
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    raise TypeError(f"{type(value).__name__} can't be stored as JSON")
