"""How many streams may be open, in all and of one caller."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from adsml_common.domain.errors import Overloaded
from adsml_common.serving.context import CallContext

_RETRY_SECONDS: Final = 5.0


class StreamLimit:
    """Open streams, counted, in all and of one caller. On one event loop."""

    def __init__(self, *, total: int, of_one_caller: int) -> None:
        self._total = total
        self._of_one_caller = of_one_caller
        self._open: Counter[str] = Counter()

    @contextmanager
    def open(self, call: CallContext) -> Iterator[None]:
        """Count a stream while it is open; raises `Overloaded` where there are too many."""
        caller = call.caller.identity or call.peer
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
