"""Answers as bytes against the same answers built field by field."""

from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import entity_pb2
from adsml_classifier import wire
from adsml_classifier.answering import Answer, answer
from adsml_classifier.converters import Teller
from adsml_classifier.features import NAMES
from adsml_classifier.panel import Panel
from adsml_classifier.rule import TIERS, RuleSettings
from adsml_classifier.standing import Standing
from adsml_common.domain.degradation import Degradation, DegradationReason
from adsml_common.domain.entities import EntityType
from adsml_common.registry.loader import Loaded
from adsml_common.registry.models import ModelStatus, ModelVersion
from adsml_common.serving.messages import ENTITY_TYPE
from adsml_simulate import SimulatedAccount

LAST_DAY = date(2026, 3, 31)
VERSION = ModelVersion(
    name="classifier/1", version=7, model_type="tier_xgboost", config_id=1, entity_type=None, entity_id=None,
    artifact_uri="", sha256="", size_bytes=0, format_version=1, parameters={}, feature_columns=NAMES,
    training_metrics={}, samples_count=0, window_start=None, window_end=None, code_version="", library_versions={},
    run_id=None, status=ModelStatus.ACTIVE, created_at=datetime(2026, 4, 1, tzinfo=UTC),
)  # fmt: skip


class Scorer:
    """Probabilities and contributions that differ from row to row; one probability is 0."""

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        raw = np.abs(np.nan_to_num(x[:, :4], nan=1.0).astype(np.float64)) + 0.01
        raw[0, 2] = 0.0
        return raw / raw.sum(axis=1, keepdims=True)

    def contributions(self, x: np.ndarray) -> np.ndarray:
        return np.random.default_rng(1).normal(size=(len(x), len(TIERS), x.shape[1] + 1))


def test_bytes_say_what_the_messages_say(account: SimulatedAccount) -> None:
    standing = Standing.of(Panel.of(account.daily), LAST_DAY, RuleSettings())
    names = [name for name, row in standing.rows.items() if standing.delivered[row]]
    rows = [standing.rows[name] for name in names]
    refs = [
        entity_pb2.EntityRef(config_id=1, entity_type=ENTITY_TYPE.to_wire(EntityType(level)), entity_id=name)
        for level, name in names
    ]
    told = (Degradation("model x", DegradationReason.STALE, "for the test"),)
    loaded: Loaded[Any] = Loaded(SimpleNamespace(model=Scorer()), VERSION, told)
    for reasons in (0, 3):
        tell = Teller(LAST_DAY, version=VERSION, degradations=told)
        plain = pb.ClassifyEntitiesResponse(
            results=[
                pb.ClassifyEntitiesResult(entity=ref, classification=tell(one))
                for ref, one in zip(
                    refs, answer(standing, names, model=Scorer(), most_contributions=reasons), strict=True
                )
            ]
        )
        # From scratch, from what the standing keeps, and twice from results that are kept.
        for keep in (False, False, True, True):
            answers = wire.StoredAnswers.of(standing, loaded)
            assert [answers.row(ref) for ref in refs] == rows
            results = wire.Results(len(refs))
            made = answers.results(refs, rows, contributions=reasons, keep=keep)
            results.put_stored(range(len(refs)), made, answers.degradations)
            quick = results.packed()
            assert quick.message() == plain
            assert answers.missing(rows, contributions=reasons) == (0 if keep else len(rows))
            # One by itself is written in another way.
            alone = wire.Results(1)
            [one] = answers.results(refs[-1:], rows[-1:], contributions=reasons, keep=False)
            alone.put_stored([0], [one], answers.degradations)
            [by_itself] = answer(standing, names[-1:], model=Scorer(), most_contributions=reasons)
            assert isinstance(by_itself, Answer)
            assert alone.packed().message().results[0].classification == tell(by_itself)
            # What is counted is what stands in the answer.
            assert list(quick.degradations) == [
                one for r in plain.results for one in r.classification.degradations
            ]
    assert len(names) > 20
