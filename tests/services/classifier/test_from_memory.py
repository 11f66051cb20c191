"""Calls answered from memory say what the methods say, or nothing."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import entity_pb2
from adsml_classifier.server import OpenService, open_service
from adsml_classifier.settings import ClassifierSettings
from adsml_common.database import Database
from adsml_common.registry.registry import ModelRegistry
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import day_message
from adsml_common.store.metrics import MetricStore
from adsml_simulate import SimulatedAccount

from .conftest import LAST_DAY

CALL = CallContext()
# However slow the machine, it is the clocks of the tests that decide when something is due.
PATIENT = {"data_max_age_seconds": 60.0, "poll_seconds": 600.0}
NONE = pb.ClassificationOptions(max_contributions=0, max_reasons=0)
REASONS = pb.ClassificationOptions(max_contributions=3)
EARLIER = pb.ClassificationOptions(
    as_of_date=day_message(LAST_DAY - timedelta(days=3)), max_contributions=0, max_reasons=0
)


@pytest.fixture
def opened(trained: ModelRegistry, settings: ClassifierSettings) -> Iterator[OpenService]:
    made = open_service(settings.model_copy(update=PATIENT))
    yield made
    made.close()


@pytest.fixture
def names(account: SimulatedAccount) -> list[str]:
    week = account.daily[account.daily["date"] > account.daily["date"].max() - timedelta(days=7)]
    busy = week[(week["entity_type"] == "ad") & (week["impressions"] > 0)]
    return sorted(busy["entity_id"].unique())[:6]


def subject(name: str) -> entity_pb2.Subject:
    ref = entity_pb2.EntityRef(config_id=1, entity_type=entity_pb2.ENTITY_TYPE_AD, entity_id=name)
    return entity_pb2.Subject(entity=ref)


def batch(names: list[str], options: pb.ClassificationOptions | None = None) -> pb.BatchClassifyRequest:
    return pb.BatchClassifyRequest(subjects=[subject(one) for one in names], options=options)


def from_memory(opened: OpenService, *requests: pb.BatchClassifyRequest) -> list[Any]:
    return list(opened.service.batch_classify_from_memory([(one, CALL) for one in requests]))


def by_method(opened: OpenService, request: pb.BatchClassifyRequest) -> pb.BatchClassifyResponse:
    return opened.service.BatchClassify(request, CALL).message()


def rounded(response: pb.BatchClassifyResponse) -> pb.BatchClassifyResponse:
    """Without the last digits: sums over one row and over many go in another order."""
    for result in response.results:
        one = result.classification
        one.confidence = round(one.confidence, 9)
        for probability in one.probabilities:
            probability.probability = round(probability.probability, 9)
        for contribution in one.contributions:
            contribution.contribution = round(contribution.contribution, 6)
    return response


@pytest.mark.parametrize("cached", [True, False])
def test_calls_of_any_options_are_answered_as_one_by_one(
    trained: ModelRegistry, settings: ClassifierSettings, names: list[str], cached: bool
) -> None:
    given = settings.model_copy(update=PATIENT | {"cache_responses": cached})
    opened = open_service(given)
    try:
        requests = [
            batch(names[:1], NONE),
            batch(names[1:3], REASONS),
            batch(names[2:], EARLIER),
            batch(list(reversed(names)), NONE),
        ]
        expected = [rounded(by_method(opened, one)) for one in requests]
        assert all(result.HasField("classification") for one in expected for result in one.results)
        for _ in range(2):
            assert [rounded(one.message()) for one in from_memory(opened, *requests)] == expected
        single = pb.ClassifyRequest(subject=subject(names[0]), options=NONE)
        [alone] = opened.service.classify_from_memory([(single, CALL)])
        assert alone is not None
        given_alone = pb.BatchClassifyResult(classification=alone.message().classification)
        assert (
            rounded(pb.BatchClassifyResponse(results=[given_alone])).results[0].classification
            == expected[0].results[0].classification
        )
    finally:
        opened.close()


def test_the_first_question_answers_for_the_whole_account(opened: OpenService, names: list[str]) -> None:
    by_method(opened, batch(names[:1], REASONS))
    runs: list[int] = []
    loaded = opened.models.get("classifier/1")
    assert loaded is not None
    probabilities = loaded.model.model.probabilities
    object.__setattr__(loaded.model.model, "probabilities", lambda x: runs.append(len(x)) or probabilities(x))
    assert len(by_method(opened, batch(names, REASONS)).results) == len(names)
    assert None not in from_memory(opened, batch(names, REASONS))
    assert not runs


def test_what_memory_does_not_hold_is_left_to_the_method(opened: OpenService, names: list[str]) -> None:
    assert from_memory(opened, batch(names)) == [None]
    by_method(opened, batch(names))
    other = batch(names)
    other.subjects[0].entity.config_id = 2
    inline = pb.BatchClassifyRequest(
        subjects=[entity_pb2.Subject(inline=entity_pb2.InlineSeries(config_id=1))]
    )
    answers = from_memory(
        opened,
        batch(names),
        batch([*names, "nobody"]),
        batch(names, EARLIER),
        batch(names, pb.ClassificationOptions(rules_only=True)),
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
    opened = open_service(settings.model_copy(update=PATIENT | {"data_max_age_seconds": 10.0}))
    try:
        opened.service._accounts._clock = lambda: now[0]
        before = by_method(opened, batch(names))
        now[0] = 11.0
        first, second = from_memory(opened, batch(names), batch(names))
        assert first is None
        assert second.message() == before
        now[0] = 21.0
        assert from_memory(opened, batch(names), batch(names)) == [None, None]
        rows = account.daily[account.daily["entity_id"].isin(names)]
        MetricStore(stored).upsert_daily(1, rows.assign(spend=2 * rows["spend"]), source="test")
        after = by_method(opened, batch(names))
        assert after.results[0].classification.metrics != before.results[0].classification.metrics
        [again] = from_memory(opened, batch(names))
        assert again.message() == after
    finally:
        opened.close()


def test_reasons_for_many_are_not_computed_on_the_event_loop(
    trained: ModelRegistry, settings: ClassifierSettings, names: list[str]
) -> None:
    given = settings.model_copy(update=PATIENT | {"cache_responses": False})
    opened = open_service(given)
    try:
        by_method(opened, batch(names[:1], REASONS))
        # Each alone is little work; no more of it is taken on in one turn than a turn should last.
        answers = from_memory(opened, *(batch([one], REASONS) for one in names))
        assert [one is not None for one in answers] == [True] * 4 + [False] * (len(names) - 4)
    finally:
        opened.close()
