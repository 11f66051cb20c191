"""The generated package holds every contract, and each keeps the promises made for all of them."""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import adsml
import pytest
from adsml.common.v1 import answer_pb2, entity_pb2, metrics_pb2
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)

# Where in an analytic answer it is said what answered and what was skipped.
ANSWERS = {
    "Classify": "classification",
    "BatchClassify": "results.classification",
    "ClassifyNewEntity": "classification",
    "Forecast": "forecast",
    "ForecastEnsemble": "forecast",
    "ForecastNewEntity": "forecast",
    "BatchForecast": "results.forecast",
    "Backtest": "report",
    "DetectAnomalies": "report",
    "BatchDetectAnomalies": "results.report",
    "AnalyzeImpact": "report",
    "BatchAnalyzeImpact": "results.report",
    "EstimateDetectableEffect": "",
}
BATCHES = ["BatchClassify", "BatchForecast", "BatchDetectAnomalies", "BatchAnalyzeImpact"]


def generated() -> Iterator[ModuleType]:
    for info in pkgutil.walk_packages(adsml.__path__, "adsml."):
        if not info.ispkg:
            yield importlib.import_module(info.name)


def files() -> list[FileDescriptor]:
    return [module.DESCRIPTOR for module in generated() if module.__name__.endswith("_pb2")]


def services() -> dict[str, ServiceDescriptor]:
    return {service.full_name: service for file in files() for service in file.services_by_name.values()}


def methods() -> dict[str, MethodDescriptor]:
    """The analytic methods by name; RecordFeedback and the two admin services are not analytic."""
    found = [method for service in services().values() for method in service.methods]
    return {method.name: method for method in found if method.name in ANSWERS}


def at(message: Descriptor, path: str) -> Descriptor:
    for name in path.split(".") if path else ():
        message = message_of(message.fields_by_name[name])
    return message


def message_of(field: FieldDescriptor) -> Descriptor:
    assert field.message_type is not None, f"{field.full_name} is no message"
    return field.message_type


def test_every_service_has_a_stub_and_a_servicer() -> None:
    classes = {
        name
        for module in generated()
        if module.__name__.endswith("_pb2_grpc")
        for name in vars(module)
        if name.endswith(("Stub", "Servicer"))
    }
    names = [service.rsplit(".", 1)[1] for service in services()]
    assert classes >= {f"{name}{kind}" for name in names for kind in ("Stub", "Servicer")}


def test_no_two_methods_share_a_request_or_a_response() -> None:
    used = [
        message.full_name
        for service in services().values()
        for method in service.methods
        for message in (method.input_type, method.output_type)
    ]
    assert len(used) == len(set(used))


def test_only_backtest_streams() -> None:
    streams = [
        method.name
        for service in services().values()
        for method in service.methods
        if method.server_streaming or method.client_streaming
    ]
    assert streams == ["Backtest"]


@pytest.mark.parametrize("name", ANSWERS)
def test_answer_says_what_answered_and_what_was_skipped(name: str) -> None:
    answer = at(methods()[name].output_type, ANSWERS[name])
    answered_by = answer.fields_by_name["answered_by"]
    degradations = answer.fields_by_name["degradations"]
    assert message_of(answered_by).full_name == answer_pb2.AnsweredBy.DESCRIPTOR.full_name
    assert message_of(degradations).full_name == answer_pb2.Degradation.DESCRIPTOR.full_name
    assert degradations.is_repeated


@pytest.mark.parametrize("name", BATCHES)
def test_entities_of_a_batch_fail_one_by_one(name: str) -> None:
    result = at(methods()[name].output_type, "results")
    (choice,) = result.oneofs
    assert [message_of(field).full_name for field in choice.fields][1:] == ["google.rpc.Status"]
    assert "degradations" in methods()[name].output_type.fields_by_name


@pytest.mark.parametrize("name", ANSWERS)
def test_history_is_stored_or_sent_along(name: str) -> None:
    choices = [
        {field.name for field in choice.fields}
        for message in reachable(methods()[name].input_type)
        for choice in message.oneofs
    ]
    assert any({"entity", "inline"} <= choice or {"stored", "inline"} <= choice for choice in choices)


def reachable(message: Descriptor, seen: set[str] | None = None) -> Iterator[Descriptor]:
    seen = set() if seen is None else seen
    if message.full_name in seen:
        return
    seen.add(message.full_name)
    yield message
    for field in message.fields:
        if field.message_type is not None:
            yield from reachable(field.message_type, seen)


def test_zero_of_every_enum_says_nothing() -> None:
    enums: list[EnumDescriptor] = [enum for file in files() for enum in file.enum_types_by_name.values()]
    assert enums
    assert [e.name for e in enums if not e.values_by_number[0].name.endswith("_UNSPECIFIED")] == []


def test_a_figure_that_is_not_known_differs_from_zero() -> None:
    row = metrics_pb2.DailyMetrics(leads=0)
    assert row.HasField("leads")
    assert not row.HasField("reach")
    figures = [f for f in row.DESCRIPTOR.fields if f.type != FieldDescriptor.TYPE_MESSAGE]
    assert all(field.has_presence for field in figures)


def test_lists_are_paged() -> None:
    lists = [m for s in services().values() for m in s.methods if m.name.startswith("List")]
    assert lists
    for method in lists:
        assert {"page_size", "page_token"} <= set(method.input_type.fields_by_name)
        assert "next_page_token" in method.output_type.fields_by_name


def test_an_entity_survives_the_wire() -> None:
    entity = entity_pb2.EntityRef(
        config_id=2**53 + 1, entity_type=entity_pb2.ENTITY_TYPE_ADSET, entity_id="23843"
    )
    assert entity_pb2.EntityRef.FromString(entity.SerializeToString()) == entity
