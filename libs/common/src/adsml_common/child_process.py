"""For processes that work for another: they end with it, however it ends."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def end_with_parent() -> None:
    """From now on, end this child of `multiprocessing` as soon as its parent is gone, in the midst of any work.

    A parent that was killed tells nobody: a child that waits for its next task would wait for ever, and one in work
    would go on beside the parent's successor.
    """
    threading.Thread(target=_wait_and_exit, name="parent", daemon=True).start()


def _wait_and_exit() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
