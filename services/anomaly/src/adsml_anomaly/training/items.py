"""What a run of the training job covers; apart from training itself, so that listing it loads no kernels."""

from collections.abc import Sequence
from typing import Final

from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.store.entities import EntityStore
from adsml_common.training.records import Item
from adsml_common.training.scope import group_of

JOB: Final = "anomaly-detectors"
GROUP: Final = 1000
"""Entities of an account that are trained where what they have in common was learned: it costs as much as some
hundred of them, so that this many are worth it, and another shard may have the others."""


def items_of(
    database: Database, config_ids: Sequence[int], *, entity_type: EntityType | None = None
) -> list[Item]:
    """What a run covers: each account's pooled models, and one item per entity, of one level where that is given."""
    store, out = EntityStore(database), list[Item]()
    levels = [entity_type] if entity_type is not None else list(EntityType)
    for config_id in config_ids:
        found = {level: store.list(config_id, entity_type=level) for level in levels}
        members = sum(map(len, found.values()))
        out.append(_item(members, config_id))
        for level, entities in found.items():
            if entities:
                out.append(_item(members, config_id, level))
            out.extend(_item(members, config_id, level, one.ref.entity_id) for one in entities)
    return out


def _item(
    members: int, config_id: int, level: EntityType | None = None, entity_id: str | None = None
) -> Item:
    key = "/".join(str(part) for part in (config_id, level, entity_id) if part is not None)
    group = group_of(key, within=str(config_id), members=members, most=GROUP)
    return Item(key, config_id, level, entity_id, group=group)
