"""Python's collector of cyclic garbage, out of the way of work that makes no cycles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """No search for cycles inside, in any thread.

    For work that makes hundreds of thousands of objects and keeps them: each search looks through all there are, and
    finds nothing.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
