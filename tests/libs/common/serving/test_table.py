"""Rules of the contracts: complete, and all violations at once."""

import datetime as dt

import pytest
from adsml.anomaly.v1 import anomaly_service_pb2
from adsml.classifier.v1 import classifier_service_pb2
from adsml.common.v1 import entity_pb2, metrics_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting_pb2
from adsml.impact.v1 import impact_service_pb2
from adsml.registry.v1 import registry_service_pb2
from adsml.training.v1 import training_service_pb2
from adsml_common.domain.errors import InvalidInput
from adsml_common.serving.rules import RULES, VALIDATOR
from adsml_common.serving.table import Validator
from google.protobuf import descriptor_pool
from google.type import date_pb2

SERVICES = (
    anomaly_service_pb2,
    classifier_service_pb2,
    forecasting_pb2,
    impact_service_pb2,
    registry_service_pb2,
    training_service_pb2,
)


def reachable(descriptor, found):
    if not descriptor.full_name.startswith("adsml.") or descriptor.full_name in found:
        return found
    found[descriptor.full_name] = descriptor
    for field in descriptor.fields:
        if field.message_type is not None:
            reachable(field.message_type, found)
    return found


def requests():
    found = {}
    for module in SERVICES:
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                reachable(method.input_type, found)
    # Daily rows are checked where they are read; see test_rows.
    del found["adsml.common.v1.DailyMetrics"]
    return found


@pytest.mark.parametrize("name", sorted(requests()))
def test_every_field_that_a_request_can_hold_has_a_rule(name):
    fields = {field.name for field in requests()[name].fields}
    assert {key for key in RULES[name] if key != "*" and not key.startswith("oneof ")} == fields


def test_every_rule_is_of_a_message_that_a_request_can_hold():
    assert set(RULES) == set(requests())


def test_every_rule_fits_its_field():
    for name in RULES:
        assert VALIDATOR.checks(descriptor_pool.Default().FindMessageTypeByName(name)) is not None


def paths(message, at=""):
    return {one.path for one in VALIDATOR.violations(message, at)}


def forecast(**changed):
    good = {
        "subject": entity_pb2.Subject(entity=entity_pb2.EntityRef(config_id=1, entity_type=1, entity_id="a")),
        "metric": metrics_pb2.METRIC_CPL,
        "method": forecasting_pb2.FORECAST_METHOD_EMA,
    }
    return forecasting_pb2.ForecastRequest(**(good | changed))


NAMED_WITH_A_LINE_END = entity_pb2.EntityRef(config_id=1, entity_type=1, entity_id="a\n")


def test_a_good_request_has_nothing_wrong():
    assert paths(forecast()) == set()


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"subject": None}, {"subject"}),
        ({"subject": entity_pb2.Subject()}, {"subject"}),
        (
            {"subject": entity_pb2.Subject(entity=entity_pb2.EntityRef(entity_type=9))},
            {"subject.entity.config_id", "subject.entity.entity_type", "subject.entity.entity_id"},
        ),
        (
            {"subject": entity_pb2.Subject(entity=NAMED_WITH_A_LINE_END)},
            {"subject.entity.entity_id"},
        ),
        ({"metric": 0, "method": 15}, {"metric", "method"}),
        ({"options": forecasting_pb2.ForecastOptions(horizon_days=0)}, {"options.horizon_days"}),
        ({"options": forecasting_pb2.ForecastOptions(horizon_days=91)}, {"options.horizon_days"}),
        (
            {"options": forecasting_pb2.ForecastOptions(interval_level=float("nan"))},
            {"options.interval_level"},
        ),
        (
            {"options": forecasting_pb2.ForecastOptions(cutoff=date_pb2.Date(year=2023, month=2, day=29))},
            {"options.cutoff"},
        ),
        (
            {
                "options": forecasting_pb2.ForecastOptions(
                    planned_budgets=[forecasting_pb2.PlannedBudget(budget=float("inf"))]
                )
            },
            {"options.planned_budgets[0].date", "options.planned_budgets[0].budget"},
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_its_path(changed, wrong):
    assert paths(forecast(**changed)) == wrong


def test_rows_are_told_too_when_something_else_is_wrong():
    inline = entity_pb2.InlineSeries(rows=[metrics_pb2.DailyMetrics(spend=-1)])
    request = forecast(subject=entity_pb2.Subject(inline=inline), metric=0)
    assert {"metric", "subject.inline.rows[0].spend", "subject.inline.rows[0].date"} <= paths(request)


def test_entries_of_a_batch_fail_apart():
    item = forecasting_pb2.BatchForecastItem()
    assert paths(forecasting_pb2.BatchForecastRequest(items=[item])) == set()
    assert paths(forecasting_pb2.BatchForecastRequest()) == {"items"}
    assert paths(item, "items[0]") == {"items[0].subject", "items[0].metric"}


def test_a_day_in_the_future_is_refused_where_it_must_not_be():
    validator = Validator(RULES, today=lambda: dt.date(2024, 5, 1))

    def feedback(day):
        return classifier_service_pb2.RecordFeedbackRequest(
            entity=entity_pb2.EntityRef(config_id=1, entity_type=1, entity_id="a"),
            date=date_pb2.Date(year=2024, month=5, day=day),
            tier=1,
        )

    # One day of grace: it may be tomorrow already where the account is.
    assert validator.violations(feedback(2)) == []
    assert [one.path for one in validator.violations(feedback(3))] == ["date"]


def test_each_name_of_an_enum_once():
    request = forecasting_pb2.EnsembleOptions(members=[2, 2, 12, 77])
    assert paths(request) == {"members[1]", "members[2]", "members[3]"}


def test_check_raises_all_of_it():
    with pytest.raises(InvalidInput) as caught:
        VALIDATOR.check(forecasting_pb2.ForecastRequest())
    assert len(caught.value.violations) == 3
