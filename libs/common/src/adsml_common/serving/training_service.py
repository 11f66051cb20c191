"""Starts and follows the training runs of one process' family."""

import hashlib
from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final

from adsml.common.v1 import answer_pb2, entity_pb2
from adsml.training.v1 import training_service_pb2 as pb

from adsml_common.domain.errors import (
    AlreadyExists,
    AlreadyRunning,
    FailedPrecondition,
    InvalidInput,
    NotFound,
)
from adsml_common.serving import paging
from adsml_common.serving.context import CallContext
from adsml_common.serving.contract_rules import number
from adsml_common.serving.messages import ENTITY_TYPE, EnumCodec, FamilyCheck, instant_message
from adsml_common.serving.paging import PageTokens
from adsml_common.training.launchers import Launcher
from adsml_common.training.records import (
    OF_CALLER,
    ItemStatus,
    LauncherKind,
    LaunchKind,
    RunStatus,
    TrainingItem,
    TrainingRun,
)
from adsml_common.training.runs import TrainingRuns
from adsml_common.training.scope import Scope

SERVICE: Final = "adsml.training.v1.TrainingService"
STATE: EnumCodec[RunStatus] = EnumCodec(RunStatus, pb.TrainingRunState, "TRAINING_RUN_STATE_")
ITEM_STATE: EnumCodec[ItemStatus] = EnumCodec(ItemStatus, pb.TrainingItemState, "TRAINING_ITEM_STATE_")
LAUNCHER: EnumCodec[LauncherKind] = EnumCodec(LauncherKind, pb.Launcher, "LAUNCHER_")
LAUNCH_KIND: EnumCodec[LaunchKind] = EnumCodec(LaunchKind, pb.LaunchKind, "LAUNCH_KIND_")

JOBS: Final[dict[int, str]] = {
    number: name.removeprefix("TRAINING_JOB_").lower().replace("_", "-")
    for name, number in pb.TrainingJob.items()
    if number != pb.TRAINING_JOB_UNSPECIFIED
}
"""The contract's jobs by the names that commands and records have for them: ``"ensemble-weights"``."""
_NUMBERS: Final = {name: number for number, name in JOBS.items()}

_FACTS: Final = ("run_id", "shard_count", "launcher_ref", "detail", "actor")
_DIGITS: Final = 16
_LONGEST: Final = 128


@dataclass(eq=False, repr=False)
class TrainingService:
    """The runs of one family's `jobs`, such as ``"classifiers"``; runs of others are not found here.

    Without a launcher runs can be looked at and not started. Without `page_tokens` those are good for this process
    only.
    """

    runs: TrainingRuns
    _: KW_ONLY
    family: str
    jobs: Collection[str]
    launcher: Launcher | None
    max_shards: int = 64
    open_runs: int = 4
    page_tokens: PageTokens = field(default_factory=PageTokens)

    def __post_init__(self) -> None:
        unknown = set(self.jobs) - set(_NUMBERS)
        if unknown:
            raise ValueError(f"the contract has no job {', '.join(sorted(unknown))}")
        self._check_family = FamilyCheck(self.family)

    def StartTraining(
        self, request: pb.StartTrainingRequest, context: CallContext
    ) -> pb.StartTrainingResponse:
        """Start a run, or find the one that this request started before."""
        self._check_family(request.family)
        job = self._job(request.job)
        if self.launcher is None:
            raise FailedPrecondition("this server can't start trainings: it has no launcher")
        shards = request.shard_count or self.launcher.default_shards
        if shards > self.max_shards:
            raise InvalidInput.at("shard_count", f"is {shards}; this server takes at most {self.max_shards}")
        parameters = _scope(request.scope, context).parameters()
        request_id = _of_caller(request.request_id, context)
        known = self.runs.find(job, request_id)
        try:
            run = self.runs.start(
                job,
                request_id=request_id,
                parameters=parameters,
                shard_count=shards,
                launch_kind=LaunchKind.CALLER,
                actor=context.caller.identity or "",
                launcher=self.launcher.kind,
                launcher_ref=self.launcher.reference(job, request_id),
                open_runs=self.open_runs,
            )
        except AlreadyExists as error:
            raise AlreadyExists(
                f"request id {request.request_id} has started another run of {job}; use a new one for a new run",
                metadata=error.metadata,
            ) from None
        except AlreadyRunning as error:
            going_on = error.metadata.get("run_id")
            if going_on is None or self._shows(self.runs.get(going_on), context):
                raise
            # Another account's run keeps this one waiting; which one is not for this caller to know.
            raise AlreadyRunning(f"a run of {job} is going on; wait for it to end") from None
        if run.status is RunStatus.PENDING:
            # Also for a request that comes again: its first launch may have failed.
            self.launcher.launch(run)
        return pb.StartTrainingResponse(run=run_message(run), already_started=known is not None)

    def GetTrainingRun(
        self, request: pb.GetTrainingRunRequest, context: CallContext
    ) -> pb.GetTrainingRunResponse:
        run = self._run(request, context)
        most = number(request, "max_failed_items")
        failed = self.runs.items(run.run_id, status=ItemStatus.FAILED, limit=most) if most else []
        return pb.GetTrainingRunResponse(
            run=run_message(run), failed_items=[item_message(one) for one in failed]
        )

    def ListTrainingRuns(
        self, request: pb.ListTrainingRunsRequest, context: CallContext
    ) -> pb.ListTrainingRunsResponse:
        self._check_family(request.family)
        jobs = tuple(self.jobs) if not request.job else (self._job(request.job),)
        status = STATE.find(request.state)
        found, token = self.page_tokens.listing(
            request,
            context,
            lambda at: self.runs.list(
                jobs=jobs,
                status=status,
                limit=paging.SCAN,
                before=None if at is None else self.runs.get(at[0]),
            ),
            position=lambda run: [run.run_id],
            shows=lambda run: self._shows(run, context),
        )
        return pb.ListTrainingRunsResponse(runs=[run_message(one) for one in found], next_page_token=token)

    def CancelTrainingRun(
        self, request: pb.CancelTrainingRunRequest, context: CallContext
    ) -> pb.CancelTrainingRunResponse:
        run = self._run(request, context)
        return pb.CancelTrainingRunResponse(
            run=run_message(self.runs.cancel(run.run_id, reason=request.reason))
        )

    def _job(self, number: int) -> str:
        job = JOBS.get(number, "")
        if job not in self.jobs:
            trained = ", ".join(self.jobs) or "nothing"
            raise InvalidInput.at("job", f"is another service's; this one trains {trained}")
        return job

    def _run(self, request: Any, context: CallContext) -> TrainingRun:
        self._check_family(request.family)
        run = self.runs.get(request.run_id)
        if run.job not in self.jobs or not self._shows(run, context):
            raise NotFound(f"there is no training run {request.run_id}")
        return run

    @staticmethod
    def _shows(run: TrainingRun, context: CallContext) -> bool:
        """A caller sees runs of its accounts; one that covers them all is for those who may see all."""
        if context.caller.config_ids is None:
            return True
        accounts = Scope.of(run.parameters).config_ids
        return bool(accounts) and all(context.caller.permits(one) for one in accounts)


def run_message(run: TrainingRun) -> pb.TrainingRun:
    scope = Scope.of(run.parameters)
    facts: dict[str, Any] = {name: getattr(run, name) for name in _FACTS}
    counts: dict[str, int] = {
        name: getattr(run.counts, name) for name in pb.TrainingCounts.DESCRIPTOR.fields_by_name
    }
    instants = {
        "create_time": run.created_at,
        "start_time": run.started_at,
        "end_time": run.finished_at,
        "heartbeat_time": run.heartbeat_at,
    }
    facts |= {name: instant_message(instant) for name, instant in instants.items() if instant is not None}
    return pb.TrainingRun(
        **facts,
        request_id=run.callers_request_id if run.launch_kind is LaunchKind.CALLER else "",
        job=_NUMBERS[run.job],  # type: ignore[arg-type]  # an enum's number
        state=STATE.to_wire(run.status),  # type: ignore[arg-type]  # likewise
        scope=pb.TrainingScope(
            config_ids=scope.config_ids,
            entity_type=ENTITY_TYPE.to_wire(scope.entity_type) if scope.entity_type else 0,  # type: ignore[arg-type]
            entity_ids=scope.entity_ids,
        ),
        launcher=LAUNCHER.to_wire(run.launcher),  # type: ignore[arg-type]  # likewise
        launch_kind=LAUNCH_KIND.to_wire(run.launch_kind),  # type: ignore[arg-type]  # likewise
        counts=pb.TrainingCounts(**counts),
    )


def item_message(item: TrainingItem) -> pb.TrainingItem:
    out = pb.TrainingItem(
        entity=entity_pb2.EntityRef(
            config_id=item.config_id,
            entity_type=ENTITY_TYPE.to_wire(item.entity_type) if item.entity_type else 0,  # type: ignore[arg-type]
            entity_id=item.entity_id or "",
        ),
        item_key=item.key,
        state=ITEM_STATE.to_wire(item.status),  # type: ignore[arg-type]  # an enum's number
        detail=item.reason,
        attempts=item.attempts,
        shard_index=item.shard_index,
    )
    if item.model_name is not None and item.model_version is not None:
        out.model.CopyFrom(answer_pb2.ModelRef(name=item.model_name, version=item.model_version))
    return out


def _of_caller(request_id: str, context: CallContext) -> str:
    """A request id as the record has it: what one caller calls its runs neither reveals nor blocks another's."""
    if not (identity := context.caller.identity):
        return request_id
    digest = hashlib.sha256(f"{identity}\0{request_id}".encode()).hexdigest()
    return f"{digest[:_DIGITS]}{OF_CALLER}{request_id}"[:_LONGEST]


def _scope(message: pb.TrainingScope, context: CallContext) -> Scope:
    """What is asked for; for a caller with accounts of its own, nothing means all of those."""
    accounts = tuple(message.config_ids)
    if not accounts and context.caller.config_ids is not None:
        accounts = tuple(context.caller.config_ids)
        if not accounts:
            raise InvalidInput.at("scope.config_ids", "is empty, and so is what these credentials permit")
    return Scope(accounts, ENTITY_TYPE.find(message.entity_type), tuple(message.entity_ids))
