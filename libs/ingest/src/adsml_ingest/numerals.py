"""Numbers as exports write them: plain, with thousands separators, with decimal commas."""

import math
import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adsml_ingest.batch import Column, factorize

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

PLACEHOLDERS: Final = frozenset({"", "-", "--", "–", "—"})
"""What Ads Manager writes where there is nothing to report."""

_PLAIN: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_SPACES: Final = "\u0020\u00a0\u202f\u2009'\u2019"
_POINT: Final = re.compile(
    rf"[+-]?(?:\d{{1,3}}(?:,\d{{3}})+|\d{{1,2}}(?:,\d{{2}})+,\d{{3}}|\d{{1,3}}(?:[{_SPACES}]\d{{3}})+|\d+)(?:\.\d*)?",
    re.ASCII,
)
"""Decimal point; thousands by comma (the Indian grouping too), space or apostrophe."""
_COMMA: Final = re.compile(
    rf"[+-]?(?:\d{{1,3}}(?:\.\d{{3}})+|\d{{1,3}}(?:[{_SPACES}]\d{{3}})+|\d+)(?:,\d*)?", re.ASCII
)
"""Decimal comma; thousands by point, space or apostrophe."""
_AMBIGUOUS: Final = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", re.ASCII)
_SIGN: Final = (
    r"(?:[A-Z]{0,3}[$¢£¤¥֏؋৳฿₠-\u20cf﷼]|[A-Z]{3}|"
    r"[kK]r\.?|zł|Kč|Ft|[Ll]ei|руб\.?|р\.|TL|Rp\.?|RM|Fr\.?|Rs\.?)"
)
"""How currencies are written beside an amount."""
_CURRENCY: Final = re.compile(rf"^\s*{_SIGN}\s*(?=[\d(+.,-])|(?<=[\d)])\s*{_SIGN}\s*$")
_BRACKETED: Final = re.compile(r"\(\s*([\d].*)\)")
_DIGITS: Final = str.maketrans("٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹٫٬−", "01234567890123456789.,-")
_NOT_FINITE: Final = re.compile(r"[+-]?(?:nan|inf|infinity|#n/a|#num!|#div/0!)", re.IGNORECASE)
_STRIP_SEPARATORS: Final = {
    ".": str.maketrans("", "", "," + _SPACES),
    ",": str.maketrans(",", ".", "." + _SPACES),
}


def parse(
    cells: Column, *, decimal: str | None = None, blanks: Collection[str] = ("",)
) -> tuple[FloatArray, BoolArray]:
    """Numbers from cells: text, numbers or None, or a numeric array.

    Parameters
    ----------
    decimal
        ``"."`` or ``","``: numbers may have thousands separators and that decimal sign. None: plain numbers.
    blanks
        Texts that stand for nothing; so does None.

    Returns
    -------
    values : array of shape (cells,)
        NaN where blank or not a finite number.
    blank : array of shape (cells,)
        Where there is nothing.
    """
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "fiu":
        values = cells.astype(np.float64)
        return np.where(np.isfinite(values), values, np.nan), np.isnan(values)
    try:
        text = "".join(cells)
        # Where the comma is the decimal sign, a point parts thousands: 48.000 is no plain number.
        plain = decimal != "," and text.isascii() and "_" not in text and " " not in text
        if plain:
            values = np.fromiter(map(float, cells), dtype=np.float64, count=len(cells))
            values[~np.isfinite(values)] = np.nan
            return values, np.zeros(len(cells), dtype=np.bool_)
    except (TypeError, ValueError):
        pass  # some cell is no plain number: look at each distinct one
    codes, distinct = factorize(cells)
    numbers = np.full(len(distinct) + 1, np.nan)
    empty = np.zeros(len(distinct) + 1, dtype=np.bool_)
    empty[-1] = True  # None: code -1
    for index, cell in enumerate(distinct):
        value = number(cell, decimal=decimal)
        if value is not None:
            numbers[index] = value
        elif isinstance(cell, str) and cell.strip() in blanks:
            empty[index] = True
    return numbers[codes], empty[codes]


def number(cell: Any, *, decimal: str | None = None) -> float | None:
    """One cell as a finite number, or None."""
    plain = _plain(cell, decimal) if isinstance(cell, str) else cell
    if plain is None or isinstance(plain, bool) or not isinstance(plain, str | int | float):
        return None
    try:
        value = float(plain)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def _plain(cell: str, decimal: str | None) -> str | None:
    """A number as Python writes it, from one as people do; None if it is none."""
    text = cell.strip()
    if decimal is not None:
        text = amount(text)
        if (_POINT if decimal == "." else _COMMA).fullmatch(text):
            text = text.translate(_STRIP_SEPARATORS[decimal])
        elif decimal == "," and "." in text:
            return None
    return text if _PLAIN.fullmatch(text) else None


def amount(text: str) -> str:
    """An amount without its currency, in the digits and signs of ASCII; brackets, as accountants write, are a minus."""
    text = text.strip()
    if text.isascii() and text[:1].isdigit() and text[-1:].isdigit():
        return text
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_DIGITS)
    text = _CURRENCY.sub("", text.strip())
    bracketed = _BRACKETED.fullmatch(text)
    return f"-{bracketed[1].strip()}" if bracketed else text


def explain(cell: Any, *, decimal: str | None = None) -> tuple[str, str, str]:
    """Kind, what is wrong and the cure for a cell that `number` refuses."""
    text = str(cell).strip()
    if _NOT_FINITE.fullmatch(text):
        return "not_finite", "is not a finite number", "write 0 for a day without any"
    what = "is not a number"
    if decimal != "," and number(text, decimal=",") is not None:
        return "not_a_number", what, "this file uses decimal commas: pass --decimal ,"
    if decimal == "," and number(text, decimal=".") is not None:
        return "not_a_number", what, "this file uses decimal points: pass --decimal ."
    if decimal is None and number(text, decimal=".") is not None:
        return "not_a_number", what, "this file uses thousands separators: pass --decimal ."
    return "not_a_number", what, "expected a number such as 1250.50"


@dataclass(slots=True)
class DecimalEvidence:
    """What the numbers of a file give away of its decimal sign."""

    point: bool = False  # whether some number can only be read with that sign
    comma: bool = False
    unsure: bool = False  # some number can be read two ways: 1.250 is one and a quarter, or 1250

    def add(self, money: Iterable[str], counts: Iterable[str]) -> None:
        """Look at cells that may have decimals, and at whole numbers, where a separator parts thousands."""
        for cell in counts:
            text = amount(cell)
            if _AMBIGUOUS.fullmatch(text):
                self.point, self.comma = self.point or "," in text, self.comma or "." in text
        for cell in money:
            text = amount(cell)
            if _AMBIGUOUS.fullmatch(text):
                self.unsure = True
                continue
            as_point, as_comma = _POINT.fullmatch(text), _COMMA.fullmatch(text)
            self.point = self.point or (as_point is not None and as_comma is None)
            self.comma = self.comma or (as_comma is not None and as_point is None)

    @property
    def decimal(self) -> str | None:
        """``"."`` or ``","``; ``"."`` too where nothing has a separator; None if one can't tell."""
        if self.point and self.comma:
            return None
        if self.point or self.comma:
            return "." if self.point else ","
        return None if self.unsure else "."
