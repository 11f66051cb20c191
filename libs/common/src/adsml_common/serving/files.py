"""Files that are read again when they change: certificates, keys."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)

_Stamp = tuple[tuple[int, int, int], ...]


class WatchedFiles(Generic[T]):
    """What some files, read together, say as of now. Safe to use from any thread.

    `parse` makes sense of their contents, or raises ValueError. What can't be read later on is logged, and what they
    said before stands: files are replaced one after another, and half a replacement must not end a server.
    """

    def __init__(self, paths: Sequence[Path], parse: Callable[[Sequence[bytes]], T]) -> None:
        self._paths = tuple(paths)
        self._parse = parse
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._value = parse([path.read_bytes() for path in self._paths])
        self._version = 1

    def get(self) -> tuple[T, int]:
        """What they say, and a number that rises with every change of it."""
        with self._lock:
            try:
                stamp = self._look()
                if stamp != self._stamp:
                    self._value = self._parse([path.read_bytes() for path in self._paths])
                    self._stamp = stamp
                    self._version += 1
                    _log.info("read %s again", ", ".join(map(str, self._paths)))
            except (OSError, ValueError) as error:
                _log.warning("keep what %s said before: %s", ", ".join(map(str, self._paths)), error)
            return self._value, self._version

    def _look(self) -> _Stamp:
        stats = [path.stat() for path in self._paths]
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in stats)
