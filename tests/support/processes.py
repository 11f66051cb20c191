"""Real processes that start fast: forked from a server that has imported what they need."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["support.crashing", "support.racing", "adsml_common.training.job"])


def start(target: Callable[..., Any], *arguments: Any) -> ForkServerProcess:
    """Run an importable function in a process of its own."""
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
