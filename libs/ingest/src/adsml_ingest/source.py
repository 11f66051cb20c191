"""Files of an import, and the text of one in blocks, with every undecodable byte named by its line."""

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adsml_ingest.problems import Problem, Refusal

BLOCK_BYTES: Final = 1 << 20
Advance = Callable[[int], None]
"""Told of every number of bytes that were read."""

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


def ignore(_: int) -> None:
    """An `Advance` that keeps no count."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to import."""

    path: Path  # what messages call it: as the caller gave it, or a member of an archive, or a URL
    real: Path  # where its bytes lie
    fetched_at: float = 0.0  # when it was written, seconds since 1970, for rows that don't say; 0 if unknown

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

    def blocks(self, advance: Advance = ignore) -> Iterator[str]:
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
                    advance(len(data))
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
