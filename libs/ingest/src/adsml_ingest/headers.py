"""Column headers of Ads Manager exports, in the languages in which people use it (`headers.toml`).

Headers follow the language of whoever exports, and have changed over the years. What is not known is mapped by
the caller: `--column field=Header`.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

_PARENTHESIS: Final = re.compile(r"\s*[(\[]([^()\[\]]{1,4})[)\]]\s*$")
_CODE: Final = re.compile(r"[A-Z]{3}")
_SYMBOLS: Final = {
    "€": "EUR", "£": "GBP", "₹": "INR", "R$": "BRL", "zł": "PLN", "₺": "TRY", "₽": "RUB", "₫": "VND", "₩": "KRW",
    "Kč": "CZK", "Ft": "HUF", "₪": "ILS", "₱": "PHP", "฿": "THB", "US$": "USD", "A$": "AUD", "C$": "CAD",
    "MX$": "MXN", "HK$": "HKD", "NT$": "TWD", "S$": "SGD", "NZ$": "NZD", "lei": "RON", "kr": None, "¥": None,
    "$": None,
}  # fmt: skip
"""Signs of currencies; None where several share one."""
_NAMING: Final = ("campaign_id", "adset_id", "ad_id", "campaign_name", "adset_name", "ad_name")
BREAKDOWNS: Final = ("breakdown", "by_product", "by_region", "by_hour")
_WORDS: Final = ("total", "all", "results_of")


@cache
def languages() -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Language to field to headers."""
    text = files("adsml_ingest").joinpath("headers.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def _words(kind: str) -> frozenset[str]:
    return frozenset(normal(word) for fields in languages().values() for word in fields.get(kind, ()))


def is_total(name: str) -> bool:
    """Whether a cell is called as sums are: Total, All."""
    return normal(name) in _words("total") | _words("all")


def is_sum_of(name: str) -> bool:
    """Whether a cell is called as a pivot's sums are: Total, Grand Total, Brand Total."""
    text = name.strip()
    return any(is_total(one) for one in (text, text.rpartition(" ")[2], text.partition(" ")[0]))


def is_every(cell: str) -> bool:
    """Whether a cell stands for all values: All."""
    return normal(cell) in _words("all")


def is_table_total(name: str) -> bool:
    """Whether a name is that of Ads Manager's total of a table: ``Results from 12 campaigns``."""
    text, starts = normal(name), _words("results_of")
    return any(text.startswith(f"{words} ") and text[len(words) + 1].isdigit() for words in starts)


def normal(header: str) -> str:
    """A header to compare by: no case, accents, currency, typographic apostrophes or doubled spaces."""
    text = unicodedata.normalize("NFKD", header.strip().replace("\u2019", "'").replace("`", "'"))
    text = "".join(character for character in text if not unicodedata.combining(character))
    found = _PARENTHESIS.search(text)
    if found and (
        found[1] in _SYMBOLS or _CODE.fullmatch(found[1]) or "Sc" in map(unicodedata.category, found[1])
    ):
        text = text[: found.start()]
    return " ".join(text.casefold().replace("ı", "i").split())


def currency_of(header: str) -> str | None:
    """The currency that a header names, e.g. EUR in ``Amount spent (EUR)``."""
    found = _PARENTHESIS.search(unicodedata.normalize("NFKC", header.strip()))
    if found is None:
        return None
    return found[1] if _CODE.fullmatch(found[1]) else _SYMBOLS.get(found[1])


@dataclass(frozen=True, slots=True)
class HeaderMap:
    """What the headers of a file mean."""

    language: str  # in which most of them are written
    fields: Mapping[str, tuple[int, ...]]  # to column positions; several only for breakdowns

    def first(self, field: str) -> int | None:
        """Position of a field's column."""
        return next(iter(self.fields.get(field, ())), None)

    def positions(self, fields: Iterable[str]) -> dict[str, int]:
        """Position of the columns of some fields, of those that are there."""
        return {field: at for field in fields if (at := self.first(field)) is not None}


def recognise(headers: Iterable[str], mapping: Mapping[str, int] | None = None) -> HeaderMap | None:
    """The meaning of some headers; None if they are not those of Ads Manager.

    `mapping`, from a field to its column position as the caller says, beats what the headers say.
    """
    compared = [normal(header) for header in headers]
    known = {language: _positions(compared, meanings) for language, meanings in languages().items()}
    language = max(known, key=lambda name: len(known[name]))
    fields = dict(known[language])
    # Some headers stay English, or in the language of a saved report.
    for other in known.values():
        used = {position for positions in fields.values() for position in positions}
        free = {field: positions for field, positions in other.items() if not used.intersection(positions)}
        fields = free | fields
    if mapping:
        taken = set(mapping.values())
        fields = {
            field: kept
            for field, positions in fields.items()
            if (kept := tuple(position for position in positions if position not in taken))
        }
        fields |= {field: (position,) for field, position in mapping.items()}
    if "spend" not in fields or not any(name in fields for name in _NAMING):
        return None
    return HeaderMap(language, fields)


def _positions(compared: Sequence[str], meanings: Mapping[str, Sequence[str]]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for field, names in meanings.items():
        if field in _WORDS:
            continue
        wanted = [normal(name) for name in names]
        positions = tuple(dict.fromkeys(compared.index(name) for name in wanted if name in compared))
        if positions:
            found[field] = positions if field in BREAKDOWNS else positions[:1]
    return found
