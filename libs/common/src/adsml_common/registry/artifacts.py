"""Where trained models lie: a folder, an S3 bucket, or anything else that fsspec reaches."""

import errno
import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import fsspec  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from adsml_common.domain.errors import AdsmlError, ArtifactCorrupt, FailedPrecondition, Unavailable
from adsml_common.registry.disk_cache import DiskCache
from adsml_common.settings import SettingsError, masked_url

CACHE_BYTES: Final = 2 << 30
_KEY: Final = re.compile(r"[A-Za-z0-9%~_=+@,.-]+(/[A-Za-z0-9%~_=+@,.-]+)*")
_TEMPORARY: Final = ".tmp-"
_LASTING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES})
"""Failures of a file system that no retry mends."""
_S3: Final[dict[str, Any]] = {
    # What another process wrote must be seen.
    "use_listings_cache": False,
    "skip_instance_cache": True,
    "config_kwargs": {
        "connect_timeout": 5,
        "read_timeout": 30,
        "retries": {"max_attempts": 4, "mode": "standard"},
    },
}
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """One file in the store, by the store's clock."""

    key: str
    size_bytes: int
    modified: datetime


class ArtifactStore:
    """Immutable files by key; threads may share it.

    `url` is a path, ``file://``, ``s3://bucket/prefix`` (with the ``s3`` extra), ``memory://`` for tests; copies of
    what was read lie in `cache_dir`, checked at every read. Raises `SettingsError` for a URL of an unknown kind; all
    else raises `Unavailable` where the store does not answer.
    """

    def __init__(self, url: str, *, cache_dir: Path, cache_bytes: int = CACHE_BYTES) -> None:
        self.url = masked_url(url)
        self.cache_dir = cache_dir
        self._cache = DiskCache(cache_dir / "artifacts.db", max_bytes=cache_bytes)
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url, **(_S3 if url.startswith("s3:") else {}))
        except (ImportError, ValueError) as error:
            cure = (
                "install adsml-common[s3]"
                if url.startswith("s3:")
                else "expected a path or s3://bucket/prefix"
            )
            raise SettingsError(f"ADSML_ARTIFACT_URL={self.url}: {error}; {cure}") from None
        self._root = self._root.rstrip("/")
        self._local = isinstance(self._fs, LocalFileSystem)

    def put(self, key: str, data: bytes) -> None:
        """Store a file for good: on the disk before this returns, visible whole or not at all. Idempotent.

        Raises `FailedPrecondition` where the key holds another content already; it is not overwritten.
        """
        path = self._path(key)
        with self._failures(f"write {key}"):
            try:
                if self._local:
                    _write_local(Path(path), data)
                else:
                    self._fs.pipe_file(path, data, mode="create")
            except FileExistsError:
                if self._fs.cat_file(path) != data:
                    raise FailedPrecondition(f"the artifact {key} exists with another content") from None

    def get(self, key: str, *, sha256: str) -> bytes:
        """A file's content, from the disk cache or the store; raises `ArtifactCorrupt` if missing or damaged."""
        cached = self._cache.get(sha256)
        if cached is not None:
            if hashlib.sha256(cached).hexdigest() == sha256:
                return cached
            _LOG.warning("the cached copy of %s is damaged; it is fetched anew", key)
            self._cache.remove(sha256)
        data = self.fetch(key, sha256=sha256)
        self._cache.put(sha256, data)
        return data

    def fetch(self, key: str, *, sha256: str) -> bytes:
        """As `get`, but always from the store itself."""
        path = self._path(key)
        with self._failures(f"read {key}"):
            try:
                # The same for a folder, without what fsspec does around it.
                data: bytes = Path(path).read_bytes() if self._local else self._fs.cat_file(path)
            except FileNotFoundError as error:
                if self._gone(error):
                    raise
                raise ArtifactCorrupt(f"the artifact {key} is missing from the store") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ArtifactCorrupt(f"the artifact {key} does not match its checksum: it is damaged")
        return data

    def entries(self) -> list[StoredArtifact]:
        """Every file in the store, sorted by key, those that a crash left half written among them."""
        with self._failures("list"):
            try:
                found: dict[str, dict[str, Any]] = self._fs.find(self._root, detail=True)
            except FileNotFoundError:
                return []
        out = [
            StoredArtifact(path[len(self._root) :].lstrip("/"), int(info.get("size") or 0), _modified(info))
            for path, info in found.items()
        ]
        return sorted(out, key=lambda entry: entry.key)

    def keys(self) -> list[str]:
        return [entry.key for entry in self.entries() if not is_temporary(entry.key)]

    def delete(self, key: str) -> None:
        with self._failures(f"delete {key}"):
            try:
                self._fs.rm_file(self._path(key))
            except FileNotFoundError:
                return

    def _path(self, key: str) -> str:
        if not _KEY.fullmatch(key) or ".." in key.split("/") or "." in key.split("/"):
            raise FailedPrecondition(f"{key!r} is no artifact key")
        return f"{self._root}/{key}"

    def _gone(self, error: FileNotFoundError) -> bool:
        # A volume that is not mounted, or a bucket that is not there, says nothing of the artifact.
        if self._local:
            return not Path(self._root).is_dir()
        return "bucket" in str(error).lower()

    @contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        try:
            yield
        except AdsmlError:
            raise
        # Every file system behind fsspec brings exceptions of its own; all of them mean the same here.
        except Exception as error:
            number = error.errno if isinstance(error, OSError) else None
            words = type(error).__name__ if number is None else os.strerror(number)
            if number in _LASTING:
                # Not worth a retry: nobody will have made room in some seconds.
                raise FailedPrecondition(
                    f"the artifact store can't be written ({words}): can't {what}; make room, or mend its rights"
                ) from error
            _LOG.warning("artifact store %s, %s: %s: %s", self.url, what, type(error).__name__, error)
            raise Unavailable(f"the artifact store is unavailable: can't {what} ({words})") from error


def is_temporary(key: str) -> bool:
    """Whether a key is of a file that is being written, or that a crash left half written."""
    return key.rpartition("/")[2].startswith(_TEMPORARY)


def _write_local(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=_TEMPORARY, delete=False) as out:
        try:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
            Path(out.name).chmod(0o644)
            _publish(Path(out.name), path)
        finally:
            Path(out.name).unlink(missing_ok=True)
    for folder in (path.parent, path.parent.parent):
        _sync_folder(folder)


def _publish(temporary: Path, path: Path) -> None:
    try:
        # A link, not a rename: it fails where a file is, instead of replacing it.
        path.hardlink_to(temporary)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # Some network file systems know no links. Nobody reads a key before its row is written, so that the
        # file may fill up in place.
        with path.open("xb") as out:
            out.write(temporary.read_bytes())
            out.flush()
            os.fsync(out.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _modified(info: dict[str, Any]) -> datetime:
    for name in ("mtime", "LastModified", "last_modified", "created"):
        value = info.get(name)
        if isinstance(value, datetime):
            return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
    # A file system that does not tell: as if it were new, so that nothing of it is swept.
    return datetime.now(UTC)
