"""Daily rows read column by column say what rows read one by one say."""

import datetime as dt

import numpy as np
import pytest
from adsml.common.v1 import entity_pb2, metrics_pb2
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_common.serving import rows as module
from adsml_common.serving.messages import series_frame
from adsml_common.serving.rows import daily_rows
from google.type import date_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
dates = st.builds(date_pb2.Date, year=INT32, month=INT32, day=INT32) | st.builds(
    date_pb2.Date, year=st.just(2024), month=st.integers(0, 13), day=st.integers(0, 32)
)
daily = st.builds(
    metrics_pb2.DailyMetrics,
    date=st.none() | dates,
    spend=st.none() | st.floats(),
    impressions=st.none() | INT64,
    clicks=st.none() | st.integers(0, 300),
    leads=st.none() | st.floats(),
    reach=st.none() | INT64,
)
series = st.builds(
    entity_pb2.InlineSeries,
    config_id=st.none() | INT64,
    entity_type=st.sampled_from([0, 1, 2, 3]),
    entity_id=st.text(max_size=20),
    rows=st.lists(daily, max_size=12),
    account_rows=st.lists(daily, max_size=3),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(series, max_size=6))
def test_both_ways_of_reading_agree_whatever_was_sent(many):
    for field, number in (("rows", 4), ("account_rows", 5)):
        total = sum(len(getattr(one, field)) for one in many)
        columnar = module._columnar(many, number, total)
        plain = module._one_by_one(one for each in many for one in getattr(each, field))
        assert columnar is not None
        for fast, slow in zip(columnar, plain, strict=True):
            np.testing.assert_array_equal(fast, slow)


def test_rows_with_fields_of_a_newer_contract_are_read_all_the_same():
    newer = metrics_pb2.DailyMetrics(spend=1.0, leads=2.0).SerializeToString() + b"\xa0\x06\x01"
    row = metrics_pb2.DailyMetrics.FromString(newer)
    many = [entity_pb2.InlineSeries(rows=[row] * 200)]
    assert module._columnar(many, 4, 200) is None
    assert daily_rows(many).values[0].tolist() == [1.0] * 200


def day(number, **changed):
    date = dt.date(2024, 1, 1) + dt.timedelta(days=number)
    good = {"spend": 10.0, "impressions": 100, "clicks": 5, "leads": 1.0}
    return metrics_pb2.DailyMetrics(
        date=date_pb2.Date(year=date.year, month=date.month, day=date.day), **(good | changed)
    )


@pytest.mark.parametrize("count", [3, 200])
def test_a_series_becomes_a_daily_frame_in_the_order_of_its_days(count):
    sent = [day(number, reach=number) for number in reversed(range(count))]
    inline = entity_pb2.InlineSeries(entity_type=2, entity_id="42", rows=sent)
    frame = series_frame(inline, "subject.inline")
    assert list(frame["date"].dt.day[:3]) == [1, 2, 3]
    assert frame["reach"].tolist() == list(range(count))
    assert set(frame["entity_type"]) == {"adset"}
    assert set(frame["entity_id"]) == {"42"}
    assert frame["date"].is_monotonic_increasing


@pytest.mark.parametrize("padding", [0, 200])
def test_everything_that_is_wrong_is_told_at_once_with_its_place(padding):
    wrong = [
        day(0, spend=-1.0),
        day(0),
        day(1, spend=float("nan"), leads=float("inf")),
        metrics_pb2.DailyMetrics(spend=1, impressions=1, clicks=1, leads=1),
        metrics_pb2.DailyMetrics(
            date=date_pb2.Date(year=2023, month=2, day=29), spend=1, impressions=1, clicks=1, leads=1
        ),
        day(2, reach=-3),
    ]
    wrong[1].date.day = 0
    missing = day(3)
    missing.ClearField("clicks")
    rows = [*wrong, missing, day(2), *(day(10 + number) for number in range(padding))]
    with pytest.raises(InvalidInput) as caught:
        series_frame(entity_pb2.InlineSeries(rows=rows), "subject.inline")
    assert {one.path.removeprefix("subject.inline.") for one in caught.value.violations} == {
        "rows[0].spend",
        "rows[1].date",
        "rows[2].spend",
        "rows[2].leads",
        "rows[3].date",
        "rows[4].date",
        "rows[5].reach",
        "rows[6].clicks",
        "rows[7].date",
    }


def test_many_series_in_one_frame_and_the_wrong_ones_apart():
    many = [
        entity_pb2.InlineSeries(rows=[day(1), day(0)]),
        entity_pb2.InlineSeries(rows=[day(0), day(0)]),
        entity_pb2.InlineSeries(rows=[day(5)]),
    ]
    rows = daily_rows(many)
    found = rows.violations(lambda at: f"subjects[{at}].inline.rows")
    assert [one.path for one in found[1]] == ["subjects[1].inline.rows[1].date"]
    assert set(found) == {1}
    frame = rows.frame([(EntityType.AD, name) for name in "abc"])
    assert frame["entity_id"].tolist() == ["a", "a", "b", "b", "c"]
