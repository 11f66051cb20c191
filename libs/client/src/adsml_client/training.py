"""Training runs of one service: started, followed, cancelled."""

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from adsml.common.v1 import entity_pb2
from adsml.training.v1 import training_service_pb2 as pb
from adsml.training.v1 import training_service_pb2_grpc as pb_grpc

from adsml_client import wire
from adsml_client.connection import Connection
from adsml_client.values import EntityRef

_PAGE = 500
_ENDED = {"succeeded", "partial", "failed", "cancelled"}


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a training job.

    Attributes
    ----------
    state
        ``"pending"``, ``"running"``, ``"succeeded"``, ``"partial"``, ``"failed"``, ``"cancelling"`` or
        ``"cancelled"``.
    detail
        Why it ended as it did.
    total, trained, skipped, failed
        Its items.
    """

    run_id: str
    request_id: str
    job: str
    state: str
    detail: str
    total: int
    trained: int
    skipped: int
    failed: int
    actor: str
    created: dt.datetime | None
    started: dt.datetime | None
    finished: dt.datetime | None

    @property
    def ended(self) -> bool:
        """Whether nobody works on it any more."""
        return self.state in _ENDED


@dataclass(frozen=True, slots=True)
class FailedItem:
    """An item of a run that failed, and why."""

    entity: EntityRef
    item_key: str
    detail: str
    attempts: int


class TrainingClient:
    """Calls the training service of one process.

    Parameters
    ----------
    connection
        To the service whose models are trained.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = pb_grpc.TrainingServiceStub(connection.channel)

    def start(
        self,
        job: str,
        *,
        request_id: str | None = None,
        config_ids: Sequence[int] = (),
        entity_type: str | None = None,
        entity_ids: Sequence[str] = (),
        shard_count: int = 0,
        reason: str = "",
    ) -> Run:
        """Start a run, or find the one that this request started before.

        Parameters
        ----------
        job
            ``"classifiers"``, ``"prophet"``, ``"ensemble_weights"`` or ``"anomaly_detectors"``.
        request_id
            Makes a retry safe; None: a new one.
        config_ids, entity_type, entity_ids
            What it covers; empty: everything.
        shard_count
            0: as the service is set up.
        reason
            For the record.

        Raises
        ------
        CallError
            One of its family.
        """
        request = pb.StartTrainingRequest(
            request_id=request_id or str(uuid.uuid4()),
            job=wire.number(pb.TrainingJob, "TRAINING_JOB_", job),
            scope=pb.TrainingScope(
                config_ids=config_ids,
                entity_type=wire.number(entity_pb2.EntityType, "ENTITY_TYPE_", entity_type),
                entity_ids=entity_ids,
            ),
            shard_count=shard_count,
            reason=reason,
        )
        return _run(self._connection.call(self._stub.StartTraining, request).run)

    def get(self, run_id: str, *, max_failed_items: int | None = None) -> tuple[Run, list[FailedItem]]:
        """One run, and what failed in it.

        Raises
        ------
        CallError
            One of its family.
        """
        request = pb.GetTrainingRunRequest(run_id=run_id, max_failed_items=max_failed_items)
        answer = self._connection.call(self._stub.GetTrainingRun, request)
        failed = [
            FailedItem(wire.entity(one.entity), one.item_key, one.detail, one.attempts)
            for one in answer.failed_items
        ]
        return _run(answer.run), failed

    def list(self, *, job: str | None = None, state: str | None = None) -> Iterator[Run]:
        """Runs, newest first; pages are asked for as they are read.

        Raises
        ------
        CallError
            One of its family, while it is read.
        """
        request = pb.ListTrainingRunsRequest(
            job=wire.number(pb.TrainingJob, "TRAINING_JOB_", job),
            state=wire.number(pb.TrainingRunState, "TRAINING_RUN_STATE_", state),
            page_size=_PAGE,
        )
        while True:
            answer = self._connection.call(self._stub.ListTrainingRuns, request)
            yield from (_run(one) for one in answer.runs)
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def cancel(self, run_id: str, *, reason: str = "") -> Run:
        """Ask a run to stop; what was trained is kept.

        Raises
        ------
        CallError
            One of its family.
        """
        request = pb.CancelTrainingRunRequest(run_id=run_id, reason=reason)
        return _run(self._connection.call(self._stub.CancelTrainingRun, request).run)


def _run(message: pb.TrainingRun) -> Run:
    return Run(
        run_id=message.run_id,
        request_id=message.request_id,
        job=wire.word(pb.TrainingJob, "TRAINING_JOB_", message.job),
        state=wire.word(pb.TrainingRunState, "TRAINING_RUN_STATE_", message.state),
        detail=message.detail,
        total=message.counts.total,
        trained=message.counts.trained,
        skipped=message.counts.skipped,
        failed=message.counts.failed,
        actor=message.actor,
        created=wire.instant(message, "created_time"),
        started=wire.instant(message, "started_time"),
        finished=wire.instant(message, "finished_time"),
    )
