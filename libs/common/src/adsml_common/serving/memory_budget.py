"""How many bytes of requests may lie in memory at once."""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass
from typing import Final

from adsml_common.domain.errors import Overloaded

_RETRY_SECONDS: Final = 1.0
_SHARE: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    owner: str
    size: int
    granted: "asyncio.Future[None]"


class MemoryBudget:
    """Bytes that requests reserve before they are read and give back when they are answered. On one event loop.

    One owner has at most half, so that whoever announces requests and does not send them leaves room for others. Who
    waits longer than `wait_seconds` is refused.
    """

    def __init__(self, capacity: int, *, wait_seconds: float) -> None:
        self._capacity = capacity
        self._of_one_owner = capacity // _SHARE
        self._wait_seconds = wait_seconds
        self._used: Counter[str] = Counter()
        self._waiting: deque[_Waiting] = deque()
        self.used = 0

    async def reserve(self, owner: str, size: int) -> None:
        """Reserve bytes, in the order of asking; raises `Overloaded` where they do not become free in time."""
        # Who waits for room of its own half only is passed; who waits for room in all is not.
        if self._fits(owner, size) and not any(self._has_share(one) for one in self._waiting):
            self._take(owner, size)
            return
        one = _Waiting(owner, size, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await one.granted
        except TimeoutError:
            if _granted(one):
                return
            raise Overloaded(
                "the requests that are being read fill the memory set aside for them; try again later",
                retry_after_seconds=_RETRY_SECONDS,
            ) from None
        except asyncio.CancelledError:
            if _granted(one):
                self.release(owner, size)
            raise

    def release(self, owner: str, size: int) -> None:
        self.used -= size
        self._used[owner] -= size
        if not self._used[owner]:
            del self._used[owner]
        if self._waiting:
            self._grant()

    def _grant(self) -> None:
        """Let those in that fit now, in their order; whoever has its half already is passed over."""
        left: deque[_Waiting] = deque()
        for one in self._waiting:
            if one.granted.done():
                continue
            if self._fits(one.owner, one.size):
                self._take(one.owner, one.size)
                one.granted.set_result(None)
            else:
                left.append(one)
        self._waiting = left

    def _fits(self, owner: str, size: int) -> bool:
        # What is larger than all there is goes in alone.
        room = self.used + size <= self._capacity or not self.used
        return room and self._in_share(owner, size)

    def _in_share(self, owner: str, size: int) -> bool:
        mine = self._used.get(owner, 0)
        return mine + size <= self._of_one_owner or not mine

    def _has_share(self, one: _Waiting) -> bool:
        return not one.granted.done() and self._in_share(one.owner, one.size)

    def _take(self, owner: str, size: int) -> None:
        self.used += size
        self._used[owner] += size


def _granted(one: _Waiting) -> bool:
    return one.granted.done() and not one.granted.cancelled()
