"""Deadlines as budgets: work that can't be done in time is not begun."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from adsml_common.domain.errors import DeadlineExceeded

_REMEMBERED: Final = 32
_NEEDED: Final = 8
_QUANTILE: Final = 0.25
_SMOOTHING: Final = 0.1
# Of a kind of call that was never seen it is safer to believe that it takes long.
_UNKNOWN_SECONDS: Final = 0.3
# The wait is a guess by means. Of work that is taken on at the very edge half comes too late, and was done for nobody:
# under five times the load a server can do, that was half of all it did (benchmarks/bench_overload.py).
_WAITS: Final = 2.0


@dataclass(slots=True)
class _Kind:
    """Calls of a method and a size: their mean, the last ones, and the lower quartile as of a time."""

    mean: float
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    quick: float = 0.0
    at: float = -math.inf


class ServiceTimes:
    """How long calls of a method and a size of request have taken lately.

    The estimate is the lower quartile of the last calls: work is refused only if even a quick one would come too
    late. It expires `keep_seconds` after the last call, so that a slow spell can't refuse everything for good.
    """

    def __init__(self, *, keep_seconds: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._keep = keep_seconds
        self._clock = clock
        self._kinds: dict[tuple[str, int], _Kind] = {}

    def add(self, method: str, *, size: int, seconds: float) -> None:
        """Remember one answered call; from any thread."""
        key = (method, _size_class(size))
        kind = self._kinds.get(key) or self._kinds.setdefault(key, _Kind(seconds))
        kind.recent.append(seconds)
        kind.mean += _SMOOTHING * (seconds - kind.mean)
        ordered = sorted(kind.recent.copy())  # another thread may append meanwhile
        if len(ordered) >= _NEEDED:
            kind.quick, kind.at = ordered[int(_QUANTILE * len(ordered))], self._clock()

    def estimate(self, method: str, *, size: int) -> float:
        """Seconds that even a quick call of this kind takes; 0 where too few were seen lately."""
        kind = self._kinds.get((method, _size_class(size)))
        return kind.quick if kind is not None and kind.at >= self._clock() - self._keep else 0.0

    def mean(self, method: str, *, size: int) -> float:
        """Seconds that a call of this kind takes on average; much, where none was seen yet."""
        kind = self._kinds.get((method, _size_class(size)))
        return _UNKNOWN_SECONDS if kind is None else kind.mean


def check_budget(left: float | None, *, wait: float, work: float) -> None:
    """Raise `DeadlineExceeded` for a call that can't be answered in the seconds `left` (None: no deadline).

    Of the expected `wait` for a thread twice as much has to be left, and the time of the `work` itself.
    """
    needed = _WAITS * wait + work
    if left is None or 0 < left >= needed:
        return
    if left <= 0:
        raise DeadlineExceeded("the deadline passed before the call could be looked at")
    raise DeadlineExceeded(
        f"{_milliseconds(left)} ms are left for the answer, which needs about {_milliseconds(needed)} ms now",
        metadata={"left_ms": _milliseconds(left), "needed_ms": _milliseconds(needed)},
    )


def _milliseconds(seconds: float) -> str:
    """With two digits where there are fewer: 0 would say that nothing is left, or needed."""
    return f"{seconds * 1e3:.0f}" if seconds >= 0.1 else f"{seconds * 1e3:.2g}"


def _size_class(size: int) -> int:
    """Requests within a factor of four are of one kind."""
    return size.bit_length() // 2
