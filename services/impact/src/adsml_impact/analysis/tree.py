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

CHANGED: Final = "changed"
MATERIAL_SHARE: Final = 0.2
"""From this share of an entity's descendants on, their change is one of the entity."""


@dataclass(frozen=True, slots=True)
class Relation:
    """What is known of an entity's place in the account's tree."""

    parent_id: str | None = None  # one level above
    shares_budget: bool | None = None  # whether its budget is set at its parent; None: not known
    name: str | None = None


@dataclass(frozen=True)
class Tree:
    """Entities of one account, by level and id over all levels that are known, and changes of any of them."""

    relations: Mapping[Key, Relation] = field(default_factory=dict)  # over all levels that are known
    events: Sequence[ChangeEvent] = ()  # changes of any entity

    @cached_property
    def children(self) -> Mapping[Key, list[Key]]:
        """Entities one level below."""
        out: defaultdict[Key, list[Key]] = defaultdict(list)
        for key in self.relations:
            if (parent := self.parent(key)) is not None:
                out[parent].append(key)
        return out

    @cached_property
    def _by_entity(self) -> Mapping[Key, list[ChangeEvent]]:
        out: defaultdict[Key, list[ChangeEvent]] = defaultdict(list)
        for event in self.events:
            out[event.entity.entity_type, event.entity.entity_id].append(event)
        return out

    def label(self, level: EntityType, entity_id: str) -> str:
        """An entity's name in quotes, or its id where no name is known."""
        relation = self.relations.get((level, entity_id))
        return f'"{relation.name}"' if relation is not None and relation.name else entity_id

    def parent(self, key: Key) -> Key | None:
        """The entity one level above; None where it is not known."""
        above, relation = key[0].parent_type, self.relations.get(key, Relation())
        return None if above is None or relation.parent_id is None else (above, relation.parent_id)

    def budget_pool(self, key: Key) -> Key:
        """The entity at which the budget is set: itself or an ancestor.

        Ads never have a budget of their own; an ad set has one unless its campaign's is shared.
        """
        parent = self.parent(key)
        if parent is not None and (key[0] is EntityType.AD or self.relations[key].shares_budget):
            return self.budget_pool(parent)
        return key

    def lineage(self, key: Key) -> list[Key]:
        """The entity and its ancestors."""
        parent = self.parent(key)
        return [key] if parent is None else [key, *self.lineage(parent)]

    def descendants(self, key: Key) -> list[Key]:
        """Everything below an entity."""
        return [one for child in self.children.get(key, ()) for one in (child, *self.descendants(child))]

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

    def fault(self, key: Key, pools: Iterable[Key], first: date, last: date) -> tuple[str, str] | None:
        """Why an entity can't stand in for the treated, whose budgets are set at `pools`; None: nothing against it.

        It must not have been changed from `first` to `last`. A word for the kind of reason, and the reason in full.
        """
        if self.budget_pool(key) in pools:
            return "sharing the treated's budget", "shares the treated's budget"
        own, *above = self.lineage(key)
        for event in self.changes([own], first, last):
            return CHANGED, f"was changed itself on {event.date}"
        for event in self.changes(above, first, last):
            level, name = event.entity.entity_type, event.entity.entity_id
            return CHANGED, f"its {level} {self.label(level, name)} was changed on {event.date}"
        if self.changed_share(own, first, last) >= MATERIAL_SHARE:
            events = self.changes(self.descendants(own), first, last)
            number, level = len({event.entity for event in events}), events[0].entity.entity_type
            return CHANGED, f"{number} of its {level}s were changed, first on {events[0].date}"
        return None

    def change_days(self, key: Key) -> list[date]:
        """Days on which an entity, something above it, or a good part of what is below it was changed."""
        days = {event.date for one in self.lineage(key) for event in self._by_entity.get(one, ())}
        below = {event.date for one in self.descendants(key) for event in self._by_entity.get(one, ())}
        days |= {day for day in below if self.changed_share(key, day, day) >= MATERIAL_SHARE}
        return sorted(days)

    def describe(self, events: Iterable[ChangeEvent]) -> str:
        """Changes in a few words, those of one kind and day on one level together."""
        groups: defaultdict[tuple[date, str, EntityType], list[str]] = defaultdict(list)
        for event in events:
            level = event.entity.entity_type
            groups[event.date, event.change_type.replace("_", " "), level].append(
                self.label(level, event.entity.entity_id)
            )
        shown = [
            f"{kind} of {level} {names[0]} on {day}"
            if len(names) == 1
            else f"{kind} of {len(names)} {level}s ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}) on {day}"
            for (day, kind, level), names in sorted(groups.items())
        ]
        return "; ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
