"""Exports in an object store or a file system, through fsspec: prefixes, globs, partitions."""

import re
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

import fsspec  # type: ignore[import-untyped]  # it ships no types

from adsml_ingest.source import SourceFile
from adsml_ingest.sync.config import AccountSource
from adsml_ingest.sync.fetched import Fetched, SourceUnavailable

_PARTITION: Final = re.compile(r"(?:date|day|dt|ds|date_start|event_date)=(\d{4}-\d{2}-\d{2})")
_MARKERS: Final = (".", "_")


def fetch(account: AccountSource, first: date, last: date, spool: Path) -> Fetched:
    """The files below a prefix or behind a glob, but for partitions of other days.

    Raises `SourceUnavailable` if there is none, or the store does not answer.
    """
    try:
        system, root = fsspec.core.url_to_fs(account.source, **account.storage)
        listed = _list(system, root)
        wanted = [(path, info) for path, info in listed if _in_window(path, first, last)]
        files = [
            _download(system, path, info, account, spool / f"{index:05d}")
            for index, (path, info) in enumerate(sorted(wanted, key=lambda one: (_modified(one[1]), one[0])))
        ]
    except SourceUnavailable:
        raise
    except Exception as error:  # a store raises what its library does
        raise SourceUnavailable(
            f"{account.shown} can't be read: {type(error).__name__}: {str(error)[:300]}"
        ) from error
    if not files:
        seen = f"; {len(listed)} files are of other days" if listed else ""
        raise SourceUnavailable(f"{account.shown} holds no file{seen}; check the prefix and the rights")
    return Fetched(files)


def _list(system: Any, root: str) -> list[tuple[str, dict[str, Any]]]:
    system.invalidate_cache()
    if any(sign in root for sign in "*?["):
        found = system.glob(root, detail=True)
    elif system.isfile(root):
        found = {root: system.info(root)}
    else:
        found = system.find(root, detail=True)
    return [
        (path, info)
        for path, info in found.items()
        if info.get("type") == "file"
        and info.get("size")
        and not any(part.startswith(_MARKERS) for part in PurePosixPath(path).relative_to(_base(root)).parts)
    ]


def _base(root: str) -> str:
    """What is above the first part with a sign of a glob."""
    parts: list[str] = []
    for part in PurePosixPath(root).parts:
        if any(sign in part for sign in "*?["):
            break
        parts.append(part)
    base = PurePosixPath(*parts) if parts else PurePosixPath()
    return str(base.parent if str(base) == root.rstrip("/") and PurePosixPath(root).suffix else base)


def _in_window(path: str, first: date, last: date) -> bool:
    """Whether a file may hold days of the window: by its partition, where it says."""
    found = _PARTITION.search(path)
    if found is None:
        return True
    try:
        return first <= date.fromisoformat(found[1]) <= last
    except ValueError:
        return True


def _modified(info: dict[str, Any]) -> float:
    for name in ("LastModified", "last_modified", "updated", "mtime", "created"):
        value = info.get(name)
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, str):
            try:
                return datetime.fromisoformat(value).timestamp()
            except ValueError:
                continue
    return 0.0


def _download(
    system: Any, path: str, info: dict[str, Any], account: AccountSource, target: Path
) -> SourceFile:
    system.get_file(path, str(target))
    if info["size"] != target.stat().st_size:
        raise SourceUnavailable(f"{path} of {account.shown} changed while it was read; sync again")
    scheme = account.source.partition("://")[0]
    return SourceFile(Path(f"{scheme}:/{'' if path.startswith('/') else '/'}{path}"), target, _modified(info))
