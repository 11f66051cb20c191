"""A load generator in a process of its own, the same for every server: ready bytes out, bytes in.

    python serving_load.py < plan.json > figures.json

A plan is ``{"target", "method", "payloads": [FILE, ...], "callers", "seconds", "warm_seconds"}``. Each caller sends
the next payload as soon as its last answer has come (closed loop). With ``"rate"`` in place of ``"callers"``, calls
leave at that rate a second whatever comes back (open loop), each with ``"timeout"`` seconds to live. Nothing is
parsed here, so that what is measured is the server.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_TIMEOUT_SECONDS = 30.0


@dataclass
class Tally:
    """What came back.

    Attributes
    ----------
    started, end
        The measured time, on `time.perf_counter`.
    calls, answered
        Calls whose answer came in the measured time; all that were answered, while warming up too.
    latencies
        Seconds of the calls that left in the measured time: a stall at its end shows too.
    errors
        By status.
    size
        Bytes of the last answer.
    """

    started: float
    end: float
    calls: int = 0
    answered: int = 0
    latencies: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    size: int = 0

    def note(self, left: float, answer: bytes) -> None:
        """One that left at some time was answered now."""
        now = time.perf_counter()
        self.size = len(answer)
        self.answered += 1
        self.calls += self.started <= now <= self.end
        if left >= self.started:
            self.latencies.append(now - left)


async def drive(plan: dict[str, Any]) -> dict[str, Any]:
    """Run one plan.

    Returns
    -------
    dict
        ``calls``, ``answered``, ``latencies``, ``errors`` as in `Tally`, ``seconds`` of the measured time, ``bytes``
        of the last answer.
    """
    payloads = [Path(name).read_bytes() for name in plan["payloads"]]
    began = time.perf_counter()
    tally = Tally(began + plan["warm_seconds"], began + plan["warm_seconds"] + plan["seconds"])

    async def one(number: int, timeout: float) -> None:
        left = time.perf_counter()
        try:
            answer = await call(payloads[number % len(payloads)], timeout=timeout)
        except grpc.aio.AioRpcError as error:
            tally.errors[error.code().name] += 1
        else:
            tally.note(left, answer)

    async def caller(number: int) -> None:
        at = number * 7919  # callers begin at different payloads
        while time.perf_counter() < tally.end:
            at += 1
            await one(at, _TIMEOUT_SECONDS)

    async def clock() -> None:
        sent: set[asyncio.Task[None]] = set()
        began, number = time.perf_counter(), 0
        while (now := time.perf_counter()) < tally.end:
            while number < (now - began) * plan["rate"]:
                task = asyncio.create_task(one(number, plan["timeout"]))
                sent.add(task)
                task.add_done_callback(sent.discard)
                number += 1
            await asyncio.sleep(0.002)
        await asyncio.gather(*sent)

    async with grpc.aio.insecure_channel(plan["target"], options=_OPTIONS) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(plan["method"])
        if "rate" in plan:
            await clock()
        else:
            await asyncio.gather(*(caller(number) for number in range(plan["callers"])))
    return {
        "calls": tally.calls,
        "seconds": plan["seconds"],
        "answered": tally.answered,
        "latencies": tally.latencies,
        "errors": tally.errors,
        "bytes": tally.size,
    }


def run(plan: dict[str, Any]) -> dict[str, Any]:
    """`drive` in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__], input=json.dumps(plan), capture_output=True, text=True, check=True
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    print(json.dumps(asyncio.run(drive(json.load(sys.stdin)))))
