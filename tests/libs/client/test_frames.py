"""Frames in and out."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from adsml.anomaly.v1 import anomaly_service_pb2 as anomaly
from adsml.classifier.v1 import classifier_service_pb2 as classifier
from adsml.common.v1 import entity_pb2, metrics_pb2, tier_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting
from adsml.impact.v1 import impact_service_pb2 as impact
from adsml.registry.v1 import registry_service_pb2 as registry
from adsml.training.v1 import training_service_pb2 as training
from adsml_client import day, entity_ref, errors, message, rows_from_frame, to_frame

DAYS = pd.date_range("2026-03-01", periods=3)
FIRST = dt.date(2026, 3, 1)


def mistakes(frame):
    with pytest.raises(errors.InvalidArgument) as caught:
        rows_from_frame(frame)
    return {one.path: one.description for one in caught.value.violations}


def full(**columns):
    return pd.DataFrame(
        {
            "date": DAYS,
            "spend": [1.5, 2, 0],
            "impressions": [10, 20, 0],
            "clicks": [1, 2, 0],
            "leads": [0.5, 1, 0],
            **columns,
        }
    )


def test_a_full_frame():
    rows = rows_from_frame(full(reach=[9, None, 0], name="x"))
    assert rows[0] == message(
        metrics_pb2.DailyMetrics, date=FIRST, spend=1.5, impressions=10, clicks=1, leads=0.5, reach=9
    )
    assert [one.HasField("reach") for one in rows] == [True, False, True]
    assert [day(one.date) for one in rows] == [one.date() for one in DAYS]


@pytest.mark.parametrize(
    "index",
    [DAYS, DAYS.tz_localize("Europe/Berlin"), DAYS.to_period("D"), [str(one.date()) for one in DAYS],
     [one.date() for one in DAYS], DAYS.rename("day")],
    ids=["datetimes", "zoned", "periods", "text", "dates", "named"],
)  # fmt: skip
def test_leads_alone_with_days_as_the_index_suffice(index):
    rows = rows_from_frame(pd.DataFrame({"leads": [1, 2, 3]}, index=index))
    assert [(day(one.date), one.leads) for one in rows] == [
        (one.date(), leads) for one, leads in zip(DAYS, [1, 2, 3], strict=True)
    ]
    assert not any(one.HasField(name) for one in rows for name in ("spend", "impressions", "clicks", "reach"))


def test_an_empty_column_is_a_missing_one():
    assert not rows_from_frame(full(clicks=[None, None, None]))[0].HasField("clicks")


@pytest.mark.parametrize(
    ("column", "values", "where", "cure"),
    [
        ("spend", [1, None, 2], "rows[1].spend", 'frame["spend"].fillna(0)'),
        ("spend", [1, -2, 2], "rows[1].spend", "below 0"),
        ("spend", [1, 2, np.inf], "rows[2].spend", "not finite"),
        ("spend", ["1", "2", "1.250,50"], "rows[2].spend", 'pd.to_numeric(frame["spend"])'),
        ("clicks", [1, 2.5, 3], "rows[1].clicks", 'frame["clicks"].round()'),
        ("leads", [1, True, 2], "rows[1].leads", "not a number"),
        ("leads", [1, [2], 2], "rows[1].leads", "not a number"),
        ("date", ["2026-03-01", "02.03.2026", "2026-03-03"], "rows[1].date", "pd.to_datetime"),
        ("date", ["2026-03-01", "2026-03-02", "2026-03-01"], "rows[2].date", 'groupby("date")'),
        ("date", ["2026-03-01", None, "2026-03-03"], "rows[1].date", "not a day"),
    ],
)
def test_a_cell_that_cannot_be_sent_is_named_with_its_cure(column, values, where, cure):
    found = mistakes(full(**{column: pd.Series(values, dtype=object)}).set_index(pd.Index(["a", "b", "c"])))
    assert cure in found[where]
    label = "abc"[int(where[5])]
    assert f"row {label}, column '{column}'" in found[where]


def test_decimals_and_pandas_own_integers_are_numbers():
    [row, *_] = rows_from_frame(full(spend=[Decimal("1.25")] * 3, clicks=pd.array([1, 2, 3], dtype="Int64")))
    assert (row.spend, row.clicks) == (1.25, 1)


def test_a_frame_without_days_or_figures_or_rows_says_so():
    assert "no column 'date'" in mistakes(pd.DataFrame({"leads": [1, 2]}))["rows"]
    assert "expected a column spend" in mistakes(pd.DataFrame({"lead": [1]}, index=DAYS[:1]))["rows"]
    assert "no rows" in mistakes(full().iloc[:0])["rows"]


def test_a_column_that_would_be_overlooked_is_named():
    assert (
        "frame.rename(columns={'Leads': \"leads\"})"
        in mistakes(full().rename(columns={"leads": "Leads"}))["rows"]
    )
    twice = full()
    twice.columns = ["date", "spend", "spend", "clicks", "leads"]
    assert "name it once" in mistakes(twice)["rows"]


def test_a_hundred_mistakes_are_counted_not_listed():
    frame = pd.DataFrame({"leads": [-1.0] * 100}, index=pd.date_range("2026-01-01", periods=100))
    with pytest.raises(errors.InvalidArgument) as caught:
        rows_from_frame(frame)
    assert len(caught.value.violations) == 21
    assert "and 80 more mistakes" in str(caught.value)


def forecast(entity_id, values):
    return message(
        forecasting.Forecast,
        entity=entity_ref(1, "adset", entity_id),
        metric="leads",
        method="ema",
        days=[
            {
                "date": FIRST + dt.timedelta(days=at),
                "value": value,
                "interval": {"lower": 0, "upper": 9, "level": 0.9},
            }
            for at, value in enumerate(values)
        ],
    )


def test_a_batch_of_forecasts_has_a_row_a_day_and_one_for_an_error():
    response = forecasting.BatchForecastResponse()
    response.results.add(
        entity=entity_ref(1, "adset", "a"), metric="METRIC_LEADS", forecast=forecast("a", [1, 2])
    )
    failed = response.results.add(entity=entity_ref(1, "adset", "b"), metric="METRIC_LEADS")
    failed.error.code, failed.error.message = 9, "too little history"
    frame = to_frame(response)
    assert frame["entity_id"].tolist() == ["a", "a", "b"]
    assert frame["entity_type"].unique().tolist() == ["adset"]
    assert frame["value"].tolist()[:2] == [1.0, 2.0]
    assert frame["date"].tolist()[:2] == [pd.Timestamp("2026-03-01"), pd.Timestamp("2026-03-02")]
    assert frame[["lower", "upper"]].iloc[0].tolist() == [0.0, 9.0]
    assert frame["error"].tolist() == [None, None, "FAILED_PRECONDITION"]
    assert frame["error_message"].iloc[2] == "too little history"


def test_a_list_of_messages_is_a_frame_too():
    frame = to_frame([forecast("a", [1]), forecast("b", [2])])
    assert frame[["entity_id", "value"]].values.tolist() == [["a", 1.0], ["b", 2.0]]
    with pytest.raises(errors.InvalidArgument):
        to_frame([])


def test_words_days_and_what_is_missing():
    classification = message(
        classifier.Classification,
        tier="low",
        as_of_date=FIRST,
        metrics={"cpl": 2.5, "first_date": FIRST},
        warnings=[
            {"type": "stopped", "message": "stopped on Monday"},
            {"type": "few_leads", "message": "2 leads"},
        ],
        freshness={"stopped": True},
    )
    frame = to_frame(classifier.ClassifyResponse(classification=classification))
    [row] = frame.to_dict("records")
    assert (row["tier"], row["metrics_cpl"], row["as_of_date"]) == ("low", 2.5, pd.Timestamp(FIRST))
    assert row["warnings"] == "stopped on Monday; 2 leads"
    assert row["freshness_stopped"] is True
    assert row["rule_tier"] is None
    assert row["metrics_ctr_percent"] is None


def responses():
    """Every response of every contract, filled to the brim."""
    contracts = (anomaly, classifier, forecasting, impact, registry, training)
    for contract in contracts:
        for service in contract.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield getattr(contract, method.output_type.name)


def filled(kind, depth=0):
    """A message with something in every field; of a oneof the first."""
    out = kind()
    for field in out.DESCRIPTOR.fields:
        oneof = field.containing_oneof
        if oneof is not None and field is not oneof.fields[0]:
            continue
        if field.message_type is None:
            value = {9: "x", 8: True, 14: 1}.get(field.type, 1)
            getattr(out, field.name).append(value) if field.is_repeated else setattr(out, field.name, value)
        elif not field.message_type.GetOptions().map_entry and depth < 6:
            part = filled(message_class(field.message_type), depth + 1)
            if field.is_repeated:
                getattr(out, field.name).append(part)
            else:
                getattr(out, field.name).CopyFrom(part)
    return out


def message_class(descriptor):
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(descriptor)


@pytest.mark.parametrize(
    "kind", {one.DESCRIPTOR.name: one for one in responses()}.values(), ids=lambda one: one.DESCRIPTOR.name
)
def test_every_response_is_a_frame_with_or_without_rows(kind):
    frame, empty = to_frame(filled(kind)), to_frame(kind())
    assert frame.columns.tolist() == empty.columns.tolist()
    assert frame.columns.is_unique
    assert len(frame) == (
        0 if kind is forecasting.BacktestResponse else 1
    )  # what was filled in is its progress
    assert not any(isinstance(value, metrics_pb2.Interval) for value in frame.to_numpy().ravel())


def test_an_accounts_incidents_are_the_rows():
    incidents = [anomaly.Incident(incident_id="a", title="no leads"), anomaly.Incident(incident_id="b")]
    frame = to_frame(anomaly.DetectAccountAnomaliesResponse(incidents=incidents, assessed_count=9))
    assert frame["incident_id"].tolist() == ["a", "b"]


def test_tiers_of_a_batch():
    response = classifier.BatchClassifyResponse()
    response.results.add(entity=entity_ref(1, "ad", "1")).classification.tier = tier_pb2.TIER_MODERATE
    assert to_frame(response)["tier"].tolist() == ["moderate"]
    assert entity_pb2.ENTITY_TYPE_AD == 3
