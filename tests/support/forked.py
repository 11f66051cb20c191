"""Real processes that start fast: forked from a server that has imported what they need."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

_STARTING = threading.Lock()
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["support.crashing", "support.jobs", "support.racing"])


def start(target: Callable[..., Any], *arguments: Any) -> ForkServerProcess:
    """Run an importable function in a process of its own."""
    _ensure_server()
    process = _CONTEXT.Process(target=target, args=arguments)
    process.start()
    return process


def finish(process: ForkServerProcess, *, seconds: float = 120) -> int:
    """Wait for its end; its exit status, negative for a signal."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"{process.name} did not end within {seconds} s")
    return process.exitcode


def _ensure_server() -> None:
    # Python 3.11's server is not told where our modules are before it imports them.
    # One at a time: the environment is every thread's.
    with _STARTING:
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [before, str(Path(__file__).parents[1])]))
        try:
            forkserver.ensure_running()
        finally:
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before
