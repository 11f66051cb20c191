"""Text of a file in blocks, with its encoding settled and every undecodable byte named by its line."""

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from adsml_ingest.problems import Problem, Refusal

BLOCK_BYTES: Final = 1 << 20
Advance = Callable[[int], None]
"""Told of every number of bytes that were read."""

_BOMS: Final[tuple[tuple[bytes, str], ...]] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MAGIC: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"PK\x03\x04", "is a spreadsheet or zip archive", "save it as CSV, or unzip it, and import that"),
    (b"\xd0\xcf\x11\xe0", "is an old Excel workbook", "save it as CSV and import that"),
    (b"\x1f\x8b", "is compressed", "unpack it with gunzip and import that"),
    (b"\x28\xb5\x2f\xfd", "is compressed", "unpack it with zstd -d and import that"),
    (b"SQLite format 3", "is a database", "export the table as CSV and import that"),
    (b"%PDF", "is a PDF", "export the report as CSV and import that"),
)


def ignore(_: int) -> None:
    """An `Advance` that keeps no count."""


@dataclass(frozen=True, slots=True)
class TextSource:
    """A text file to be read in blocks.

    Attributes
    ----------
    path
        Where it is.
    encoding
        Settled by `sniff`.
    """

    path: Path
    encoding: str

    def blocks(self, advance: Advance = ignore) -> Iterator[str]:
        """The text, about a mebibyte at a time, line ends as they are, without a byte-order mark.

        Raises
        ------
        Refusal
            At the first byte that can't be decoded, with its line; everything before it was yielded.
        """
        decoder = codecs.getincrementaldecoder(self.encoding)("strict")
        lines, first = 1, True
        with self._open() as stream:
            while True:
                data = self._read(stream)
                try:
                    text = decoder.decode(data, final=not data)
                except UnicodeDecodeError as error:
                    good = error.object[: error.start].decode(self.encoding, errors="ignore")
                    raise self._undecodable(error, line=lines + good.count("\n")) from None
                advance(len(data))
                if first and text:
                    text, first = text.removeprefix("\ufeff"), False
                if text:
                    lines += text.count("\n")
                    yield text
                if not data:
                    return

    def _open(self) -> IO[bytes]:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise unreadable(self.path, error) from None

    def _read(self, stream: IO[bytes]) -> bytes:
        try:
            return stream.read(BLOCK_BYTES)
        except OSError as error:
            raise unreadable(self.path, error) from None

    def _undecodable(self, error: UnicodeDecodeError, *, line: int) -> Refusal:
        shown = error.object[error.start : error.start + 1].hex()
        if self.encoding.lower() in ("utf-8", "utf8"):
            cure = (
                "if it was saved by a spreadsheet on Windows, pass --encoding cp1252; else save it as UTF-8"
            )
        else:
            cure = "pass the right --encoding, or save the file as UTF-8"
        what = f"byte 0x{shown} is not {self.encoding.upper()}"
        return Refusal(Problem(str(self.path), "wrong_encoding", what, cure, line=line))


def unreadable(path: Path, error: OSError) -> Refusal:
    """That a file can't be opened or read."""
    if isinstance(error, FileNotFoundError):
        return Refusal(Problem(str(path), "no_file", "does not exist", "check the path"))
    what = f"can't be read: {error.strerror or error}"
    return Refusal(Problem(str(path), "unreadable", what, "check the path and its permissions"))


def sniff(path: Path, encoding: str | None = None) -> TextSource:
    """Settle how a file's bytes become text.

    Parameters
    ----------
    path
        A regular file.
    encoding
        The caller's word, which beats everything but an empty or binary file.

    Raises
    ------
    Refusal
        If the file is missing, unreadable, empty or no text at all.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(1 << 16)
    except OSError as error:
        raise unreadable(path, error) from None
    if not head:
        raise Refusal(Problem(str(path), "empty_file", "is empty (0 bytes)", "export it again"))
    for magic, what, cure in _MAGIC:
        if head.startswith(magic):
            raise Refusal(Problem(str(path), "not_text", what, cure))
    found = encoding or _encoding_of(head)
    if found is None:
        raise Refusal(
            Problem(str(path), "not_text", "is binary, not text", "import a CSV, JSON or Parquet file")
        )
    return TextSource(path, found)


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
    if pairs and head[1::2].count(0) > 0.7 * pairs and head[0::2].count(0) < 0.1 * pairs:
        return "utf-16-le"
    if pairs and head[0::2].count(0) > 0.7 * pairs and head[1::2].count(0) < 0.1 * pairs:
        return "utf-16-be"
    return None
