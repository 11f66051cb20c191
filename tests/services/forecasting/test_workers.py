"""Processes for batches: counted on when they are warm, replaced when one dies, gone when they are closed."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from adsml_forecasting.workers import Workers
from support.serving import eventually


@contextmanager
def started(warm_up: Callable[[], object]) -> Iterator[Workers]:
    workers = Workers(1, warm_up=warm_up)
    try:
        yield workers
    finally:
        workers.close()
        eventually(lambda: not multiprocessing.active_children())


def process_of(workers: Workers) -> int:
    pool = workers.ready()
    assert pool is not None
    return pool.submit(os.getpid).result()


def test_they_are_counted_on_when_they_are_warm(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with started(partial(gate.read_bytes)) as workers:
        assert workers.ready() is None
        gate.write_bytes(b"")  # waits until the process has come to read it
        eventually(workers.ready)
        assert process_of(workers) != os.getpid()
    assert workers.ready() is None


def test_closing_does_not_wait_for_one_that_is_still_starting(tmp_path: Path) -> None:
    never = tmp_path / "never"
    os.mkfifo(never)
    with started(partial(never.read_bytes)) as workers:
        assert workers.ready() is None
        assert multiprocessing.active_children()


def test_one_that_was_killed_is_replaced() -> None:
    with started(partial(int)) as workers:
        workers.start()
        first = process_of(workers)
        os.kill(first, signal.SIGKILL)

        def replaced() -> bool:
            try:
                return workers.ready() is not None and process_of(workers) != first
            except BrokenProcessPool:  # its death has not been seen yet
                return False

        eventually(replaced)


def test_one_that_cannot_warm_is_done_without(caplog: pytest.LogCaptureFixture) -> None:
    with started(partial(int, "no number")) as workers:
        workers.start()
        assert workers.ready() is None
    assert "one by one" in caplog.text


def test_they_end_with_a_service_that_was_killed() -> None:
    # Each waited for its next task for ever: two of them were found after a killed service, with 300 MB each.
    script = (
        "from adsml_forecasting.workers import Workers\n"
        "if __name__ == '__main__':\n"
        "    import os, sys, time\n"
        "    workers = Workers(1, warm_up=bool)\n"
        "    workers.start()\n"
        "    print(next(iter(workers.get()._processes)), flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        worker = int(service.stdout.readline())
        os.kill(worker, 0)
        service.kill()
    eventually(lambda: not Path(f"/proc/{worker}").exists(), within=30)
