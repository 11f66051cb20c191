"""How often one caller may call."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from adsml_common.domain.errors import Overloaded
from adsml_common.serving.context import CallContext

_BURST_SECONDS: Final = 2.0
_REMEMBERED: Final = 10_000


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
        key = call.caller.identity or call.peer.rpartition(":")[0]
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
