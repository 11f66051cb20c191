"""The account's tree: who belongs where, who shares whose budget, and what was changed above and below an entity."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Final

from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.entities import EntityType

Key = tuple[EntityType, str]
"""(level, id) of an entity."""

MATERIAL_SHARE: Final = 0.2
"""From this share of an entity's descendants on, their change is one of the entity."""


@dataclass(frozen=True, slots=True)
class Relation:
    """What is known of an entity's place in the account's tree."""

    parent_id: str | None = None  # one level above
    shares_budget: bool | None = None  # whether its budget is set at its parent; None: not known


@dataclass(frozen=True)
class Tree:
    """Entities of one account, by level and id over all levels that are known, and changes of any of them."""

    relations: Mapping[Key, Relation] = field(default_factory=dict)  # over all levels that are known
    events: Sequence[ChangeEvent] = ()  # changes of any entity

    @cached_property
    def children(self) -> Mapping[Key, list[Key]]:
        """Entities one level below."""
        out: defaultdict[Key, list[Key]] = defaultdict(list)
        for (level, name), relation in self.relations.items():
            if level.parent_type is not None and relation.parent_id is not None:
                out[level.parent_type, relation.parent_id].append((level, name))
        return out

    @cached_property
    def _by_entity(self) -> Mapping[Key, list[ChangeEvent]]:
        out: defaultdict[Key, list[ChangeEvent]] = defaultdict(list)
        for event in self.events:
            out[event.entity.entity_type, event.entity.entity_id].append(event)
        return out

    def budget_pool(self, key: Key) -> Key:
        """The entity at which the budget is set: itself or an ancestor.

        Ads never have a budget of their own; an ad set has one unless its campaign's is shared.
        """
        level, _ = key
        relation = self.relations.get(key, Relation())
        if level.parent_type is None or relation.parent_id is None:
            return key
        if level is EntityType.AD or relation.shares_budget:
            return self.budget_pool((level.parent_type, relation.parent_id))
        return key

    def lineage(self, key: Key) -> list[Key]:
        """The entity and its ancestors."""
        level, _ = key
        relation = self.relations.get(key, Relation())
        if level.parent_type is None or relation.parent_id is None:
            return [key]
        return [key, *self.lineage((level.parent_type, relation.parent_id))]

    def descendants(self, key: Key) -> list[Key]:
        """Everything below an entity."""
        out = []
        for child in self.children.get(key, ()):
            out += [child, *self.descendants(child)]
        return out

    def changes(self, keys: Iterable[Key], first: date, last: date) -> list[ChangeEvent]:
        """Changes of entities on some days, in order of day."""
        events = [
            event for key in keys for event in self._by_entity.get(key, ()) if first <= event.date <= last
        ]
        return sorted(events, key=lambda event: (event.date, event.entity, event.change_type))

    def changed_share(self, key: Key, first: date, last: date) -> float:
        """Share of an entity that was changed on some days: 1 for itself, else the mean over what is below it."""
        if any(first <= event.date <= last for event in self._by_entity.get(key, ())):
            return 1.0
        children = self.children.get(key, ())
        if not children:
            return 0.0
        return sum(self.changed_share(child, first, last) for child in children) / len(children)

    def taint(self, key: Key, pools: Iterable[Key], first: date, last: date) -> str | None:
        """Why an entity can't stand in for the treated, whose budgets are set at `pools`; None: nothing against it.

        It must not have been changed from `first` to `last`.
        """
        if self.budget_pool(key) in pools:
            return "shares the treated's budget"
        own, *above = self.lineage(key)
        for event in self.changes([own], first, last):
            return f"was changed itself on {event.date}"
        for event in self.changes(above, first, last):
            return f"its {event.entity.entity_type} {event.entity.entity_id} was changed on {event.date}"
        if self.changed_share(own, first, last) >= MATERIAL_SHARE:
            events = self.changes(self.descendants(own), first, last)
            changed = {event.entity for event in events}
            return f"{len(changed)} of its {events[0].entity.entity_type}s were changed, first on {events[0].date}"
        return None

    def change_days(self, key: Key) -> list[date]:
        """Days on which an entity, something above it, or a good part of what is below it was changed."""
        days = {event.date for one in self.lineage(key) for event in self._by_entity.get(one, ())}
        below = {event.date for one in self.descendants(key) for event in self._by_entity.get(one, ())}
        days |= {day for day in below if self.changed_share(key, day, day) >= MATERIAL_SHARE}
        return sorted(days)
