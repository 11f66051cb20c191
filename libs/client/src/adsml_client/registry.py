"""The registered models of one service, and switching between them."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from adsml.common.v1 import entity_pb2
from adsml.registry.v1 import registry_service_pb2 as pb
from adsml.registry.v1 import registry_service_pb2_grpc as pb_grpc
from google.protobuf import json_format

from adsml_client import wire
from adsml_client.connection import Connection

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Model:
    """One version of one model; parameters, features and metrics are empty in listings.

    Attributes
    ----------
    status
        ``"ready"``, ``"active"``, ``"archived"`` or ``"failed"``.
    config_id, entity_type, entity_id
        Whose it is; None or empty where it is wider.
    first_date, last_date
        Of the data it was trained on.
    """

    name: str
    version: int
    model_type: str
    status: str
    config_id: int | None
    entity_type: str
    entity_id: str
    sha256: str
    size_bytes: int
    parameters: dict[str, Any]
    feature_columns: list[str]
    training_metrics: dict[str, Any]
    samples_count: int
    first_date: dt.date | None
    last_date: dt.date | None
    run_id: str
    created: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a model's history."""

    event_id: int
    name: str
    version: int
    event_type: str
    previous_version: int | None
    actor: str
    reason: str
    time: dt.datetime | None


class RegistryClient:
    """Calls the registry of one service.

    Parameters
    ----------
    connection
        To the service whose models are asked about.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = pb_grpc.ModelRegistryServiceStub(connection.channel)

    def list_models(
        self,
        *,
        config_id: int | None = None,
        entity_type: str | None = None,
        entity_id: str = "",
        model_type: str = "",
        status: str | None = None,
        name: str = "",
    ) -> Iterator[Model]:
        """Every version that all filters hold for, newest first; pages are asked for as they are read.

        Raises
        ------
        CallError
            One of its family, while it is read.
        """
        request = pb.ListModelsRequest(
            config_id=config_id,
            entity_type=wire.number(entity_pb2.EntityType, "ENTITY_TYPE_", entity_type),
            entity_id=entity_id,
            model_type=model_type,
            status=wire.number(pb.ModelStatus, "MODEL_STATUS_", status),
            name=name,
            page_size=_PAGE,
        )
        while True:
            answer = self._connection.call(self._stub.ListModels, request)
            yield from (model(one) for one in answer.models)
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def get_model(self, name: str, version: int | None = None) -> Model:
        """One version in full; None: the active one.

        Raises
        ------
        CallError
            One of its family.
        """
        request = pb.GetModelRequest(name=name, version=version)
        return model(self._connection.call(self._stub.GetModel, request).model)

    def activate(self, name: str, version: int, *, reason: str) -> Model:
        """Make a version the one that answers.

        Raises
        ------
        CallError
            One of its family.
        """
        request = pb.ActivateModelVersionRequest(name=name, version=version, reason=reason)
        return model(self._connection.call(self._stub.ActivateModelVersion, request).model)

    def rollback(
        self,
        name: str,
        *,
        reason: str,
        version: int | None = None,
        expected_active_version: int | None = None,
    ) -> Model:
        """Go back to the version that was active before, or to an earlier one.

        Parameters
        ----------
        name, version
            Of which model, to which version; None: the one before.
        reason
            Why, for the history.
        expected_active_version
            Change nothing where another one is active.

        Raises
        ------
        CallError
            One of its family.
        """
        request = pb.RollbackModelRequest(
            name=name, version=version, reason=reason, expected_active_version=expected_active_version
        )
        return model(self._connection.call(self._stub.RollbackModel, request).model)

    def events(self, name: str = "") -> Iterator[Event]:
        """What happened to a model, or to all, newest first.

        Raises
        ------
        CallError
            One of its family, while it is read.
        """
        request = pb.ListModelEventsRequest(name=name, page_size=_PAGE)
        while True:
            answer = self._connection.call(self._stub.ListModelEvents, request)
            yield from (_event(one) for one in answer.events)
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token


def model(message: pb.Model) -> Model:
    """A version as it came."""
    return Model(
        name=message.ref.name,
        version=message.ref.version,
        model_type=message.model_type,
        status=wire.word(pb.ModelStatus, "MODEL_STATUS_", message.status),
        config_id=wire.optional(message, "config_id"),
        entity_type=wire.word(entity_pb2.EntityType, "ENTITY_TYPE_", message.entity_type),
        entity_id=message.entity_id,
        sha256=message.sha256,
        size_bytes=message.size_bytes,
        parameters=json_format.MessageToDict(message.parameters),
        feature_columns=list(message.feature_columns),
        training_metrics=json_format.MessageToDict(message.training_metrics),
        samples_count=message.samples_count,
        first_date=wire.optional_day(message, "training_first_date"),
        last_date=wire.optional_day(message, "training_last_date"),
        run_id=message.run_id,
        created=wire.instant(message, "created_time"),
    )


def _event(message: pb.ModelEvent) -> Event:
    return Event(
        message.event_id,
        message.name,
        message.version,
        wire.word(pb.ModelEventType, "MODEL_EVENT_TYPE_", message.event_type),
        wire.optional(message, "previous_version"),
        message.actor,
        message.reason,
        wire.instant(message, "event_time"),
    )
