"""Shows and switches the models of one process' family."""

from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final

from adsml.registry.v1 import registry_service_pb2 as pb

from adsml_common.domain.errors import NotFound
from adsml_common.registry.models import ModelEvent, ModelEventType, ModelStatus, ModelVersion
from adsml_common.registry.registry import ModelRegistry
from adsml_common.serving import paging
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import (
    ENTITY_TYPE,
    EnumCodec,
    FamilyCheck,
    day_message,
    instant_message,
    model_ref_message,
)
from adsml_common.serving.paging import PageTokens

SERVICE: Final = "adsml.registry.v1.ModelRegistryService"
STATUS: EnumCodec[ModelStatus] = EnumCodec(ModelStatus, pb.ModelStatus, "MODEL_STATUS_")
EVENT_TYPE: EnumCodec[ModelEventType] = EnumCodec(ModelEventType, pb.ModelEventType, "MODEL_EVENT_TYPE_")

_FACTS: Final = (
    "model_type", "config_id", "entity_id", "sha256", "size_bytes", "samples_count", "code_version", "run_id",
)  # fmt: skip
_DETAILS: Final = ("parameters", "feature_columns", "training_metrics", "library_versions")


@dataclass(eq=False, repr=False)
class ModelRegistryService:
    """The registry, as far as one family goes: models whose names' first parts are among `prefixes`.

    Without `family` and `prefixes` it has every model; without `page_tokens` those are good for this process only.
    """

    registry: ModelRegistry
    _: KW_ONLY
    family: str | None
    prefixes: Collection[str] | None
    page_tokens: PageTokens = field(default_factory=PageTokens)

    def __post_init__(self) -> None:
        self._check_family = FamilyCheck(self.family)

    def ListModels(self, request: pb.ListModelsRequest, context: CallContext) -> pb.ListModelsResponse:
        """Versions, newest first, without their parameters and metrics."""
        self._check_family(request.family)
        level, status = ENTITY_TYPE.find(request.entity_type), STATUS.find(request.status)
        found, token = self.page_tokens.listing(
            request,
            context,
            lambda at: self.registry.list(
                name=request.name or None,
                name_prefix=self._prefix(),
                model_type=request.model_type or None,
                config_id=request.config_id if request.HasField("config_id") else None,
                entity_type=level,
                entity_id=request.entity_id or None,
                status=status,
                limit=paging.SCAN,
                before=None if at is None else (at[0], at[1]),
            ),
            position=lambda one: [one.name, one.version],
            shows=lambda one: self._shows(one.name, context),
        )
        return pb.ListModelsResponse(
            models=[model_message(one, full=False) for one in found], next_page_token=token
        )

    def GetModel(self, request: pb.GetModelRequest, context: CallContext) -> pb.GetModelResponse:
        """One version in full: the active one where none is named."""
        self._check(request, context)
        if request.HasField("version"):
            found = self.registry.get(request.name, request.version)
        else:
            found = self.registry.require_active(request.name)
        return pb.GetModelResponse(model=model_message(found))

    def ActivateModelVersion(
        self, request: pb.ActivateModelVersionRequest, context: CallContext
    ) -> pb.ActivateModelVersionResponse:
        self._check(request, context)
        before = self.registry.active(request.name)
        version = self.registry.activate(
            request.name, request.version, actor=_actor(context), reason=request.reason
        )
        response = pb.ActivateModelVersionResponse(model=model_message(version))
        if before is None or before.version != version.version:
            response.event.CopyFrom(self._event(version, ModelEventType.ACTIVATED))
        return response

    def RollbackModel(
        self, request: pb.RollbackModelRequest, context: CallContext
    ) -> pb.RollbackModelResponse:
        self._check(request, context)
        version = self.registry.rollback(
            request.name,
            actor=_actor(context),
            reason=request.reason,
            version=request.version if request.HasField("version") else None,
            expected_active=(
                request.expected_active_version if request.HasField("expected_active_version") else None
            ),
        )
        event = self._event(version, ModelEventType.ROLLED_BACK)
        return pb.RollbackModelResponse(
            model=model_message(version), previous_version=event.previous_version, event=event
        )

    def ListModelEvents(
        self, request: pb.ListModelEventsRequest, context: CallContext
    ) -> pb.ListModelEventsResponse:
        self._check_family(request.family)
        if request.name:
            self._check(request, context)

        found, token = self.page_tokens.listing(
            request,
            context,
            lambda at: self.registry.events(
                request.name or None,
                name_prefix=self._prefix(),
                limit=paging.SCAN,
                before=None if at is None else at[0],
            ),
            position=lambda one: [one.key],
            shows=lambda one: self._shows(one.name, context),
        )
        return pb.ListModelEventsResponse(events=[event_message(one) for one in found], next_page_token=token)

    def _prefix(self) -> str | None:
        """What the database can filter by: the one family there mostly is."""
        return f"{next(iter(self.prefixes))}/" if self.prefixes and len(self.prefixes) == 1 else None

    def _shows(self, name: str, context: CallContext) -> bool:
        if self.prefixes is None:
            return True
        account = self._account(name)
        return account is not None and context.caller.permits(account)

    def _check(self, request: Any, context: CallContext) -> None:
        """Refuse a model of another family or account, whether or not it exists."""
        self._check_family(request.family)
        if self.prefixes is not None:
            account = self._account(request.name)
            if account is None:
                raise NotFound(f"this service has no model {request.name}")
            context.check_config(account)

    def _account(self, name: str) -> int | None:
        """Whose model a name is; None where it is another family's."""
        prefix, _, rest = name.partition("/")
        account = rest.partition("/")[0]
        ours = prefix in (self.prefixes or ()) and account.isascii() and account.isdigit()
        return int(account) if ours else None

    def _event(self, version: ModelVersion, kind: ModelEventType) -> pb.ModelEvent:
        for event in self.registry.events(version.name, limit=paging.SCAN):
            if event.version == version.version and event.event is kind:
                return event_message(event)
        raise RuntimeError(f"{version} was switched without an entry in its history")


def model_message(version: ModelVersion, *, full: bool = True) -> pb.Model:
    """The protobuf message for a version; `full` with its parameters, features, metrics and libraries."""
    facts: dict[str, Any] = {name: getattr(version, name) for name in (*_FACTS, *(_DETAILS if full else ()))}
    decision, reason = _gate(version)
    first, last = version.window_start, version.window_end
    return pb.Model(
        **facts,
        ref=model_ref_message(version.name, version=version.version, trained=version.created_at),
        status=STATUS.to_wire(version.status),  # type: ignore[arg-type]  # an enum's number
        entity_type=ENTITY_TYPE.to_wire(version.entity_type) if version.entity_type else None,  # type: ignore[arg-type]
        format=f"adsml-bundle/{version.format_version}",
        training_first_date=None if first is None else day_message(first),
        training_last_date=None if last is None else day_message(last),
        gate_decision=decision,
        gate_reason=reason,
        create_time=instant_message(version.created_at),
    )


def event_message(event: ModelEvent) -> pb.ModelEvent:
    return pb.ModelEvent(
        event_id=event.key,
        name=event.name,
        version=event.version,
        event_type=EVENT_TYPE.to_wire(event.event),  # type: ignore[arg-type]  # an enum's number
        previous_version=event.previous_version,
        actor=event.actor,
        reason=event.reason,
        event_time=instant_message(event.created_at),
    )


def _gate(version: ModelVersion) -> tuple[pb.GateDecision.ValueType, str]:
    """What the gate decided: activation passes a model, a rejection is noted among its metrics."""
    noted = version.training_metrics.get("gate")
    match noted:
        case {"decision": "rejected", **rest}:
            return pb.GATE_DECISION_REJECTED, str(rest.get("reason", ""))
        case {"reason": str(reason)} | str(reason):
            return pb.GATE_DECISION_PASSED, reason
        case _:
            return pb.GATE_DECISION_NONE, ""


def _actor(context: CallContext) -> str:
    return context.caller.identity or f"anonymous ({context.peer})"
