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
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_TIMEOUT_SECONDS = 30.0


async def drive(plan: dict[str, Any]) -> dict[str, Any]:
    """Run one plan.

    Returns
    -------
    dict
        ``calls`` answered in the measured time, ``seconds`` of it, ``latencies`` in seconds, ``errors`` by
        status, ``bytes`` of the last answer.
    """
    payloads = [Path(name).read_bytes() for name in plan["payloads"]]
    latencies: list[float] = []
    errors: Counter[str] = Counter()
    size = 0
    started = time.perf_counter() + plan["warm_seconds"]
    end = started + plan["seconds"]

    async def caller(number: int) -> None:
        nonlocal size
        at = number * 7919  # callers begin at different payloads
        while (before := time.perf_counter()) < end:
            at += 1
            try:
                answer = await call(payloads[at % len(payloads)], timeout=_TIMEOUT_SECONDS)
            except grpc.aio.AioRpcError as error:
                errors[error.code().name] += 1
                continue
            now = time.perf_counter()
            if started <= before and now <= end:
                latencies.append(now - before)
                size = len(answer)

    async def one(number: int) -> None:
        nonlocal size
        before = time.perf_counter()
        try:
            answer = await call(payloads[number % len(payloads)], timeout=plan["timeout"])
        except grpc.aio.AioRpcError as error:
            errors[error.code().name] += 1
            return
        latencies.append(time.perf_counter() - before)
        size = len(answer)

    async def clock() -> None:
        sent: set[asyncio.Task[None]] = set()
        began, number = time.perf_counter(), 0
        while (now := time.perf_counter()) < end:
            while number < (now - began) * plan["rate"]:
                task = asyncio.create_task(one(number))
                sent.add(task)
                task.add_done_callback(sent.discard)
                number += 1
            await asyncio.sleep(0.002)
        await asyncio.gather(*sent)

    async with grpc.aio.insecure_channel(plan["target"], options=_OPTIONS) as channel:
        call = channel.unary_unary(plan["method"])
        if "rate" in plan:
            await clock()
        else:
            await asyncio.gather(*(caller(number) for number in range(plan["callers"])))
    return {
        "calls": len(latencies),
        "seconds": plan["seconds"],
        "latencies": latencies,
        "errors": errors,
        "bytes": size,
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
