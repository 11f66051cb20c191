"""Entities met while reading: numbered, with their parents and what the export says of them.

Rows are staged under these numbers, so memory grows with the number of entities and not with that of rows.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from adsml_common.domain.entities import Entity, EntityRef

from adsml_ingest.batch import LEVELS, Column, look_up
from adsml_ingest.dates import to_date
from adsml_ingest.headers import is_every
from adsml_ingest.leads import NULLS
from adsml_ingest.problems import BadCell

Codes = npt.NDArray[np.int32]

BLANK: Final = -1  # code of a cell that names nothing
BAD: Final = -2  # code of a cell that can't be an id
MAX_ID: Final = 64
HAS_BUDGET: Final = "has_budget"
"""Fact of a campaign: whether the budget is set on it, and so shared by its ad sets."""
NEVER: Final = np.iinfo(np.int32).min
_EXACT: Final = 2**53
_ROUNDED: Final = re.compile(r"\d(?:[.,]\d+)?[eE]\+?\d+", re.ASCII)
_FLOAT: Final = re.compile(r"(\d+)\.0", re.ASCII)
_WRAPPED: Final = re.compile(r"""="([^"]*)"|'(.*)|(?:cg|tp|[casx]):(\d+)""", re.DOTALL)
"""How people keep a spreadsheet from rounding an id, and how Ads Manager's own export for editing does."""
_KEPT_DIGITS: Final = 15  # of a number in a spreadsheet
_PROOF: Final = 8  # zeros too many for chance: one in a hundred million
_JOINT: Final = " / "
_LOST_DIGITS: Final = (
    "rounded_id", "is an id that lost its last digits, as spreadsheets and floating-point columns do to them",
    "export again, keep the id as text, and don't save the file from a spreadsheet",
)  # fmt: skip
_ENTITY: Final = np.dtype(
    [("level", np.int8), ("parent", np.int32), ("root", np.int32), ("used", np.bool_), ("told", np.int32)]
)
"""What is known of one: level, parent, campaign of an ad without ad set, whether good rows name it, their last day."""
_UNKNOWN: Final = np.array((0, BLANK, BLANK, False, NEVER), dtype=_ENTITY)


def clean_id(cell: Any, *, digits: bool) -> str:
    """One cell as an id, empty if there is none; raises `BadCell`.

    `digits` says that ids are the platform's, which are whole numbers.
    """
    if isinstance(cell, float):
        if not cell.is_integer() or abs(cell) >= _EXACT:
            raise BadCell(*_LOST_DIGITS)
        return str(int(cell))
    text = str(cell).strip()
    wrapped = _WRAPPED.fullmatch(text)
    if wrapped:
        text = next((part for part in wrapped.groups() if part), "")
    if _ROUNDED.fullmatch(text):
        raise BadCell(*_LOST_DIGITS)
    if digits and text:
        return _digits(text)
    if len(text) > MAX_ID:
        raise BadCell("bad_id", f"has {len(text)} characters", f"ids have at most {MAX_ID}")
    if text and not text.isprintable():
        what = "holds a line break or another character that can't be printed"
        raise BadCell("bad_id", what, "correct the id")
    return text


def _digits(text: str) -> str:
    if text in NULLS or is_every(text):
        return ""
    whole = _FLOAT.fullmatch(text)
    if whole:
        if int(whole[1]) >= _EXACT:
            raise BadCell(*_LOST_DIGITS)
        return whole[1]
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_ID):
        cure = (
            "ids of campaigns, ad sets and ads are whole numbers: export again with the ids kept as text (not "
            "saved from a spreadsheet), or mend the cell"
        )
        raise BadCell("bad_id", "is no id", cure)
    return text


def lost_digits(ids: Iterable[str]) -> list[str]:
    """Ids that lost their digits after the fifteenth, as spreadsheets make them; none unless all look so.

    One id in a thousand of 18 digits ends in 000; that every one of a file does, by chance, is as good as
    impossible: a zero for every digit beyond the fifteenth, at odds of ten to one each.
    """
    long = [one for one in ids if len(one) > _KEPT_DIGITS and one.isdigit()]
    if any(one[_KEPT_DIGITS:].strip("0") for one in long):
        return []
    return long if sum(len(one) - _KEPT_DIGITS for one in long) >= _PROOF else []


def name_id(path: tuple[str, ...]) -> str:
    """An id for an entity that the export only names: the path of names, cut and hashed if it is long."""
    text = _JOINT.join(path)
    if len(text) <= MAX_ID and text.isprintable() and not any(_JOINT in name for name in path):
        return text
    digest = hashlib.sha256("\x1f".join(path).encode()).hexdigest()[:12]
    shown = "".join(character for character in text if character.isprintable())
    return f"{shown[: MAX_ID - 13]}~{digest}"


class Tree:
    """Numbers entities and keeps what is known of them."""

    def __init__(self) -> None:
        self._codes: tuple[dict[str, int], ...] = ({}, {}, {})
        self._facts: dict[int, dict[str, tuple[float, Any]]] = {}
        self._ids: list[str] = []
        self._known = np.empty(0, dtype=_ENTITY)

    def code(self, level: int, entity_id: str) -> int:
        """Number of an entity, given out at first sight."""
        known = self._codes[level]
        code = known.get(entity_id)
        if code is None:
            code = known[entity_id] = len(self._ids)
            self._ids.append(entity_id)
            if code >= len(self._known):
                more = np.full(code + 1024, _UNKNOWN)
                self._known = np.concatenate([self._known, more])
            self._known["level"][code] = level
        return code

    def codes(self, level: int, cells: Column, *, digits: bool, blanks: frozenset[str]) -> Codes:
        """Numbers of the entities that cells name: `BLANK` for none, `BAD` for what `clean_id` refuses."""

        def code_of(cell: Any) -> int:
            try:
                entity_id = clean_id(cell, digits=digits)
            except BadCell:
                return BAD
            return self.code(level, entity_id) if entity_id and entity_id not in blanks else BLANK

        return look_up(cells, code_of, nothing=BLANK, dtype=np.int32)

    def named(self, level: int, names: Sequence[Column], *, blanks: frozenset[str]) -> Codes:
        """Numbers of entities named by a path: the names of each level down to theirs."""

        def code_of(cell: str) -> int:
            path = tuple(cell.split("\x1f"))
            is_blank = path[-1] in blanks or is_every(path[-1])
            return BLANK if is_blank else self.code(level, name_id(path))

        joined = ["\x1f".join(str(name).strip() for name in row) for row in zip(*names, strict=True)]
        return look_up(joined, code_of, nothing=BLANK, dtype=np.int32)

    def link(self, children: Codes, parents: Codes) -> npt.NDArray[np.bool_]:
        """Note the parents of some entities; True where an entity is already known to have another one."""
        known = np.flatnonzero((children >= 0) & (parents >= 0))
        # The first row that names a parent settles it.
        first = np.unique(children[known], return_index=True)[1]
        rows = known[first]
        rows = rows[self._known["parent"][children[rows]] == BLANK]
        self._known["parent"][children[rows]] = parents[rows]
        clash = np.zeros(len(children), dtype=np.bool_)
        clash[known] = self._known["parent"][children[known]] != parents[known]
        return clash

    def root(self, ads: Codes, campaigns: Codes) -> None:
        """Note the campaigns of ads whose ad set is not known."""
        known = (ads >= 0) & (campaigns >= 0)
        self._known["root"][ads[known]] = campaigns[known]

    def use(self, codes: Codes, day: npt.NDArray[Any]) -> None:
        """Note that good rows, each of a day (since 1970), name these."""
        known = codes >= 0
        self._known["used"][codes[known]] = True
        np.maximum.at(self._known["told"], codes[known], day[known].astype(np.int32))

    def forget(self, codes: list[int]) -> None:
        """Note that these are no entities after all."""
        self._known["used"][codes] = False

    def describe(
        self, codes: Codes, when: npt.NDArray[Any], field: str, cells: Sequence[Any], blanks: frozenset[str]
    ) -> None:
        """Note what rows say of entities, an attribute of `Entity`; what is said last in time stands.

        `codes`, `when` (day or moment) and `cells` are of shape (rows,); None and `blanks` say nothing.
        """
        said = np.fromiter((cell is not None and cell not in blanks for cell in cells), np.bool_, len(cells))
        rows = np.flatnonzero(said & (codes >= 0))
        order = rows[np.lexsort((when[rows], codes[rows]))]
        last = order[np.append(codes[order][1:] != codes[order][:-1], True)] if len(order) else order
        for row in last.tolist():
            facts = self._facts.setdefault(int(codes[row]), {})
            if field not in facts or facts[field][0] <= when[row]:
                value = cells[row]
                facts[field] = (float(when[row]), value.strip() if isinstance(value, str) else value)

    def fact(self, code: int, field: str) -> Any:
        """What is known of an entity; None if nothing."""
        found = self._facts.get(code, {}).get(field)
        return found[1] if found else None

    def id_of(self, code: int) -> str:
        """Id of one entity."""
        return self._ids[code]

    @property
    def ids(self) -> npt.NDArray[np.object_]:
        """Id by number."""
        out = np.empty(len(self._ids), dtype=object)
        out[:] = self._ids
        return out

    @property
    def levels(self) -> npt.NDArray[np.int8]:
        """Level by number."""
        return self._known["level"][: len(self._ids)]

    @property
    def parents(self) -> Codes:
        """Parent by number; `BLANK` where unknown."""
        return self._known["parent"][: len(self._ids)]

    def entities(self, config_id: int) -> Iterator[Entity]:
        """The entities that good rows name, and their parents, campaigns first."""
        used = self._known["used"][: len(self._ids)].copy()
        for _ in LEVELS:
            above = np.concatenate([self.parents[used], self._known["root"][: len(self._ids)][used]])
            used[above[above >= 0]] = True
        for code in np.flatnonzero(used)[np.argsort(self.levels[used], kind="stable")]:
            yield self._entity(config_id, int(code))

    def _entity(self, config_id: int, code: int) -> Entity:
        parent = int(self._known["parent"][code])
        level = LEVELS[self._known["level"][code]]
        campaign = int(self._known["root"][code]) if level is LEVELS[-1] and parent < 0 else BLANK
        told = int(self._known["told"][code])
        shared = self.fact(parent, HAS_BUDGET) if parent >= 0 and level.parent_type is LEVELS[0] else None
        return Entity(
            ref=EntityRef(config_id, level, self._ids[code]),
            parent_id=self._ids[parent] if parent >= 0 else None,
            **{field: self.fact(code, field) for field in ("name", "status", "objective")},
            shares_budget=shared,
            campaign_id=self._ids[campaign] if campaign >= 0 else None,
            facts_date=to_date(told) if told != NEVER else None,
        )
