"""The typed helpers of the classifier, against a real server."""

import datetime as dt

import pandas as pd
import pytest
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.classifier.v1 import classifier_service_pb2_grpc as pb_grpc
from adsml.common.v1 import answer_pb2, entity_pb2, tier_pb2
from adsml_client import DailyRow, EntityRef, Series, connect, errors
from adsml_client.classifier import ClassifierClient, frame
from adsml_client.values import rows_of
from adsml_common.domain.errors import InsufficientHistory
from adsml_common.serving.errors import status_of
from adsml_common.serving.server import ServerBuilder
from google.type import date_pb2
from support.serving import settings

TODAY = date_pb2.Date(year=2024, month=5, day=7)


class Classifier:
    """Answers with what it was asked."""

    def __init__(self):
        self.sizes = []

    def ClassifyEntities(self, request, context):
        self.sizes.append(len(request.subjects))
        return pb.ClassifyEntitiesResponse(results=[self._one(subject) for subject in request.subjects])

    def _one(self, subject):
        ref = (
            subject.entity
            if subject.HasField("entity")
            else entity_pb2.EntityRef(
                entity_id=subject.inline.entity_id, entity_type=subject.inline.entity_type
            )
        )
        if ref.entity_id == "new":
            return pb.ClassifyEntitiesResult(
                entity=ref, error=status_of(InsufficientHistory("ad new", had=2, needed=7))
            )
        made = pb.Classification(
            tier=tier_pb2.TIER_LOW,
            confidence=0.7,
            as_of_date=TODAY,
            probabilities=[pb.TierProbability(tier=tier_pb2.TIER_LOW, probability=0.7)],
            contributions=[
                pb.FeatureContribution(feature="cpl", contribution=0.4, explanation="CPL is high")
            ],
            answered_by=answer_pb2.AnsweredBy(
                source=answer_pb2.ANSWER_SOURCE_MODEL,
                model=answer_pb2.ModelRef(name="classifier/1", version=3),
            ),
            degradations=[
                answer_pb2.Degradation(
                    dependency="account baseline", reason=answer_pb2.DEGRADATION_REASON_NO_DATA, detail="none"
                )
            ],
        )
        made.metrics.spend = 12.5
        return pb.ClassifyEntitiesResult(entity=ref, classification=made)

    def ClassifyNewEntity(self, request, context):
        return pb.ClassifyNewEntityResponse(
            classification=self._one(request.subject).classification,
            transfer=pb.TransferDetail(trained_on=[1], own_days=2, confidence_factor=0.85),
        )

    def RecordFeedback(self, request, context):
        return pb.RecordFeedbackResponse(changed=True, replaced_tier=request.tier)


@pytest.fixture
def service():
    classifier = Classifier()
    built = ServerBuilder(settings()).add(
        pb_grpc.add_ClassifierServiceServicer_to_server, classifier, "adsml.classifier.v1.ClassifierService"
    )
    with built.start() as server, connect(server.target) as connection:
        yield ClassifierClient(connection), classifier


def test_a_batch_comes_back_as_values_and_typed_errors(service):
    client, _ = service
    batch = client.classify_entities([EntityRef(1, "ad", "7"), EntityRef(1, "ad", "new")])
    first, second = batch
    assert (first.entity, first.tier, first.confidence) == (EntityRef(1, "ad", "7"), "low", 0.7)
    assert first.as_of == dt.date(2024, 5, 7)
    assert first.probabilities == {"low": 0.7}
    assert first.metrics["spend"] == 12.5
    assert first.metrics["cpl"] is None
    assert first.answered_by.model.version == 3
    assert first.degradations[0].reason == "no_data"
    assert isinstance(second, errors.FailedPrecondition)
    assert second.metadata == {"days_had": "2", "days_needed": "7"}
    assert list(batch.errors()) == [1]
    assert frame(batch)["tier"].tolist() == ["low"]


def test_long_batches_are_split(service):
    client, classifier = service
    batch = client.classify_entities([EntityRef(1, "ad", str(one)) for one in range(2_500)])
    assert classifier.sizes == [1000, 1000, 500]
    assert [one.entity.entity_id for one in batch][::500] == ["0", "500", "1000", "1500", "2000"]


def test_rows_of_a_frame_are_sent_along(service):
    client, _ = service
    data = pd.DataFrame(
        {"date": ["2024-05-01"], "spend": [1.5], "impressions": [10], "clicks": [1], "leads": [0.0]}
    )
    rows = rows_of(data)
    assert rows == [DailyRow(dt.date(2024, 5, 1), 1.5, 10, 1, 0.0, None)]
    [one] = client.classify_entities([Series(rows, entity_type="ad", entity_id="x")])
    assert one.entity.entity_id == "x"
    with pytest.raises(ValueError, match="no column clicks"):
        rows_of(data.drop(columns="clicks"))


def test_a_new_entity_and_feedback(service):
    client, _ = service
    found, transfer = client.classify_new_entity(EntityRef(1, "ad", "7"))
    assert (found.tier, transfer.trained_on, transfer.confidence_factor) == ("low", ["campaign"], 0.85)
    recorded = client.record_feedback(EntityRef(1, "ad", "7"), dt.date(2024, 5, 1), "moderate", person="ada")
    assert (recorded.changed, recorded.replaced_tier) == (True, "moderate")


def test_a_bad_request_names_its_fields(service):
    client, _ = service
    with pytest.raises(errors.InvalidArgument) as caught:
        client.record_feedback(EntityRef(0, "ad", ""), dt.date(2024, 5, 1), "moderate")
    assert {one.path for one in caught.value.violations} == {"entity.config_id", "entity.entity_id"}
    with pytest.raises(ValueError, match="is none of campaign, adset, ad"):
        client.record_feedback(EntityRef(1, "account", "a"), dt.date(2024, 5, 1), "moderate")
