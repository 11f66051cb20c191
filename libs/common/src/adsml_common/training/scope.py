"""What a training run covers, in the one form that commands, services and records share; and which shard has what."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adsml_common.domain.entities import EntityType
from adsml_common.training.records import Item


@dataclass(frozen=True, slots=True)
class Scope:
    """Accounts, a level, entities of one account and level; empty: every entity of every account."""

    config_ids: tuple[int, ...] = ()
    entity_type: EntityType | None = None
    entity_ids: tuple[str, ...] = ()

    def parameters(self) -> dict[str, Any]:
        """As a run's record holds it: the same for the same entities, in whatever order they were named."""
        return {
            "config_ids": sorted(set(self.config_ids)),
            "entity_type": None if self.entity_type is None else self.entity_type.value,
            "entity_ids": sorted(set(self.entity_ids)),
        }

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> "Scope":
        """The scope in a run's record."""
        level = parameters.get("entity_type")
        return cls(
            config_ids=tuple(parameters.get("config_ids") or ()),
            entity_type=EntityType(level) if level else None,
            entity_ids=tuple(parameters.get("entity_ids") or ()),
        )

    def covered(self, items: Sequence[Item]) -> list[Item]:
        """The items that this scope covers.

        A model that is no single level's, or no single entity's, is covered where what it answers for is not
        trained by entity: the classifier of an account also with a scope of some of its ad sets.
        """
        level, names = self.entity_type, set(self.entity_ids)
        kept = [one for one in items if level is None or one.entity_type in (None, level)]
        if names and any(one.entity_id is not None for one in kept):
            kept = [one for one in kept if one.entity_id in names]
        return kept


def shard_of(key: str, shard_count: int) -> int:
    """Shard of an item, from 0 to `shard_count` - 1; it stays there when others come or go.

    By a hash of the key, since Python's own differs from process to process.
    """
    return _hash(key) % shard_count


def group_of(key: str, *, within: str, members: int, most: int) -> str:
    """The group of one of `members` items that share something, e.g. the account `within`: all, or about `most`.

    Larger groups are split by a hash of `key`, so that no shard is left with too much.
    """
    parts = max(1, -(-members // most))
    return within if parts == 1 else f"{within}#{_hash(key) % parts}"


def _hash(key: str) -> int:
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
