"""Recording a judgement: who, when, and what it replaces."""

import datetime as dt

import pytest
from adsml.common.v1 import feedback_pb2
from adsml_common.database import Database
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput, NotFound
from adsml_common.serving.context import CallContext, Caller
from adsml_common.serving.feedback import FeedbackRecorder
from adsml_common.store.entities import EntityStore
from adsml_common.store.feedback import FeedbackStore
from google.type import date_pb2

ADSET = EntityRef(1, EntityType.ADSET, "s")
TODAY = dt.date(2024, 5, 1)


@pytest.fixture
def recorder(database: Database) -> FeedbackRecorder:
    EntityStore(database).upsert([Entity(ADSET)])
    return FeedbackRecorder(FeedbackStore(database), "classifier", today=lambda: TODAY)


def feedback(day: int = 1, **changed: object) -> feedback_pb2.Feedback:
    given = {
        "entity": {"config_id": 1, "entity_type": 2, "entity_id": "s"},
        "date": date_pb2.Date(year=2024, month=5, day=day),
        "person": "ada",
    }
    return feedback_pb2.Feedback(**(given | changed))


def test_a_new_judgement_replaces_the_same_persons_earlier_one(recorder: FeedbackRecorder) -> None:
    first = recorder.record(feedback(), "low", CallContext())
    assert (first.entity, first.receipt.changed, first.replaced_label) == (ADSET, True, None)
    other = recorder.record(feedback(person="bob"), "moderate", CallContext())
    assert (other.receipt.changed, other.replaced_label) == (True, None)
    second = recorder.record(feedback(), "high_performer", CallContext())
    assert (second.receipt.changed, second.replaced_label) == (True, "low")


def test_the_same_again_changes_nothing(recorder: FeedbackRecorder) -> None:
    first = recorder.record(feedback(), "low", CallContext())
    again = recorder.record(feedback(), "low", CallContext())
    assert (again.receipt.changed, again.replaced_label) == (False, None)
    assert again.receipt.record_time == first.receipt.record_time


def test_the_caller_judges_where_nobody_is_named(recorder: FeedbackRecorder, database: Database) -> None:
    recorder.record(feedback(person=""), "low", CallContext(caller=Caller("dashboard")))
    (stored,) = FeedbackStore(database).latest("classifier", 1)
    assert stored.person == "dashboard"
    with pytest.raises(InvalidInput) as caught:
        recorder.record(feedback(person=""), "low", CallContext())
    assert caught.value.violations[0].path == "feedback.person"


def test_a_day_that_has_not_come_is_refused(recorder: FeedbackRecorder) -> None:
    # One day of grace: it may be tomorrow already where the account is.
    assert recorder.record(feedback(day=2), "low", CallContext()).receipt.changed
    with pytest.raises(InvalidInput) as caught:
        recorder.record(feedback(day=3), "low", CallContext())
    assert caught.value.violations[0].path == "feedback.date"


def test_what_is_not_stored_is_not_found(recorder: FeedbackRecorder) -> None:
    with pytest.raises(NotFound):
        recorder.record(
            feedback(entity={"config_id": 1, "entity_type": 2, "entity_id": "x"}), "low", CallContext()
        )
