"""The clients, over a channel without a service, and that channel."""

import re

import grpc
import pytest
from adsml.anomaly.v1 import anomaly_service_pb2 as anomaly
from adsml.classifier.v1 import classifier_service_pb2 as classifier
from adsml.common.v1 import answer_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting
from adsml.impact.v1 import impact_service_pb2 as impact
from adsml.registry.v1 import registry_service_pb2 as registry
from adsml.training.v1 import training_service_pb2 as training
from adsml_client import (
    AnomalyClient,
    ClassifierClient,
    Connection,
    ForecastingClient,
    ImpactClient,
    ModelRegistryClient,
    TrainingClient,
    entity_ref,
    errors,
    results,
    word,
)
from adsml_client.testing import FakeChannel

CLIENTS = {
    ClassifierClient: classifier,
    ForecastingClient: forecasting,
    AnomalyClient: anomaly,
    ImpactClient: impact,
    ModelRegistryClient: registry,
    TrainingClient: training,
}


def methods():
    for client, contract in CLIENTS.items():
        [service] = contract.DESCRIPTOR.services_by_name.values()
        for method in service.methods:
            yield pytest.param(client, contract, service, method, id=f"{service.name}.{method.name}")


@pytest.mark.parametrize(("client", "contract", "service", "method"), list(methods()))
def test_every_method_of_the_contracts_can_be_called(client, contract, service, method):
    path = f"/{service.full_name}/{method.name}"
    response = getattr(contract, method.output_type.name)()
    channel = FakeChannel({path: lambda request: [response] if method.server_streaming else response})
    called = getattr(client(Connection(channel)), re.sub("(?<!^)(?=[A-Z])", "_", method.name).lower())
    answer = called(timeout=1)
    assert (list(answer) if method.server_streaming else [answer]) == [response]
    [request] = channel.requests(path)
    assert request == getattr(contract, method.input_type.name)()
    # A field of these names could not be given as a keyword.
    assert not {"timeout", "metadata"} & {*method.input_type.fields_by_name}


def test_fields_in_words_or_a_request():
    channel = FakeChannel({"Classify": lambda request: classifier.ClassifyResponse()})
    client = ClassifierClient(Connection(channel))
    client.classify(subject=entity_ref(1, "ad", "7"))
    request = classifier.ClassifyRequest()
    request.subject.entity.CopyFrom(entity_ref(1, "ad", "7"))
    client.classify(request)
    first, second = channel.requests("Classify")
    assert first == second
    with pytest.raises(TypeError, match="not both"):
        client.classify(request, options={})
    with pytest.raises(errors.InvalidArgument, match="no such field"):
        client.classify(subjects=[])
    assert len(channel.calls) == 2


def batch_classify(request):
    assert request.options.max_contributions == 3
    response = classifier.BatchClassifyResponse()
    for subject in request.subjects:
        response.results.add(entity=subject.entity)
    response.degradations.add(dependency=answer_pb2.DEPENDENCY_REGISTRY)
    return response


def test_long_batches_are_split():
    channel = FakeChannel({"BatchClassify": batch_classify})
    subjects = [entity_ref(1, "ad", str(one)) for one in range(2_500)]
    request = {"subjects": subjects, "options": {"max_contributions": 3}}
    response = ClassifierClient(Connection(channel)).batch_classify(**request)
    assert [len(one.subjects) for one in channel.requests("BatchClassify")] == [1000, 1000, 500]
    assert [one.entity.entity_id for one in response.results] == [str(one) for one in range(2_500)]
    assert len(response.degradations) == 1


def test_what_a_long_batch_says_of_all_its_entries_is_kept_of_every_part():
    def detect(request):
        response = anomaly.BatchDetectAnomaliesResponse(results=[{}] * len(request.subjects))
        response.incidents.add(incident_id=request.subjects[0].entity.entity_id)
        response.incidents.add(incident_id="of every part")
        return response

    channel = FakeChannel({"BatchDetectAnomalies": detect})
    subjects = [entity_ref(1, "ad", str(one)) for one in range(1_500)]
    response = AnomalyClient(Connection(channel)).batch_detect_anomalies(subjects=subjects)
    assert len(response.results) == 1_500
    assert [one.incident_id for one in response.incidents] == ["0", "of every part", "1000"]


def test_pages_are_asked_for_as_they_are_read():
    pages = {"": "second", "second": "third", "third": ""}

    def list_models(request):
        assert word(request, "status") == "active"
        return registry.ListModelsResponse(next_page_token=pages[request.page_token])

    channel = FakeChannel({"ListModels": list_models})
    listed = ModelRegistryClient(Connection(channel)).list_models.pages(family="anomaly", status="active")
    assert next(listed).next_page_token == "second"
    assert len(channel.calls) == 1
    assert [one.next_page_token for one in listed] == ["third", ""]


def failing(error):
    def fail(request):
        raise error

    return fail


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidArgument.of([errors.Violation("subject.entity.entity_id", "is empty")]),
        errors.FailedPrecondition(
            grpc.StatusCode.FAILED_PRECONDITION,
            "2 of 7 days",
            reason="INSUFFICIENT_HISTORY",
            metadata={"days_had": "2"},
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_fakes_error_arrives_as_a_services_would(error):
    client = ClassifierClient(Connection(FakeChannel({"Classify": failing(error)})))
    with pytest.raises(type(error)) as caught:
        client.classify()
    arrived = caught.value
    assert (arrived.message, arrived.reason, arrived.metadata) == (
        error.message,
        error.reason,
        error.metadata,
    )
    assert getattr(arrived, "violations", None) == getattr(error, "violations", None)
    assert arrived.request_id


def test_a_fake_says_when_to_come_back():
    error = errors.Overloaded(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
    error.retry_after_seconds = 1.5
    with pytest.raises(errors.Overloaded) as caught:
        ClassifierClient(Connection(FakeChannel({"Classify": failing(error)}))).classify()
    assert caught.value.retry_after_seconds == 1.5


def test_a_fake_streams_and_fails_on_the_way():
    def backtest(request):
        yield forecasting.BacktestResponse(progress=forecasting.BacktestProgress(done=1, total=2))
        raise errors.Unavailable(grpc.StatusCode.UNAVAILABLE, "gone")

    responses = ForecastingClient(Connection(FakeChannel({"Backtest": backtest}))).backtest()
    assert next(responses).progress.done == 1
    with pytest.raises(errors.Unavailable, match="gone"):
        next(responses)


def test_a_fake_without_a_handler_says_which():
    with pytest.raises(errors.CallError, match="no handler for /adsml.impact"):
        ImpactClient(Connection(FakeChannel({}))).analyze_impact()


def test_results_of_a_batch_through_a_client():
    def batch(request):
        response = classifier.BatchClassifyResponse()
        response.results.add().error.code = 5
        return response

    [one] = results(ClassifierClient(Connection(FakeChannel({"BatchClassify": batch}))).batch_classify())
    assert isinstance(one, errors.NotFound)
