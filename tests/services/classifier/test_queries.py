"""A batch costs as many queries as one entity: it is read as an account, not entity by entity."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import entity_pb2
from adsml_classifier.server import OpenService, open_service
from adsml_classifier.settings import ClassifierSettings
from adsml_common.database import Database
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import entity_ref_message
from adsml_simulate import SimulatedAccount
from sqlalchemy import event


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """What is sent to the database meanwhile."""
    sent: list[str] = []

    def note(*args: object) -> None:
        sent.append(str(args[2]))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def ask(opened: OpenService, ids: list[str]) -> tuple[int, int]:
    """Classify ad sets; the results, and the queries that read days' figures."""
    subjects = [
        entity_pb2.Subject(entity=entity_ref_message(EntityRef(1, EntityType.ADSET, one))) for one in ids
    ]
    with statements(opened.database) as sent:
        answer = opened.service.BatchClassify(
            pb.BatchClassifyRequest(subjects=subjects), CallContext()
        ).message()
    reads = [one for one in sent if "FROM daily_metrics" in one and "impressions" in one]
    return len(answer.results), len(reads)


# PostgreSQL gives the rows by COPY, which is not seen as a statement.
@pytest.mark.parametrize("dialect", ["sqlite"])
def test_a_thousand_entities_are_read_in_one_query_and_then_in_none(
    stored: Database, settings: ClassifierSettings, account: SimulatedAccount
) -> None:
    ids = [one.ref.entity_id for one in account.entities if one.ref.entity_type is EntityType.ADSET]
    thousand = (ids * (1000 // len(ids) + 1))[:1000]
    opened = open_service(settings)
    try:
        assert ask(opened, thousand) == (1000, 1)
        # Nothing changed since: what is in memory still holds.
        assert ask(opened, thousand) == (1000, 0)
    finally:
        opened.close()
