"""The second way of ClassifyEntities says what the first one says, or nothing."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import entity_pb2
from adsml_classifier.server import Opened, open_servicer
from adsml_classifier.settings import ClassifierSettings
from adsml_common.database import Database
from adsml_common.registry.registry import ModelRegistry
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import day_message
from adsml_common.store.metrics import MetricStore
from adsml_simulate import SimulatedAccount

from .conftest import LAST_DAY

CALL = CallContext()
NONE = pb.ClassificationOptions(max_contributions=0)
REASONS = pb.ClassificationOptions(max_contributions=3)
EARLIER = pb.ClassificationOptions(as_of_date=day_message(LAST_DAY - timedelta(days=3)), max_contributions=0)


@pytest.fixture
def opened(trained: ModelRegistry, settings: ClassifierSettings) -> Iterator[Opened]:
    made = open_servicer(settings.model_copy(update={"data_max_age_seconds": 60.0}))
    yield made
    made.close()


@pytest.fixture
def names(account: SimulatedAccount) -> list[str]:
    week = account.daily[account.daily["date"] > account.daily["date"].max() - timedelta(days=7)]
    busy = week[(week["entity_type"] == "ad") & (week["impressions"] > 0)]
    return sorted(busy["entity_id"].unique())[:6]


def asked(names: list[str], options: pb.ClassificationOptions | None = None) -> pb.ClassifyEntitiesRequest:
    refs = [
        entity_pb2.EntityRef(config_id=1, entity_type=entity_pb2.ENTITY_TYPE_AD, entity_id=one)
        for one in names
    ]
    return pb.ClassifyEntitiesRequest(
        subjects=[entity_pb2.Subject(entity=ref) for ref in refs], options=options
    )


def quickly(opened: Opened, *requests: pb.ClassifyEntitiesRequest) -> list[Any]:
    return list(opened.service.classify_at_once([(one, CALL) for one in requests]))


def slowly(opened: Opened, request: pb.ClassifyEntitiesRequest) -> pb.ClassifyEntitiesResponse:
    return opened.service.ClassifyEntities(request, CALL).message()


def rounded(response: pb.ClassifyEntitiesResponse) -> pb.ClassifyEntitiesResponse:
    """Without the last digits: sums over one row and over many go in another order."""
    for result in response.results:
        told = result.classification
        told.confidence = round(told.confidence, 9)
        for one in told.probabilities:
            one.probability = round(one.probability, 9)
        for why in told.contributions:
            why.contribution = round(why.contribution, 9)
    return response


@pytest.mark.parametrize("keep", [True, False])
def test_calls_of_any_options_are_answered_as_one_by_one(
    trained: ModelRegistry, settings: ClassifierSettings, names: list[str], keep: bool
) -> None:
    given = settings.model_copy(update={"data_max_age_seconds": 60.0, "keep_answers": keep})
    opened = open_servicer(given)
    try:
        requests = [
            asked(names[:1], NONE),
            asked(names[1:3], REASONS),
            asked(names[2:], EARLIER),
            asked(list(reversed(names)), NONE),
        ]
        expected = [rounded(slowly(opened, one)) for one in requests]
        assert all(result.HasField("classification") for one in expected for result in one.results)
        for _ in range(2):
            assert [rounded(one.message()) for one in quickly(opened, *requests)] == expected
    finally:
        opened.close()


def test_what_memory_does_not_hold_is_left_to_the_long_way(opened: Opened, names: list[str]) -> None:
    assert quickly(opened, asked(names)) == [None]
    slowly(opened, asked(names))
    other = asked(names)
    other.subjects[0].entity.config_id = 2
    inline = pb.ClassifyEntitiesRequest(
        subjects=[entity_pb2.Subject(inline=entity_pb2.InlineSeries(config_id=1))]
    )
    answers = quickly(
        opened,
        asked(names),
        asked([*names, "nobody"]),
        asked(names, EARLIER),
        asked(names, pb.ClassificationOptions(rules_only=True)),
        other,
        inline,
    )
    assert [one is not None for one in answers] == [True, False, False, False, False, False]


def test_one_call_asks_the_store_when_it_is_time_and_the_others_are_answered(
    stored: Database,
    trained: ModelRegistry,
    settings: ClassifierSettings,
    account: SimulatedAccount,
    names: list[str],
) -> None:
    now = [0.0]
    opened = open_servicer(settings.model_copy(update={"data_max_age_seconds": 10.0}))
    try:
        opened.service._accounts._clock = lambda: now[0]  # type: ignore[attr-defined]
        before = slowly(opened, asked(names))
        now[0] = 11.0
        first, second = quickly(opened, asked(names), asked(names))
        assert first is None
        assert second.message() == before
        now[0] = 21.0
        assert quickly(opened, asked(names), asked(names)) == [None, None]
        rows = account.daily[account.daily["entity_id"].isin(names)]
        MetricStore(stored).upsert_daily(1, rows.assign(spend=2 * rows["spend"]), source="test")
        after = slowly(opened, asked(names))
        assert after.results[0].classification.metrics != before.results[0].classification.metrics
        [kept] = quickly(opened, asked(names))
        assert kept.message() == after
    finally:
        opened.close()


def test_reasons_for_many_are_not_worked_out_on_the_event_loop(opened: Opened, names: list[str]) -> None:
    slowly(opened, asked(names[:1]))
    # Each alone is little work; no more of it is taken on in one turn than a turn should last.
    answers = quickly(opened, *(asked([one], REASONS) for one in names))
    assert [one is not None for one in answers] == [True] * 4 + [False] * (len(names) - 4)
    slowly(opened, asked(names, REASONS))
    assert None not in quickly(opened, asked(names, REASONS))
