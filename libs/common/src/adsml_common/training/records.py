"""Words of training: runs, their shards and items, leases."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from adsml_common.domain.entities import EntityType
from adsml_common.registry.models import ModelVersion

_NAMESPACE: Final = uuid.UUID("6e1f1c1e-5a6b-4e0c-9a35-0c9f1d3b7a10")

EXIT_DONE: Final = 0
"""Every item was trained, or skipped for a stated reason."""
EXIT_RETRY: Final = 1
"""Something failed or was interrupted that another try may mend."""
EXIT_BAD_DATA: Final = 42
"""Every failure lies in the data: not worth another try."""

RUN_ID_VARIABLE: Final = "ADSML_TRAIN_RUN_ID"
"""Tells a process which recorded run to work on: an id of ours, so that nothing a caller wrote gets there."""


class LaunchKind(StrEnum):
    """What started a run."""

    CALLER = "CALLER"
    SCHEDULE = "SCHEDULE"
    COMMAND_LINE = "COMMAND_LINE"


class LauncherKind(StrEnum):
    """Where the work of a run is done."""

    LOCAL = "LOCAL"
    KUBERNETES = "KUBERNETES"


class RunStatus(StrEnum):
    """How far a run is."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Whether nobody works on it any more, unless it is resumed."""
        return self not in (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.CANCELLING)


class ShardStatus(StrEnum):
    """How far one shard of a run is."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    INTERRUPTED = "INTERRUPTED"
    CANCELLED = "CANCELLED"


class ItemStatus(StrEnum):
    """How one item of a run ended."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    TRAINED = "TRAINED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"

    @property
    def done(self) -> bool:
        """Whether a resumed run leaves it alone."""
        return self in (ItemStatus.TRAINED, ItemStatus.SKIPPED)


def run_id_of(job: str, request_id: str) -> str:
    """The id of the run that a request starts: known before it is, so that trainers can put it on models."""
    return str(uuid.uuid5(_NAMESPACE, f"{job}/{request_id}"))


@dataclass(frozen=True, slots=True)
class Counts:
    """Items of a run by status, of the shards that have listed theirs."""

    pending: int = 0
    running: int = 0
    trained: int = 0
    skipped: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """All items known so far."""
        return self.pending + self.running + self.trained + self.skipped + self.failed


OF_CALLER: Final = "~"
"""Between the mark of a caller and its request id; no caller's request id has one."""


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """One run of a training job.

    Attributes
    ----------
    actor
        Which caller started it; empty where nobody was authenticated.
    launcher_ref, job_uid
        What its work is called where it is done, and in a cluster the uid of the Job that does it.
    exit_status
        What its process should exit with, None before its end; of all shards together, or of the one just finished.
    """

    run_id: str
    job: str
    request_id: str
    parameters: dict[str, Any]
    shard_count: int
    launch_kind: LaunchKind
    actor: str
    launcher: LauncherKind
    launcher_ref: str
    job_uid: str
    status: RunStatus
    detail: str
    cancel_requested: bool
    counts: Counts
    exit_status: int | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    heartbeat_at: datetime | None

    @property
    def callers_request_id(self) -> str:
        """The request id as its caller chose it: two callers may choose the same."""
        return (
            self.request_id.rpartition(OF_CALLER)[2]
            if self.launch_kind is LaunchKind.CALLER
            else self.request_id
        )


@dataclass(frozen=True, slots=True)
class Item:
    """Something to train: an account, a level of it, or one entity."""

    key: str
    """Unique within the run and the same at every resumption, e.g. ``"1/campaign/23/leads"``."""
    config_id: int
    entity_type: EntityType | None = None
    entity_id: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    """What else the trainer needs; must survive pickling where a process pool is used."""
    group: str = ""
    """Items of one group share what is costly to read or to learn, such as an account's rows: they belong to one
    shard, and go to one process as long as there is other work for the others. Without one, an item is by itself."""


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What came of an item."""

    status: ItemStatus
    reason: str = ""
    """Why it was skipped or failed; for a trained one, what its gate said."""
    model: ModelVersion | None = None
    """What was registered; active if it was put to use."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """What training measured, small enough to list."""
    bad_data: bool = False
    """Of a failure: whether it lies in the data, so that another try can't help."""
    seconds: float = 0.0
    """How long it took; whoever calls a trainer measures that."""

    def __post_init__(self) -> None:
        if self.status in (ItemStatus.PENDING, ItemStatus.RUNNING):
            raise ValueError(f"{self.status} is no result")
        if self.status is not ItemStatus.TRAINED and not self.reason:
            raise ValueError(f"{self.status} needs a reason")


@dataclass(frozen=True, slots=True)
class TrainingItem:
    """An item of a run as it is recorded: how long its last try took, how many times it was begun."""

    key: str
    shard_index: int
    config_id: int
    entity_type: EntityType | None
    entity_id: str | None
    status: ItemStatus
    reason: str
    bad_data: bool
    seconds: float | None
    model_name: str | None
    model_version: int | None
    metrics: dict[str, Any]
    attempts: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one shard of a job, until it expires or is lost.

    `token` grows with every change of hands: what is written under an older one is refused.
    """

    job: str
    shard_index: int
    run_id: str
    holder: str
    token: int
    expires_at: datetime
