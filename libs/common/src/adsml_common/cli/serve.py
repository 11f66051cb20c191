"""`adsml serve`: one family in this process, or each installed one in a process of its own."""

import signal
import subprocess
import sys
import threading
from importlib.metadata import entry_points
from typing import Annotated

import typer

from adsml_common.cli import family
from adsml_common.cli.output import errors

_GRACE_SECONDS = 60.0


def serve(
    name: Annotated[
        str, typer.Argument(metavar="FAMILY", help="classifier, forecasting, anomaly, impact, or all.")
    ],
) -> None:
    """Serve a family over gRPC until stopped (SIGTERM or Ctrl-C drains first).

    Example: adsml serve classifier
    """
    sys.exit(serve_all() if name == "all" else family.family(name).serve())


def serve_all() -> int:
    """Run every installed family in a process of its own until a signal comes; 0 if each drained and left with 0.

    A family that ends by itself is reported and leaves the others serving: one outage does not take another
    service down.
    """
    started = {
        name: subprocess.Popen(  # noqa: S603  # our own module and an installed family's name
            [sys.executable, "-m", "adsml_common.cli", "serve", name], start_new_session=True
        )
        for name in sorted(entry_points(group=family.GROUP).names)
    }
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    running = dict(started)
    while running and not stopping.wait(0.5):
        for name, process in list(running.items()):
            if process.poll() is not None:
                errors.print(f"{name} ended with status {process.returncode}; the others go on")
                del running[name]
    for process in running.values():
        process.terminate()
    for name, process in running.items():
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            errors.print(f"{name} did not drain within {_GRACE_SECONDS:.0f} s; killed")
            process.kill()
            process.wait()
    return 0 if all(process.returncode == 0 for process in started.values()) else 1
