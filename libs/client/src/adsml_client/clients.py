"""One client a service: the contract's methods by their names, with deadlines, retries and typed errors.

A method takes the contract's request message, or its fields as `messages.message` takes them, and gives the
contract's response message::

    ClassifierClient(connection).classify(subject=entity_ref(1, "adset", "23"), options={"max_contributions": 3})
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from adsml.anomaly.v1 import anomaly_service_pb2 as anomaly
from adsml.anomaly.v1 import anomaly_service_pb2_grpc as anomaly_grpc
from adsml.classifier.v1 import classifier_service_pb2 as classifier
from adsml.classifier.v1 import classifier_service_pb2_grpc as classifier_grpc
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting
from adsml.forecasting.v1 import forecasting_service_pb2_grpc as forecasting_grpc
from adsml.impact.v1 import impact_service_pb2 as impact
from adsml.impact.v1 import impact_service_pb2_grpc as impact_grpc
from adsml.registry.v1 import registry_service_pb2 as registry
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml.training.v1 import training_service_pb2 as training
from adsml.training.v1 import training_service_pb2_grpc as training_grpc
from google.protobuf.message import Message

from adsml_client.connection import Connection, Metadata
from adsml_client.messages import message

if TYPE_CHECKING:
    from grpc import UnaryStreamMultiCallable as _UnaryStream
    from grpc import UnaryUnaryMultiCallable as _UnaryUnary

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)

MAX_BATCH: Final = 1_000
"""Entries that the services take at once; longer batches are sent in parts."""


class _Method(Generic[RequestT, ResponseT]):
    """A method with its usual deadline (None: the connection's) and, of a batch, the field with its entries."""

    def __init__(
        self,
        connection: Connection,
        stub_method: "_UnaryUnary[RequestT, ResponseT] | _UnaryStream[RequestT, ResponseT]",
        request_type: type[RequestT],
        *,
        seconds: float | None = None,
        entries: str = "",
    ) -> None:
        self._connection = connection
        self._stub_method: Any = stub_method
        self.request_type = request_type
        self._seconds = seconds
        self._entries = entries

    def _request(self, request: RequestT | None, fields: dict[str, Any]) -> RequestT:
        if request is not None and fields:
            raise TypeError("give the request or its fields, not both")
        return message(self.request_type, **fields) if request is None else request


class Method(_Method[RequestT, ResponseT]):
    """A method of a service that answers once."""

    def __call__(
        self,
        request: RequestT | None = None,
        /,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
        **fields: Any,
    ) -> ResponseT:
        """Call it with the request, or its fields as of `message`; the rest as of `Connection.call`.

        A batch of more than 1,000 entries has its time for each 1,000.
        """
        first, *rest = _parts(self._request(request, fields), self._entries)
        seconds = self._seconds if timeout is None else timeout
        response: Any = self._connection.call(self._stub_method, first, timeout=seconds, metadata=metadata)
        for part in rest:
            more: Any = self._connection.call(self._stub_method, part, timeout=seconds, metadata=metadata)
            response.results.extend(more.results)
            known = response.degradations
            known.extend([one for one in more.degradations if one not in known])
        return cast(ResponseT, response)

    def pages(
        self,
        request: RequestT | None = None,
        /,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
        **fields: Any,
    ) -> Iterator[ResponseT]:
        """Call a method that lists once for each page, as they are read; as of a call."""
        following: Any = self.request_type()
        following.CopyFrom(self._request(request, fields))
        while True:
            page: Any = self(following, timeout=timeout, metadata=metadata)
            yield page
            if not page.next_page_token:
                return
            following.page_token = page.next_page_token


class StreamMethod(_Method[RequestT, ResponseT]):
    """A method of a service that answers with a stream."""

    def __call__(
        self,
        request: RequestT | None = None,
        /,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
        **fields: Any,
    ) -> Iterator[ResponseT]:
        """Call it, as of a `Method`; errors while it is read. Cancelled when left early."""
        seconds = self._seconds if timeout is None else timeout
        sent = self._request(request, fields)
        return self._connection.stream(self._stub_method, sent, timeout=seconds, metadata=metadata)


def _parts(request: RequestT, entries: str) -> list[RequestT]:
    """The request in parts that the service takes."""
    every = getattr(request, entries) if entries else ()
    if len(every) <= MAX_BATCH:
        return [request]
    rest = type(request)()
    rest.CopyFrom(request)
    rest.ClearField(entries)
    parts = []
    for at in range(0, len(every), MAX_BATCH):
        part = type(request)()
        part.CopyFrom(rest)
        getattr(part, entries).extend(every[at : at + MAX_BATCH])
        parts.append(part)
    return parts


class ClassifierClient:
    """Tiers of entities over the next 7 days."""

    def __init__(self, connection: Connection) -> None:
        to, stub = connection, classifier_grpc.ClassifierServiceStub(connection.channel)
        self.classify = Method(to, stub.Classify, classifier.ClassifyRequest)
        self.batch_classify = Method(
            to, stub.BatchClassify, classifier.BatchClassifyRequest, entries="subjects"
        )
        self.classify_new_entity = Method(to, stub.ClassifyNewEntity, classifier.ClassifyNewEntityRequest)
        self.record_feedback = Method(to, stub.RecordFeedback, classifier.RecordFeedbackRequest)


class ForecastingClient:
    """Daily metrics of the coming days."""

    def __init__(self, connection: Connection) -> None:
        to, stub = connection, forecasting_grpc.ForecastingServiceStub(connection.channel)
        self.forecast = Method(to, stub.Forecast, forecasting.ForecastRequest)
        self.forecast_ensemble = Method(to, stub.ForecastEnsemble, forecasting.ForecastEnsembleRequest)
        self.forecast_new_entity = Method(to, stub.ForecastNewEntity, forecasting.ForecastNewEntityRequest)
        self.batch_forecast = Method(
            to, stub.BatchForecast, forecasting.BatchForecastRequest, seconds=120.0, entries="items"
        )
        self.backtest = StreamMethod(to, stub.Backtest, forecasting.BacktestRequest, seconds=1_800.0)


class AnomalyClient:
    """Days that are out of line, and incidents."""

    def __init__(self, connection: Connection) -> None:
        to, stub = connection, anomaly_grpc.AnomalyServiceStub(connection.channel)
        self.detect_anomalies = Method(to, stub.DetectAnomalies, anomaly.DetectAnomaliesRequest)
        self.batch_detect_anomalies = Method(
            to,
            stub.BatchDetectAnomalies,
            anomaly.BatchDetectAnomaliesRequest,
            seconds=60.0,
            entries="subjects",
        )
        self.detect_account_anomalies = Method(
            to, stub.DetectAccountAnomalies, anomaly.DetectAccountAnomaliesRequest, seconds=60.0
        )
        self.list_incidents = Method(to, stub.ListIncidents, anomaly.ListIncidentsRequest)
        self.record_feedback = Method(to, stub.RecordFeedback, anomaly.RecordFeedbackRequest)


class ImpactClient:
    """What changes did, or could show."""

    def __init__(self, connection: Connection) -> None:
        to, stub = connection, impact_grpc.ImpactServiceStub(connection.channel)
        self.analyze_impact = Method(to, stub.AnalyzeImpact, impact.AnalyzeImpactRequest, seconds=60.0)
        self.batch_analyze_impact = Method(
            to, stub.BatchAnalyzeImpact, impact.BatchAnalyzeImpactRequest, seconds=600.0, entries="items"
        )
        self.summarize_changes = Method(
            to, stub.SummarizeChanges, impact.SummarizeChangesRequest, seconds=600.0
        )
        self.estimate_detectable_effect = Method(
            to, stub.EstimateDetectableEffect, impact.EstimateDetectableEffectRequest, seconds=60.0
        )


class ModelRegistryClient:
    """The models of one service, and the way back; every request names its family."""

    def __init__(self, connection: Connection) -> None:
        to, stub = connection, registry_grpc.ModelRegistryServiceStub(connection.channel)
        self.list_models = Method(to, stub.ListModels, registry.ListModelsRequest)
        self.get_model = Method(to, stub.GetModel, registry.GetModelRequest)
        self.activate_model_version = Method(
            to, stub.ActivateModelVersion, registry.ActivateModelVersionRequest
        )
        self.rollback_model = Method(to, stub.RollbackModel, registry.RollbackModelRequest)
        self.list_model_events = Method(to, stub.ListModelEvents, registry.ListModelEventsRequest)


class TrainingClient:
    """Training runs of one service; every request names its family."""

    def __init__(self, connection: Connection) -> None:
        to, stub = connection, training_grpc.TrainingServiceStub(connection.channel)
        self.start_training = Method(to, stub.StartTraining, training.StartTrainingRequest)
        self.get_training_run = Method(to, stub.GetTrainingRun, training.GetTrainingRunRequest)
        self.list_training_runs = Method(to, stub.ListTrainingRuns, training.ListTrainingRunsRequest)
        self.cancel_training_run = Method(to, stub.CancelTrainingRun, training.CancelTrainingRunRequest)
