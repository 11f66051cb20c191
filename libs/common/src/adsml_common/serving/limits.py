"""How often one caller may call, and how many streams it may have open."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from adsml_common.domain.errors import Overloaded
from adsml_common.serving.context import CallContext

_BURST_SECONDS: Final = 2.0
_REMEMBERED: Final = 10_000
_RETRY_SECONDS: Final = 5.0


class RateLimit:
    """A bucket of calls per caller that fills by `per_second` (0: no limit) and holds two seconds' worth."""

    def __init__(self, per_second: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_second
        self._full = max(1.0, per_second * _BURST_SECONDS)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, call: CallContext) -> None:
        """Take one call from the bucket of the caller, or of its address; raises `Overloaded` where it is empty."""
        if not self._rate:
            return
        key = call.owner
        now = self._clock()
        level, at = self._buckets.pop(key, (self._full, now))
        level = min(self._full, level + (now - at) * self._rate)
        self._buckets[key] = (level - 1.0 if level >= 1.0 else level, now)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        if level < 1.0:
            raise Overloaded(
                f"this caller may make {self._rate:g} calls a second",
                retry_after_seconds=(1.0 - level) / self._rate,
            )


class StreamLimit:
    """Open streams, counted, in all and of one caller. On one event loop."""

    def __init__(self, *, total: int, of_one_caller: int) -> None:
        self._total = total
        self._of_one_caller = of_one_caller
        self._open: Counter[str] = Counter()

    @contextmanager
    def open(self, call: CallContext) -> Iterator[None]:
        """Count a stream while it is open; raises `Overloaded` where there are too many."""
        caller = call.owner
        if self._open[caller] >= self._of_one_caller:
            raise Overloaded(
                f"this caller has {self._of_one_caller} streams open, as many as one may; read or close one",
                retry_after_seconds=_RETRY_SECONDS,
            )
        if self._open.total() >= self._total:
            raise Overloaded("too many streams are open; try again later", retry_after_seconds=_RETRY_SECONDS)
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]
