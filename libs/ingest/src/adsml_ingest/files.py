"""The files of an import: folders with all that is in them, archives unpacked; the text of one in blocks."""

import codecs
import gzip
import io
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from adsml_common.domain.errors import FailedPrecondition

from adsml_ingest.problems import Problem, Refusal

BLOCK_BYTES: Final = 1 << 20
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MAGIC: Final = (
    (b"\xd0\xcf\x11\xe0", "is an old Excel workbook", "save it as XLSX or CSV and import that"),
    (b"\x28\xb5\x2f\xfd", "is compressed", "unpack it with zstd -d and import that"),
    (b"SQLite format 3", "is a database", "export the table as CSV and import that"),
    (b"7z\xbc\xaf", "is a 7z archive", "unpack it and import what is in it"),
    (b"Rar!", "is a RAR archive", "unpack it and import what is in it"),
    (b"BZh", "is compressed", "unpack it with bunzip2 and import that"),
    (b"\xfd7zXZ", "is compressed", "unpack it with xz -d and import that"),
    (b"%PDF", "is a PDF", "export the report as CSV and import that"),
)
_GZIP: Final = b"\x1f\x8b"
ZIP_MAGIC: Final = b"PK\x03\x04"
PREAMBLE: Final = 10  # rows among which the header of a table is
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


@dataclass(slots=True, unsafe_hash=True)
class SourceFile:
    """A file to import."""

    path: Path  # what messages call it: as the caller gave it, or a member of an archive, or a URL
    real: Path  # where its bytes lie
    fetched_at: float = 0.0  # when it was written, seconds since 1970, for rows that don't say; 0 if unknown
    done: int = field(default=0, compare=False)  # bytes of it that were read, for progress

    def refusal(
        self, kind: str, what: str, cure: str, *, line: int | None = None, column: str | None = None,
        whole: bool = False,
    ) -> Refusal:  # fmt: skip
        """That it can't be read (any further)."""
        return Refusal(Problem(str(self.path), kind, what, cure, line=line, column=column), whole=whole)

    def unreadable(self, error: OSError) -> Refusal:
        """That it can't be opened or read."""
        if isinstance(error, FileNotFoundError):
            return self.refusal("no_file", "does not exist", "check the path")
        what = f"can't be read: {error.strerror or error}"
        return self.refusal("unreadable", what, "check the path and its permissions")

    def head(self, size: int = 1 << 16) -> bytes:
        """Its first bytes; raises `Refusal` if it is missing or unreadable."""
        try:
            with self.real.open("rb") as stream:
                return stream.read(size)
        except OSError as error:
            raise self.unreadable(error) from None


@dataclass(frozen=True, slots=True)
class TextSource:
    """A text file whose encoding `sniff` has settled."""

    file: SourceFile
    encoding: str

    def blocks(self) -> Iterator[str]:
        """The text, about a mebibyte at a time, line ends as they are, without a byte-order mark.

        Raises `Refusal` at the first byte that can't be decoded, with its line; everything before it was
        yielded.
        """
        decoder = codecs.getincrementaldecoder(self.encoding)("strict")
        lines, first = 1, True
        try:
            with self.file.real.open("rb") as stream:
                while True:
                    data = stream.read(BLOCK_BYTES)
                    text = decoder.decode(data, final=not data)
                    self.file.done += len(data)
                    if first and text:
                        text, first = text.removeprefix("\ufeff"), False
                    if text:
                        lines += text.count("\n")
                        yield text
                    if not data:
                        return
        except UnicodeDecodeError as error:
            good = error.object[: error.start].decode(self.encoding, errors="ignore")
            raise self._undecodable(error, line=lines + good.count("\n")) from None
        except OSError as error:
            raise self.file.unreadable(error) from None

    def lines(self) -> Iterator[str]:
        """The text line by line; a line may be long."""
        carry = ""
        for block in self.blocks():
            cut = block.rfind("\n") + 1
            if cut:
                yield from io.StringIO(carry + block[:cut])
                carry = ""
            carry += block[cut:]
        if carry:
            yield carry

    def _undecodable(self, error: UnicodeDecodeError, *, line: int) -> Refusal:
        shown = error.object[error.start : error.start + 1].hex()
        cure = "pass the right --encoding, or save the file as UTF-8"
        if self.encoding.lower() in ("utf-8", "utf8"):
            cure = (
                "if it was saved by a spreadsheet on Windows, pass --encoding cp1252 (elsewhere cp1250, cp1251, "
                "shift_jis, gb18030, ...); else save it as UTF-8"
            )
        what = f"byte 0x{shown} is not {self.encoding.upper()}"
        return self.file.refusal("wrong_encoding", what, cure, line=line)


def sniff(file: SourceFile, encoding: str | None = None) -> TextSource:
    """Settle how a file's bytes become text; the caller's `encoding` beats what the bytes say.

    Raises `Refusal` if the file is missing, unreadable, empty or no text at all.
    """
    head = file.head()
    if not head:
        raise file.refusal("empty_file", "is empty (0 bytes)", "export it again")
    for magic, what, cure in _MAGIC:
        if head.startswith(magic):
            raise file.refusal("not_text", what, cure)
    if head[257:262] == b"ustar":
        raise file.refusal("not_text", "is a tar archive", "unpack it and import what is in it")
    known = encoding or _encoding_of(head)
    if known is None:
        raise file.refusal("not_text", "is binary, not text", "import a CSV, JSON or Parquet file")
    return TextSource(file, known)


def _encoding_of(head: bytes) -> str | None:
    """Encoding by byte-order mark or by where the zero bytes are; None for binary."""
    for bom, name in _BOMS:
        if head.startswith(bom):
            return name
    if b"\x00" not in head:
        control = sum(head.count(bytes([code])) for code in (*range(1, 9), *range(14, 27)))
        return None if control > len(head) // 100 else "utf-8"
    pairs = len(head) // 2
    # UTF-16 without a mark: for Latin letters every other byte is zero.
    zeros = head[0::2].count(0), head[1::2].count(0)
    if pairs and zeros[1] > 0.7 * pairs and zeros[0] < 0.1 * pairs:
        return "utf-16-le"
    return "utf-16-be" if pairs and zeros[0] > 0.7 * pairs and zeros[1] < 0.1 * pairs else None


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
    elif head == ZIP_MAGIC and not _is_workbook(file):
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
    try:
        return _spool(gzip.open(file.real), scratch)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise file.refusal("truncated", f"is a damaged gzip file ({error})", "download it again") from None
    except OSError as error:
        raise _no_room(scratch, error) from None


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
                unpacked = _spool(archive.open(member), scratch)
                _add(SourceFile(shown, unpacked, file.fetched_at), listed, scratch)
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        what = f"is a zip archive that can't be read ({error})"
        raise file.refusal("truncated", what, "unpack it") from None
    except OSError as error:
        raise _no_room(scratch, error) from None


def _spool(packed: IO[bytes] | gzip.GzipFile, scratch: Path) -> Path:
    """A new file with what is packed."""
    scratch.mkdir(exist_ok=True)
    target = scratch / f"{sum(1 for _ in scratch.iterdir()):06d}"
    with packed, target.open("wb") as plain:
        shutil.copyfileobj(packed, plain, 1 << 20)
    return target


def _no_room(scratch: Path, error: OSError) -> FailedPrecondition:
    what = f"can't unpack to {scratch}: {error.strerror or error}"
    return FailedPrecondition(f"{what}; set TMPDIR to a directory with room")
