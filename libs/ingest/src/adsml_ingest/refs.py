"""Which entity each row is about, and to which others it belongs."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from adsml_ingest.batch import LEVELS
from adsml_ingest.breakdowns import is_null
from adsml_ingest.check import RowCheck
from adsml_ingest.distinct import Column, look_up
from adsml_ingest.headers import is_sum_of, is_table_total, is_total
from adsml_ingest.tree import BAD, BLANK, Codes, Tree, clean_id

_TYPES: Final = {"campaign": 0, "adset": 1, "ad": 2}
PIVOT_CURE: Final = (
    "repeat ids and names in every row: a pivot prints them once a group; export the raw table instead"
)
_ID_CURE: Final = "export with the ids of campaigns, ad sets or ads"


@dataclass(frozen=True, slots=True)
class Refs:
    """Entities of the rows of a batch, each of shape (rows,), `BLANK` where none is named."""

    own: Codes  # the one that the row is about
    by_level: tuple[Codes, Codes, Codes]  # the campaign, ad set and ad that it names


def read_refs(check: RowCheck, tree: Tree) -> Refs:
    """The entities of a batch; ids that can't be ids are noted as faults."""
    return _tidy(check, tree) if check.table.tidy else _wide(check, tree)


def link(check: RowCheck, refs: Refs, tree: Tree) -> None:
    """Note who belongs to whom; a row that says otherwise than an earlier one is at fault."""
    good = check.good
    for level in (1, 2):
        children = np.where(good, refs.by_level[level], BLANK).astype(np.int32)
        parents = np.where(good, refs.by_level[level - 1], BLANK).astype(np.int32)
        for row in check.where(tree.link(children, parents)):
            _moved(check, tree, level, row, int(children[row]), int(parents[row]))
    lone = good & (refs.by_level[1] == BLANK)
    tree.root(refs.by_level[2][lone], refs.by_level[0][lone])


def _moved(check: RowCheck, tree: Tree, level: int, row: int, child: int, parent: int) -> None:
    above = LEVELS[level - 1]
    field = "parent_id" if check.table.tidy else f"{above}_id"
    known = tree.id_of(int(tree.parents[child]))
    what = (
        f"is the {above} of {LEVELS[level]} {tree.id_of(child)}, which belonged to {known} in an earlier row"
    )
    cure = "an id names one entity of its level, with one parent: correct the ids"
    if tree.id_of(child).endswith("000") and len(tree.id_of(child)) > 15:
        cure = f"{tree.id_of(child)} looks like two ids that lost their last digits in a spreadsheet: export again"
    check.fault(row, field, "two_parents", what, cure, value=tree.id_of(parent))


def _wide(check: RowCheck, tree: Tree) -> Refs:
    """Levels side by side: the lowest that is named is what the row is about."""
    table, cells, size = check.table, check.batch.cells, check.batch.size
    by_level: list[Codes] = []
    names: list[Column] = []
    naming: dict[int, str] = {}
    for level, name in enumerate(LEVELS):
        if f"{name}_name" in cells:
            names.append(cells[f"{name}_name"])
        if f"{name}_id" in cells:
            codes = tree.codes(level, cells[f"{name}_id"], digits=True, blanks=table.blanks)
            note_bad_ids(check, f"{name}_id", codes)
            naming[level] = f"{name}_id"
            _note_lost_ids(check, name, codes)
        elif table.by_name and f"{name}_name" in cells:
            codes = tree.named(level, names, blanks=table.blanks)
            naming[level] = f"{name}_name"
        else:
            codes = np.full(size, BLANK, dtype=np.int32)
        by_level.append(codes)
    campaign, adset, ad = map(_or_blank, by_level)
    if table.level is None:
        own = np.where(ad >= 0, ad, np.where(adset >= 0, adset, campaign))
    else:
        own = (campaign, adset, ad)[table.level]
    if not table.totals:
        what = "names no campaign, ad set or ad"
        for row in check.where((own == BLANK) & check.good):
            check.fault(row, None, "no_entity", what, _ID_CURE)
    elif table.level is not None:
        for level in [level for level in naming if level < table.level]:
            for row in check.where((own >= 0) & (by_level[level] == BLANK)):
                check.fault(row, naming[level], "no_parent", "is empty", PIVOT_CURE)
    return Refs(own.astype(np.int32), (campaign, adset, ad))


def _note_lost_ids(check: RowCheck, level: str, codes: Codes) -> None:
    """Note as faults the rows that name an entity but lack its id."""
    if f"{level}_name" not in check.batch.cells:
        return
    names, days, blanks = check.batch.cells[f"{level}_name"], check.batch.cells["date"], check.table.blanks
    for row in check.where(codes == BLANK):
        name, day = str(names[row]).strip(), days[row]
        is_sum = is_total(name) or is_table_total(name)
        is_sum = is_sum or (is_sum_of(name) and (day is None or str(day).strip() in blanks))
        if not is_sum and not is_null(names[row]) and name not in blanks:
            what = f"is empty beside the {level} name '{names[row]}'"
            cure = "fill in the id, or export again with the column of ids kept as text"
            check.fault(row, f"{level}_id", "blank_id", what, cure)


def _tidy(check: RowCheck, tree: Tree) -> Refs:
    """One column says the level, one the id, one the parent's id."""
    cells, size = check.batch.cells, check.batch.size
    levels = _levels(check)
    own = np.full(size, BLANK, dtype=np.int32)
    by_level = tuple(np.full(size, BLANK, dtype=np.int32) for _ in LEVELS)
    for level in range(len(LEVELS)):
        rows = np.flatnonzero(levels == level)
        if not len(rows):
            continue
        codes = tree.codes(level, _take(cells["entity_id"], rows), digits=False, blanks=check.table.blanks)
        own[rows] = by_level[level][rows] = codes
        if level and "parent_id" in cells:
            above = _take(cells["parent_id"], rows)
            parents = tree.codes(level - 1, above, digits=False, blanks=check.table.blanks)
            by_level[level - 1][rows] = parents
    note_bad_ids(check, "entity_id", own)
    if "parent_id" in cells:
        for level in (0, 1):
            note_bad_ids(check, "parent_id", np.where(levels == level + 1, by_level[level], np.int32(BLANK)))
    for row in check.where((own == BLANK) & (levels >= 0)):
        check.fault(row, "entity_id", "no_entity", "is empty", "every row needs the id of its entity")
    campaign, adset, ad = map(_or_blank, by_level)
    return Refs(_or_blank(own), (campaign, adset, ad))


def _or_blank(codes: Codes) -> Codes:
    return np.where(codes == BAD, BLANK, codes).astype(np.int32)


def _levels(check: RowCheck) -> npt.NDArray[np.int8]:
    def level_of(cell: object) -> int:
        word = str(cell).strip().casefold().replace(" ", "").replace("_", "").replace("-", "")
        return _TYPES.get(word, -1)

    levels: npt.NDArray[np.int8] = look_up(
        check.batch.cells["entity_type"], level_of, nothing=-1, dtype=np.int8
    )
    for row in check.where(levels < 0):
        cure = f"expected {', '.join(LEVELS)}"
        check.fault(row, "entity_type", "bad_entity_type", "is no level of an account", cure)
    return levels


def note_bad_ids(check: RowCheck, field: str, codes: Codes) -> None:
    """Note as faults the cells that can't be ids."""
    check.explain(field, codes == BAD, lambda cell: clean_id(cell, digits=not check.table.tidy))


def _take(cells: Column, rows: npt.NDArray[np.intp]) -> Column:
    if isinstance(cells, np.ndarray):
        return cells[rows]
    return cells if len(rows) == len(cells) else [cells[row] for row in rows]
