"""One client a service: the contract's methods by their names, with deadlines, retries and typed errors.

A method takes the contract's request message, or its fields as `messages.message` takes them, and gives the
contract's response message::

    ClassifierClient(connection).classify(subject=entity_ref(1, "adset", "23"), options={"max_contributions": 3})
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Final, Generic, TypeVar, cast, get_args, get_type_hints

from adsml.anomaly.v1 import anomaly_service_pb2 as anomaly
from adsml.anomaly.v1.anomaly_service_pb2_grpc import AnomalyServiceStub
from adsml.classifier.v1 import classifier_service_pb2 as classifier
from adsml.classifier.v1.classifier_service_pb2_grpc import ClassifierServiceStub
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting
from adsml.forecasting.v1.forecasting_service_pb2_grpc import ForecastingServiceStub
from adsml.impact.v1 import impact_service_pb2 as impact
from adsml.impact.v1.impact_service_pb2_grpc import ImpactServiceStub
from adsml.registry.v1 import registry_service_pb2 as registry
from adsml.registry.v1.registry_service_pb2_grpc import ModelRegistryServiceStub
from adsml.training.v1 import training_service_pb2 as training
from adsml.training.v1.training_service_pb2_grpc import TrainingServiceStub
from google.protobuf.message import Message

from adsml_client.connection import Connection, Metadata
from adsml_client.messages import message

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)

MAX_BATCH: Final = 1_000
"""Entries that the services take at once; longer batches are sent in parts."""

_SECONDS: Final = {
    "batch_forecast": 120.0, "backtest": 1_800.0, "batch_detect_anomalies": 60.0,
    "detect_account_anomalies": 60.0, "analyze_impact": 60.0, "batch_analyze_impact": 600.0,
    "summarize_changes": 600.0, "estimate_detectable_effect": 60.0,
}  # fmt: skip
"""Deadlines of methods that may take longer than the connection's usual one."""


class _Method(Generic[RequestT, ResponseT]):
    def __init__(self, connection: Connection, stub: Any, name: str, request_type: type[RequestT]) -> None:
        self._connection = connection
        self._stub_method = getattr(stub, name.title().replace("_", ""))
        self._request_type = request_type
        self._seconds = _SECONDS.get(name)
        self._is_batch = name.startswith("batch_")

    def _request(self, request: RequestT | None, fields: dict[str, Any]) -> RequestT:
        if request is not None and fields:
            raise TypeError("give the request or its fields, not both")
        return message(self._request_type, **fields) if request is None else request


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
        sent = self._request(request, fields)
        first, *rest = _parts(sent) if self._is_batch else [sent]
        seconds = self._seconds if timeout is None else timeout
        response: Any = self._connection.call(self._stub_method, first, timeout=seconds, metadata=metadata)
        for part in rest:
            more: Any = self._connection.call(self._stub_method, part, timeout=seconds, metadata=metadata)
            for field, values in more.ListFields():
                if field.is_repeated:
                    known = getattr(response, field.name)
                    known.extend([one for one in values if field.name == "results" or one not in known])
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
        following: Any = self._request_type()
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


def _parts(request: RequestT) -> list[RequestT]:
    """A batch in parts that the service takes."""
    [entries] = (one.name for one in request.DESCRIPTOR.fields if one.is_repeated)
    every = getattr(request, entries)
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


class _Client:
    """The methods of the contract that a client's attributes name, with their messages."""

    _stub: ClassVar[Any]

    def __init__(self, connection: Connection) -> None:
        stub = self._stub(connection.channel)
        for name, kind in get_type_hints(type(self)).items():
            if name != "_stub":
                setattr(self, name, kind(connection, stub, name, get_args(kind)[0]))


class ClassifierClient(_Client):
    """Tiers of entities over the next 7 days."""

    _stub = ClassifierServiceStub
    classify: Method[classifier.ClassifyRequest, classifier.ClassifyResponse]
    batch_classify: Method[classifier.BatchClassifyRequest, classifier.BatchClassifyResponse]
    classify_new_entity: Method[classifier.ClassifyNewEntityRequest, classifier.ClassifyNewEntityResponse]
    record_feedback: Method[classifier.RecordFeedbackRequest, classifier.RecordFeedbackResponse]


class ForecastingClient(_Client):
    """Daily metrics of the coming days."""

    _stub = ForecastingServiceStub
    forecast: Method[forecasting.ForecastRequest, forecasting.ForecastResponse]
    forecast_ensemble: Method[forecasting.ForecastEnsembleRequest, forecasting.ForecastEnsembleResponse]
    forecast_new_entity: Method[forecasting.ForecastNewEntityRequest, forecasting.ForecastNewEntityResponse]
    batch_forecast: Method[forecasting.BatchForecastRequest, forecasting.BatchForecastResponse]
    backtest: StreamMethod[forecasting.BacktestRequest, forecasting.BacktestResponse]


class AnomalyClient(_Client):
    """Days that are out of line, and incidents."""

    _stub = AnomalyServiceStub
    detect_anomalies: Method[anomaly.DetectAnomaliesRequest, anomaly.DetectAnomaliesResponse]
    batch_detect_anomalies: Method[anomaly.BatchDetectAnomaliesRequest, anomaly.BatchDetectAnomaliesResponse]
    detect_account_anomalies: Method[
        anomaly.DetectAccountAnomaliesRequest, anomaly.DetectAccountAnomaliesResponse
    ]
    list_incidents: Method[anomaly.ListIncidentsRequest, anomaly.ListIncidentsResponse]
    record_feedback: Method[anomaly.RecordFeedbackRequest, anomaly.RecordFeedbackResponse]


class ImpactClient(_Client):
    """What changes did, or could show."""

    _stub = ImpactServiceStub
    analyze_impact: Method[impact.AnalyzeImpactRequest, impact.AnalyzeImpactResponse]
    batch_analyze_impact: Method[impact.BatchAnalyzeImpactRequest, impact.BatchAnalyzeImpactResponse]
    summarize_changes: Method[impact.SummarizeChangesRequest, impact.SummarizeChangesResponse]
    estimate_detectable_effect: Method[
        impact.EstimateDetectableEffectRequest, impact.EstimateDetectableEffectResponse
    ]


class ModelRegistryClient(_Client):
    """The models of one service, and the way back; every request names its family."""

    _stub = ModelRegistryServiceStub
    list_models: Method[registry.ListModelsRequest, registry.ListModelsResponse]
    get_model: Method[registry.GetModelRequest, registry.GetModelResponse]
    activate_model_version: Method[
        registry.ActivateModelVersionRequest, registry.ActivateModelVersionResponse
    ]
    rollback_model: Method[registry.RollbackModelRequest, registry.RollbackModelResponse]
    list_model_events: Method[registry.ListModelEventsRequest, registry.ListModelEventsResponse]


class TrainingClient(_Client):
    """Training runs of one service; every request names its family."""

    _stub = TrainingServiceStub
    start_training: Method[training.StartTrainingRequest, training.StartTrainingResponse]
    get_training_run: Method[training.GetTrainingRunRequest, training.GetTrainingRunResponse]
    list_training_runs: Method[training.ListTrainingRunsRequest, training.ListTrainingRunsResponse]
    cancel_training_run: Method[training.CancelTrainingRunRequest, training.CancelTrainingRunResponse]
