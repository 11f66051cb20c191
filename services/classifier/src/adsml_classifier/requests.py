"""Questions about stored entities, as the command and the report ask them."""

from collections.abc import Iterator, Sequence
from typing import Final

from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import entity_pb2
from adsml_common.database import Database
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import NotFound
from adsml_common.serving.messages import entity_ref_message
from adsml_common.settings import load_settings
from adsml_common.store.entities import EntityStore

from adsml_classifier.settings import ClassifierSettings

# The contract's most.
_BATCH: Final = 1000


def batches(
    refs: Sequence[EntityRef], options: pb.ClassificationOptions
) -> Iterator[pb.BatchClassifyRequest]:
    """Requests for any number of stored entities, in order."""
    for start in range(0, len(refs), _BATCH):
        part = refs[start : start + _BATCH]
        subjects = [entity_pb2.Subject(entity=entity_ref_message(ref)) for ref in part]
        yield pb.BatchClassifyRequest(subjects=subjects, options=options)


def stored_refs(config_id: int, entity_type: EntityType) -> list[EntityRef]:
    """Every stored entity of a level; `NotFound` where the account has none."""
    database = Database.open(load_settings(ClassifierSettings).database_url)
    try:
        refs = [one.ref for one in EntityStore(database).list(config_id, entity_type=entity_type)]
    finally:
        database.close()
    if not refs:
        raise NotFound(
            f"account {config_id} has no {entity_type}; import some first, or choose another level"
        )
    return refs
