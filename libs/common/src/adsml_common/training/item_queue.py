"""Items that wait for a process, handed out so that processes share as little as may be."""

from collections import deque
from collections.abc import Iterable

from adsml_common.training.records import Item


class ItemQueue:
    """Hands items out by their groups, in the order given.

    What the items of a group share is read or learned by every process that gets one of them. So a process
    goes on with the group that it is at, then takes one that nobody has begun, and only when there is none
    does it help with the one that has most left.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._untouched: dict[str, deque[Item]] = {}
        for item in items:
            self._untouched.setdefault(item.group, deque()).append(item)
        self._begun: dict[str, deque[Item]] = {}

    def next(self, last: Item | None) -> Item | None:
        """The item for a process that had `last` before, or is new; None if there is none left."""
        group = last.group if last is not None and last.group in self._begun else self._another()
        if group is None:
            return None
        left = self._begun[group]
        item = left.popleft()
        if not left:
            del self._begun[group]
        return item

    def _another(self) -> str | None:
        if self._untouched:
            group = next(iter(self._untouched))
            self._begun[group] = self._untouched.pop(group)
            return group
        return max(self._begun, key=lambda one: len(self._begun[one]), default=None)
