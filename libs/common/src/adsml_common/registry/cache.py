"""Copies of artifacts on the local disk, by checksum; may be lost or damaged at any time."""

import contextlib
import hashlib
import logging
import os
import tempfile
import threading
from pathlib import Path

_LOG = logging.getLogger(__name__)


class DiskCache:
    """Files named by their SHA-256, checked at every read, oldest use dropped first.

    A read-only or full disk is no failure: the cache then holds less, or nothing.

    Parameters
    ----------
    folder
        Where they lie; made at the first write. Processes may share it.
    max_bytes
        Their size together, roughly.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._size: int | None = None

    def get(self, sha256: str) -> bytes | None:
        """The content with this checksum, or None; a damaged copy is removed."""
        path = self._path(sha256)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data).hexdigest() != sha256:
            _LOG.warning("the cached copy %s is damaged; it is fetched anew", path)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return data

    def put(self, sha256: str, data: bytes) -> None:
        """Keep a content whose checksum the caller has verified."""
        path = self._path(sha256)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".tmp-", delete=False) as out:
                try:
                    out.write(data)
                    out.close()
                    Path(out.name).replace(path)
                except BaseException:
                    Path(out.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            _LOG.warning("no cached copy of an artifact could be kept in %s: %s", self._folder, error)
            return
        self._make_room(len(data))

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256

    def _make_room(self, added: int) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._size is not None:
                self._size += added
                if self._size <= self._max_bytes:
                    return
            files = [(path, path.stat()) for path in self._folder.glob("??/*") if path.is_file()]
            self._size = sum(stat.st_size for _, stat in files)
            for path, stat in sorted(files, key=lambda item: item[1].st_mtime):
                if self._size <= self._max_bytes:
                    return
                path.unlink(missing_ok=True)
                self._size -= stat.st_size
