"""The files behind some paths: folders with all that is in them, archives unpacked."""

import gzip
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from adsml_common.domain.errors import FailedPrecondition

from adsml_ingest.problems import Refusal
from adsml_ingest.source import SourceFile

_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
_WORKBOOK: Final = ("xl/workbook.xml", "xl/workbook.bin", "content.xml")
_NO_EXPORTS: Final = frozenset(
    {
        ".bat", ".css", ".db", ".doc", ".docx", ".gif", ".htm", ".html", ".ini", ".ipynb", ".jpeg", ".jpg", ".js",
        ".log", ".md", ".pdf", ".png", ".ppt", ".pptx", ".py", ".r", ".rst", ".rtf", ".sh", ".sql", ".svg", ".toml",
        ".xml", ".yaml", ".yml",
    }
)  # fmt: skip
"""Suffixes of files that lie in a folder beside exports and are none."""
_UNFINISHED: Final = (".crdownload", ".download", ".part", ".partial", ".tmp")
_EXPORTS: Final = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".xlsx", ".gz", ".zip")
_REJECTED: Final = (".rejected.csv", ".rejected.jsonl")


@dataclass(slots=True)
class FileList:
    """The files of an import, in the order of the paths, those of a folder by name."""

    files: list[SourceFile] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # files that are not read, each with the reason


def list_files(paths: Sequence[Path | SourceFile], scratch: Path) -> FileList:
    """Every file behind some paths, sub-folders too; archives are unpacked below `scratch`.

    Raises `Refusal` if a folder holds no file, or an archive is damaged.
    """
    listed = FileList()
    for path in paths:
        file = path if isinstance(path, SourceFile) else SourceFile(path, path)
        try:
            is_folder = file is not path and file.path.is_dir()
            inside = sorted(one for one in file.path.rglob("*") if one.is_file()) if is_folder else []
        except OSError as error:
            raise file.unreadable(error) from None
        if is_folder:
            _add_folder(file, inside, listed, scratch)
        else:
            _add(file, listed, scratch)
    listed.files = list(dict.fromkeys(listed.files))
    return listed


def _add_folder(folder: SourceFile, inside: list[Path], listed: FileList, scratch: Path) -> None:
    wanted = 0
    for path in inside:
        parts = path.relative_to(folder.path).parts
        suffix = path.suffix.lower()
        is_hidden = any(one.startswith(".") for one in parts) or any(one[0] == "_" for one in parts[:-1])
        if is_hidden or (parts[-1].startswith("_") and suffix not in _EXPORTS):
            if suffix in _EXPORTS:
                listed.skipped.append(f"{path}: hidden, or in a hidden folder")
            continue  # markers: of an operating system, of a warehouse's unload
        if path.name.endswith(_REJECTED):
            listed.skipped.append(f"{path}: rows that an earlier import rejected")
        elif reason := _no_export(path):
            listed.skipped.append(f"{path}: {reason}")
        else:
            wanted += 1
            _add(SourceFile(path, path), listed, scratch)
    if not wanted:
        what = "is a directory without exports" + (f" ({len(inside)} other files)" if inside else "")
        raise folder.refusal("no_file", what, "check the path")


def _no_export(path: Path) -> str:
    """Why a file beside exports is none; empty if it may be one."""
    if path.name.startswith("~$"):
        return "the lock of a workbook that was open"
    if path.suffix.lower() in _UNFINISHED:
        return "a download that did not end"
    return f"{path.suffix} files are no exports" if path.suffix.lower() in _NO_EXPORTS else ""


def _add(file: SourceFile, listed: FileList, scratch: Path) -> None:
    try:
        head = file.head(4)
    except Refusal:
        head = b""  # told where the file is opened
    if head.startswith(_GZIP):
        listed.files.append(SourceFile(file.path, _gunzip(file, scratch), file.fetched_at))
    elif head == _ZIP and not _is_workbook(file):
        _unzip(file, listed, scratch)
    else:
        listed.files.append(file)


def _is_workbook(file: SourceFile) -> bool:
    try:
        with zipfile.ZipFile(file.real) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return file.path.suffix.lower() in (".xlsx", ".xlsm", ".xlsb", ".ods")
    return any(name in names for name in _WORKBOOK)


def _gunzip(file: SourceFile, scratch: Path) -> Path:
    target = _free(scratch)
    try:
        with gzip.open(file.real) as packed, target.open("wb") as plain:
            shutil.copyfileobj(packed, plain, 1 << 20)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise file.refusal("truncated", f"is a damaged gzip file ({error})", "download it again") from None
    except OSError as error:
        raise _no_room(target, error) from None
    return target


def _unzip(file: SourceFile, listed: FileList, scratch: Path) -> None:
    try:
        with zipfile.ZipFile(file.real) as archive:
            for member in sorted(archive.infolist(), key=lambda one: one.filename):
                name = Path(member.filename)
                if member.is_dir() or any(part.startswith((".", "_")) for part in name.parts):
                    continue
                shown = file.path / name.name
                if reason := _no_export(name):
                    listed.skipped.append(f"{shown}: {reason}")
                    continue
                target = _free(scratch)
                with archive.open(member) as packed, target.open("wb") as plain:
                    shutil.copyfileobj(packed, plain, 1 << 20)
                _add(SourceFile(shown, target, file.fetched_at), listed, scratch)
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        what = f"is a zip archive that can't be read ({error})"
        raise file.refusal("truncated", what, "unpack it") from None
    except OSError as error:
        raise _no_room(scratch, error) from None


def _free(scratch: Path) -> Path:
    scratch.mkdir(exist_ok=True)
    return scratch / f"{sum(1 for _ in scratch.iterdir()):06d}"


def _no_room(path: Path, error: OSError) -> FailedPrecondition:
    return FailedPrecondition(
        f"can't unpack to {path.parent}: {error.strerror or error}; set TMPDIR to a directory with room"
    )
