"""Copies of artifacts on the local disk, by checksum; may be lost or damaged at any time."""

import hashlib
import logging
import threading
from pathlib import Path
from typing import Final

from adsml_common.registry.scratch import Scratch

_FILLED: Final = 0.9
_LOG = logging.getLogger(__name__)


class DiskCache:
    """Contents by their SHA-256, checked at every read, oldest use dropped first.

    A read-only or full disk is no failure: the cache then holds less, or nothing.

    Parameters
    ----------
    path
        The file that holds them; made at the first write. Processes may share it.
    max_bytes
        Their size together, roughly.
    """

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self._kept = Scratch(path)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._size: int | None = None

    def get(self, sha256: str) -> bytes | None:
        """The content with this checksum, or None; a damaged copy is removed."""
        data = self._kept.get(sha256)
        if data is not None and hashlib.sha256(data).hexdigest() != sha256:
            _LOG.warning("the cached copy of %s is damaged; it is fetched anew", sha256)
            self._kept.remove(sha256)
            return None
        return data

    def put(self, sha256: str, data: bytes) -> None:
        """Keep a content whose checksum the caller has verified."""
        if len(data) > self._max_bytes or not self._kept.put(sha256, data):
            return
        with self._lock:
            if self._size is not None:
                self._size += len(data)
                if self._size <= self._max_bytes:
                    return
            # A little more than needed: a full cache is not looked through at every write.
            self._size = self._kept.trim(int(_FILLED * self._max_bytes))
