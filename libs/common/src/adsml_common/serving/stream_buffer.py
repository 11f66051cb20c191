"""Messages of a streaming handler on their way to a caller: no thread waits for somebody to read them."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from typing import Final

from adsml_common.serving.context import CallContext

_WINDOW: Final = 16


class StreamBuffer:
    """Draws messages from a generator in a worker's thread, at most `window` before the caller reads some.

    `begin` makes the generator, in that thread; when the caller goes, no more messages are drawn.
    """

    def __init__(
        self, call: CallContext, begin: Callable[[], Generator[bytes, None, None]], *, window: int = _WINDOW
    ) -> None:
        self._call = call
        self._begin = begin
        self._window = window
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._messages: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._generator: Generator[bytes, None, None] | None = None
        self._drawing = False
        self._closing = False

    def fill(self) -> bool:
        """Draw messages until as many wait as may; from a worker's thread. Whether there are no more."""
        with self._lock:
            if self._closing:
                return True
            self._drawing = True
        try:
            if self._generator is None:
                self._generator = self._begin()
            for message in self._generator:
                self._call.check_cancelled()
                self._messages.append(message)
                self._loop.call_soon_threadsafe(self._ready.set)
                if len(self._messages) >= self._window:
                    return False
            return True
        finally:
            with self._lock:
                self._drawing = False
                close = self._closing
            if close:
                self._close()

    async def messages(self, filling: "asyncio.Future[bool]") -> AsyncIterator[bytes]:
        """The messages as they are drawn, until `filling` is done."""
        filling.add_done_callback(lambda _: self._ready.set())
        while True:
            self._ready.clear()
            while self._messages:
                yield self._messages.popleft()
            if filling.done() and not self._messages:
                return
            await self._ready.wait()

    def stop(self) -> Callable[[], None] | None:
        """Draw no more. What closes the generator, to be run in a thread; None where a worker at it will do so."""
        with self._lock:
            self._closing = True
            return None if self._drawing or self._generator is None else self._close

    def _close(self) -> None:
        if self._generator is not None:
            self._generator.close()
