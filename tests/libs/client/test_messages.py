"""Messages from plain values and back."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from adsml.anomaly.v1 import anomaly_service_pb2 as anomaly
from adsml.classifier.v1 import classifier_service_pb2 as classifier
from adsml.common.v1 import entity_pb2, metrics_pb2, tier_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting
from adsml.impact.v1 import impact_service_pb2 as impact
from adsml_client import change_event, day, entity_ref, errors, inline_series, message, results, word
from google.type import date_pb2

LAST = dt.date(2026, 3, 31)
DATE = date_pb2.Date(year=2026, month=3, day=31)


def violations(call):
    with pytest.raises(errors.InvalidArgument) as caught:
        call()
    assert caught.value.code.name == "INVALID_ARGUMENT"
    return {one.path: one.description for one in caught.value.violations}


def test_a_request_in_plain_words_is_the_contracts_message():
    request = message(
        forecasting.ForecastRequest,
        subject=entity_ref(1, "adset", "23"),
        metric="leads",
        method="AUTO_ETS",
        options={
            "horizon_days": 14,
            "as_of_date": LAST,
            "planned_budgets": [{"date": "2026-04-01", "budget": 50}],
            "changes": [change_event(LAST, "budget_change", value_before=10, value_after=20)],
            "peers": {"mask_anomalies": False},
        },
    )
    assert request == forecasting.ForecastRequest(
        subject=entity_pb2.Subject(
            entity=entity_pb2.EntityRef(config_id=1, entity_type=entity_pb2.ENTITY_TYPE_ADSET, entity_id="23")
        ),
        metric=metrics_pb2.METRIC_LEADS,
        method=forecasting.FORECAST_METHOD_AUTO_ETS,
        options=forecasting.ForecastOptions(
            horizon_days=14,
            as_of_date=DATE,
            planned_budgets=[
                forecasting.PlannedBudget(date=date_pb2.Date(year=2026, month=4, day=1), budget=50.0)
            ],
            changes=[
                change_event("2026-03-31", "CHANGE_TYPE_BUDGET_CHANGE", value_before=10, value_after=20)
            ],
            peers=forecasting.PeerOptions(mask_anomalies=False),
        ),
    )


def test_whoever_is_asked_about_fits_where_alternatives_are_meant():
    ref = entity_ref(1, "ad", "7")
    rows = [metrics_pb2.DailyMetrics(date=DATE, leads=1)]
    series = inline_series(rows, entity_type="ad")
    points = message(
        anomaly.PointSeries, points=[{"time": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "value": 2.5}]
    )
    assert message(classifier.ClassifyRequest, subject=ref).subject.entity == ref
    assert message(classifier.ClassifyRequest, subject=series).subject.inline == series
    assert message(anomaly.DetectAnomaliesRequest, subject=points).subject.points == points
    panel = message(impact.StoredPanel, treated=[ref])
    assert message(impact.AnalyzeImpactRequest, panel=panel).panel.stored == panel


def test_an_empty_message_that_was_given_is_set():
    assert message(classifier.ClassifyRequest, options={}).HasField("options")
    assert not message(classifier.ClassifyRequest, options=None).HasField("options")


@pytest.mark.parametrize("wrong", ["ad set", "account", "unspecified", "", 1.5, True])
def test_an_unknown_word_is_an_error_of_the_family(wrong):
    """It was a bare ValueError: `'ad set' is none of ...`."""
    assert violations(lambda: entity_ref(1, wrong, "23")) == {
        "entity_type": f"{wrong!r} is none of campaign, adset, ad"
    }


def test_every_mistake_is_named_by_its_path():
    mistakes = violations(
        lambda: message(
            forecasting.BacktestRequest,
            subjects=[entity_ref(1, "ad", "7"), LAST],
            metric="leeds",
            methods="ema",
            horizon_days=7.5,
            seed=2**63,
            ensemble={"members": ["ema", "prophetic"]},
            cutoff=LAST,
        )
    )
    assert mistakes["metric"].startswith("'leeds' is none of spend, impressions")
    assert mistakes["horizon_days"] == "7.5 is not a whole number"
    assert mistakes["methods"] == "'ema' is not a list of values"
    assert "prophetic" in mistakes["ensemble.members[1]"]
    assert "no such field; expected one of subjects, metric" in mistakes["cutoff"]
    assert {*mistakes} == {
        "subjects[1]", "metric", "methods", "horizon_days", "seed", "ensemble.members[1]", "cutoff",
    }  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        LAST, "2026-03-31", dt.datetime(2026, 3, 31, 12, tzinfo=dt.UTC), np.datetime64("2026-03-31"),
        pd.Timestamp("2026-03-31"), pd.Period("2026-03-31", freq="D"), DATE,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_day_is_a_day_whoever_wrote_it(value):
    request = message(classifier.ClassifyRequest, options={"as_of_date": value})
    assert day(request.options.as_of_date) == LAST


@pytest.mark.parametrize("value", ["31.03.2026", 20260331, pd.NaT, "2026-02-30"])
def test_what_is_no_day_is_refused(value):
    assert {*violations(lambda: change_event(value, "pause"))} == {"date"}


def test_a_time_without_a_zone_is_refused():
    naive = {"points": [{"time": dt.datetime(2026, 1, 1), "value": 1.0}]}  # noqa: DTZ001
    assert {*violations(lambda: message(anomaly.PointSeries, **naive))} == {"points[0].time"}


def test_numbers_of_numpy_are_numbers():
    series = message(
        metrics_pb2.DailyMetrics, date=LAST, spend=np.float32(1.5), clicks=np.int64(3), leads=np.int32(2)
    )
    assert (series.spend, series.clicks, series.leads) == (1.5, 3, 2.0)
    assert {*violations(lambda: message(metrics_pb2.DailyMetrics, spend="1.5", clicks=True))} == {
        "spend",
        "clicks",
    }


def test_words_of_answers():
    answer = classifier.Classification(tier=tier_pb2.TIER_HIGH_PERFORMER)
    assert (word(answer, "tier"), word(answer, "rule_tier")) == ("high_performer", "")
    newer = classifier.Classification(tier=99)  # a tier of a later contract
    assert word(newer, "tier") == "99"


def test_a_batchs_results_are_answers_and_errors():
    response = classifier.BatchClassifyResponse()
    response.results.add().classification.tier = tier_pb2.TIER_LOW
    failed = response.results.add().error
    failed.code, failed.message = 5, "no such ad"
    first, second = results(response)
    assert first.tier == tier_pb2.TIER_LOW
    assert isinstance(second, errors.NotFound)
    assert second.message == "no such ad"
