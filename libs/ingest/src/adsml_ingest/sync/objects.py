"""Exports in an object store or a file system, through fsspec: prefixes, globs, partitions."""

import re
from contextlib import suppress
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any, Final

import fsspec  # type: ignore[import-untyped]  # it ships no types

from adsml_ingest.files import SourceFile
from adsml_ingest.importer import Fetched
from adsml_ingest.sync.config import AccountSource, SourceUnavailable

_PARTITION: Final = re.compile(r"(?:date|day|dt|ds|date_start|event_date)=(\d{4}-\d{2}-\d{2})")
_MARKERS: Final = (".", "_")


def fetch(account: AccountSource, first: date, last: date, spool: Path) -> Fetched:
    """The files below a prefix or behind a glob, but for partitions of other days.

    Raises `SourceUnavailable` if there is none, or the store does not answer.
    """
    try:
        system, root = fsspec.core.url_to_fs(account.source, **account.storage)
        listed = _list(system, root)
        wanted = sorted(path for path in listed if _in_window(path, first, last))
        files = [
            _download(system, path, listed[path], account, spool / f"{index:05d}")
            for index, path in enumerate(wanted)
        ]
    except SourceUnavailable:
        raise
    except Exception as error:  # a store raises what its library does
        what = f"{type(error).__name__}: {str(error)[:300]}"
        raise SourceUnavailable(f"{account.shown} can't be read: {what}") from error
    if not files:
        seen = f"; {len(listed)} files are of other days" if listed else ""
        raise SourceUnavailable(f"{account.shown} holds no file{seen}; check the prefix and the rights")
    return Fetched(sorted(files, key=lambda file: file.fetched_at))


def _list(system: Any, root: str) -> dict[str, int]:
    """Paths and sizes of the files below a prefix or behind a glob."""
    system.invalidate_cache()
    above = re.split(r"[^/]*[*?\[]", root)[0]  # the first part that has a sign of a glob
    if any(sign in root for sign in "*?["):
        found = system.glob(root, detail=True)
    elif system.isfile(root):
        found = {root: system.info(root)}
    else:
        found = system.find(root, detail=True)
    return {
        path: info["size"]
        for path, info in found.items()
        if info.get("type") == "file" and info.get("size")
        if not any(part.startswith(_MARKERS) for part in PurePosixPath(path[len(above) :]).parts)
    }


def _in_window(path: str, first: date, last: date) -> bool:
    """Whether a file may hold days of the window: by its partition, where it says."""
    found = _PARTITION.search(path)
    with suppress(ValueError):
        return found is None or first <= date.fromisoformat(found[1]) <= last
    return True


def _download(system: Any, path: str, size: int, account: AccountSource, target: Path) -> SourceFile:
    written = 0.0  # where the store does not say
    with suppress(NotImplementedError, AttributeError):
        written = float(system.modified(path).timestamp())
    system.get_file(path, str(target))
    if size != target.stat().st_size:
        raise SourceUnavailable(f"{path} of {account.shown} changed while it was read; sync again")
    scheme = account.source.partition("://")[0]
    return SourceFile(Path(f"{scheme}:/{'' if path.startswith('/') else '/'}{path}"), target, written)
