"""Objects of a JSON document, one at a time, each with the line at which it starts.

Takes what the API and its callers write: one page (``{"data": [...], "paging": {...}}``), a list of rows, a
list of pages, one row or one page per line, and several documents one after the other. Memory does not grow
with the length of a page.
"""

import io
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from adsml_ingest.files import TextSource
from adsml_ingest.problems import Refusal

MAX_OBJECT: Final = 4 << 20  # characters; no row is longer, and a page that is longer is read row by row
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_ENDLESS: Final = "holds a number of thousands of digits"
_CUT: Final = "is cut off in the middle"
_DEEP: Final = "is nested too deeply to be an export"


class JsonRow(NamedTuple):
    """One object of the document."""

    line: int  # at which it starts, from 1
    value: dict[str, Any] | None  # None if it can't be read
    text: str = ""  # what is there instead
    error: str = ""


@dataclass(slots=True)
class Pages:
    """The pages of a document, and what the first says of one before it, the last of one after it."""

    number: int = 0
    first_has_previous: bool = False
    last_has_next: bool = False

    def add(self, paging: Any) -> None:
        """Note a page by its ``paging`` member."""
        known = paging if isinstance(paging, dict) else {}
        if not self.number:
            self.first_has_previous = bool(known.get("previous"))
        self.number += 1
        self.last_has_next = bool(known.get("next"))


def read_objects(source: TextSource, pages: Pages | None = None) -> Iterator[JsonRow]:
    """Every object of the document that is no page.

    Rows that are nested in the objects that they are about (``ads?fields=insights``) come one by one. A bad line of
    a JSON-lines file is yielded with its error, and reading goes on after it.

    Raises `Refusal` if the document is cut off or malformed, with the line; everything before it was yielded. If
    it is an error answer of the API.
    """
    pages = pages if pages is not None else Pages()
    rows = _read_lines(source, pages) if _is_lines(source) else _Walker(source, pages).documents()
    for row in rows:
        value = row.value
        if value is None or not ("insights" in value or "error" in value or "body" in value):
            yield row
            continue
        value = _answer(value)
        nested, error = value.get("insights"), value.get("error")
        if _is_page(nested):
            yield from _rows_of(nested, row.line, pages)
        elif isinstance(error, dict) and "message" in error:
            what = f"is an error answer of the API: {error['message']}"
            raise source.file.refusal("api_error", what, "repeat the request", line=row.line, whole=True)
        elif value is not row.value:
            yield from _rows_of(value, row.line, pages)
        else:
            yield row


def _answer(value: dict[str, Any]) -> dict[str, Any]:
    """What is in the body of one answer to a batch of calls; anything else as it is."""
    if "code" in value and isinstance(value.get("body"), str):
        with suppress(ValueError, RecursionError):
            inner = json.loads(value["body"])
            return inner if isinstance(inner, dict) else value
    return value


def _is_lines(source: TextSource) -> bool:
    """Whether the first line that is not blank is an object of its own."""
    lines = io.StringIO(next(source.blocks(), ""))
    try:
        return isinstance(json.loads(next((line for line in lines if line.strip()), "")), dict)
    except (ValueError, RecursionError):
        return False


def _read_lines(source: TextSource, pages: Pages) -> Iterator[JsonRow]:
    for number, line in enumerate(source.lines(), start=1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            if line.strip():
                yield _bad_line(line, number, error)
            continue
        if type(value) is dict and "data" not in value:
            yield JsonRow(number, value)
        else:
            yield from _rows_of(value, number, pages)


def _bad_line(line: str, number: int, error: Exception) -> JsonRow:
    text = line.rstrip("\r\n")
    if isinstance(error, RecursionError):
        return JsonRow(number, None, text, _DEEP)
    if not isinstance(error, json.JSONDecodeError):
        return JsonRow(number, None, text, _ENDLESS)
    cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
    return JsonRow(number, None, text, _CUT if cut else f"is not JSON ({error.msg})")


def _rows_of(value: Any, number: int, pages: Pages) -> Iterator[JsonRow]:
    """The rows of a page or a list that was read whole, or the object itself."""
    if _is_page(value):
        pages.add(value.get("paging"))
        value = value["data"]
    if isinstance(value, list):
        for element in value:
            yield from _rows_of(element, number, pages)
    elif isinstance(value, dict):
        yield JsonRow(number, value)
    else:
        yield JsonRow(number, None, json.dumps(value), "is not an object")


def _is_page(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("data"), list) and "date_start" not in value


class _Malformed(Refusal):
    """The text is not JSON at some place, or ends before the value does."""


class _Walker:
    """A position in the text that moves forward and pulls in more text as it goes."""

    def __init__(self, source: TextSource, pages: Pages) -> None:
        self._pages = pages
        self._file = source.file
        self._blocks = source.blocks()
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._position = 0
        self._ended = False
        self._line = 1
        self._counted = 0

    def documents(self) -> Iterator[JsonRow]:
        """The rows of every document of the text."""
        try:
            while self._peek():
                yield from self._value()
        except RecursionError:
            line = self._line_here()
            raise self._file.refusal("bad_json", _DEEP, "export it again", line=line) from None

    def _malformed(self, message: str, *, at: int, cut: bool) -> _Malformed:
        """That the text is not JSON at some place of the buffer, or (`cut`) ends before the value does."""
        line = self._line + self._text.count("\n", self._counted, at)
        told = ("bad_json", f"is not valid JSON: {message}", "export it again")
        if cut:
            told = ("truncated", _CUT, "download or export it again")
        return _Malformed(*self._file.refusal(*told, line=line).problems)

    def _value(self) -> Iterator[JsonRow]:
        """The rows of the value at the position."""
        first = self._peek()
        if first == "[":
            yield from self._list()
            return
        line = self._line_here()
        try:
            value, start = self._decode()
        except _Malformed:
            if first != "{":
                raise
            # Too long to be held, or broken: what comes before the break is still worth reading.
            yield from self._page()
            return
        if _is_page(value):
            self._position = start
            yield from self._page()
        elif isinstance(value, dict):
            yield JsonRow(line, value)
        else:
            yield JsonRow(line, None, json.dumps(value), "is not an object")

    def _list(self) -> Iterator[JsonRow]:
        self._take("[")
        if self._peek() == "]":
            self._position += 1
            return
        while True:
            yield from self._value()
            if self._take(",]") == "]":
                return

    def _page(self) -> Iterator[JsonRow]:
        """Rows of the list under ``data``; what is beside it is passed over."""
        self._take("{")
        if self._peek() == "}":
            self._position += 1
            return
        paging: Any = None
        is_page = False
        while True:
            if self._peek() not in ('"', ""):
                raise self._malformed("expected the name of a member", at=self._position, cut=False)
            name, _ = self._decode()
            self._take(":")
            if name == "data" and self._peek() == "[":
                is_page = True
                yield from self._list()
            else:
                self._peek()
                line = self._line_here()
                value, _ = self._decode()
                if name == "error":
                    yield JsonRow(line, {"error": value})
                elif name == "paging":
                    paging = value
            if self._take(",}") == "}":
                if is_page:
                    self._pages.add(paging)
                return

    def _decode(self) -> tuple[Any, int]:
        """The value at the position and where it starts; the position moves to its end."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:
                unterminated = error.msg.startswith("Unterminated")
                # An error well before the end of the text at hand can't be mended by more text.
                final = error.pos < len(self._text) - 16 and not unterminated
                if final or len(self._text) - self._position > MAX_OBJECT or not self._more():
                    cut = self._ended and (unterminated or not self._text[error.pos :].strip())
                    raise self._malformed(error.msg, at=error.pos, cut=cut) from None
                continue
            except ValueError:
                raise self._malformed(_ENDLESS, at=self._position, cut=False) from None
            # A number at the end of the text at hand may go on in the next block.
            if end == len(self._text) and not isinstance(value, dict | list | str) and self._more():
                continue
            start, self._position = self._position, end
            return value, start

    def _take(self, expected: str) -> str:
        """Step over the next character that is no space, one of some."""
        found = self._peek()
        if not found or found not in expected:
            wanted = " or ".join(f"'{character}'" for character in expected)
            raise self._malformed(f"expected {wanted}", at=self._position, cut=not found)
        self._position += 1
        return found

    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            match = _SPACE.match(self._text, self._position)
            if match is not None:
                self._position = match.end()
            if self._position < len(self._text):
                return self._text[self._position]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Pull in a block and drop what lies behind the position; False at the end of the text."""
        block = None if self._ended else next(self._blocks, None)
        if block is None:
            self._ended = True
            return False
        self._line_here()
        self._text = self._text[self._position :] + block
        self._position = self._counted = 0
        return True

    def _line_here(self) -> int:
        """Line of the position."""
        self._line += self._text.count("\n", self._counted, self._position)
        self._counted = self._position
        return self._line
