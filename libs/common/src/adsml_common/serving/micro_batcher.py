"""Calls that memory alone can answer, answered on the event loop, all that came in one turn of it at once.

To hand a call to a thread and back costs more than a cached answer, and what a model does for one row it does for
sixteen at nearly the same price. So a method may have a second way: a function that gets every call that has arrived
and answers those it can without waiting. The others go to the pool's threads, so that this way needs to know neither
errors nor slow cases.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from google.protobuf.message import Message

from adsml_common.serving.context import CallContext

FastPath: TypeAlias = Callable[[Sequence[tuple[Any, CallContext]]], Sequence[Any]]
"""Answers to requests that were checked, in order; None for each that has to take the long way.

It must not wait: for a lock that is held for long, a file, a database, another service."""

TURN_BYTES: Final = 12_000
"""Of requests answered in one turn of the loop, so that health and other calls come in between."""
WAITING_BYTES: Final = 250_000
"""Of requests that may wait for their turn; the others take the long way, where they are shed if need be."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Asked:
    call: CallContext
    raw: bytes
    future: "asyncio.Future[object]"


class MicroBatcher:
    """The calls of one method that wait for the next turn of the event loop.

    `request` makes a call's request of its bytes, checked; it raises what the caller is to hear.
    """

    def __init__(self, answer: FastPath, request: Callable[[CallContext, bytes], Message]) -> None:
        self._answer = answer
        self._request = request
        self._asked: deque[_Asked] = deque()
        self._bytes = 0
        self._turn_is_due = False

    async def answer(self, call: CallContext, raw: bytes) -> object:
        """The answer, or None where the call has to take the long way; raises what is wrong with the request."""
        if self._bytes + len(raw) > WAITING_BYTES or len(raw) > TURN_BYTES:
            return None
        loop = asyncio.get_running_loop()
        asked = _Asked(call, raw, loop.create_future())
        self._asked.append(asked)
        self._bytes += len(raw)
        if not self._turn_is_due:
            self._turn_is_due = True
            loop.call_soon(self._turn, loop)
        return await asked.future

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        asked: list[_Asked] = []
        requests: list[tuple[Message, CallContext]] = []
        size = 0
        while self._asked and size <= TURN_BYTES:
            one = self._asked.popleft()
            size += len(one.raw)
            if one.future.done():  # the caller has gone
                continue
            try:
                request = self._request(one.call, one.raw)
            except Exception as error:
                one.future.set_exception(error)
            else:
                asked.append(one)
                requests.append((request, one.call))
        self._bytes -= size
        self._turn_is_due = bool(self._asked)
        if self._turn_is_due:
            loop.call_soon(self._turn, loop)
        if not asked:
            return
        try:
            answers = list(self._answer(requests))
        except Exception:
            # The long way knows how to fail, and fails only the call that is to blame.
            _log.exception("calls that should have been answered at once take the long way")
            answers = [None] * len(asked)
        for one, answer in zip(asked, answers, strict=True):
            one.future.set_result(answer)
