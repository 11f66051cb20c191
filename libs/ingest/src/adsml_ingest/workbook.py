"""Excel and OpenDocument workbooks as sheets, read by python-calamine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import islice
from typing import Any, Final

import numpy as np
from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook

from adsml_ingest.batch import Batch
from adsml_ingest.files import PREAMBLE, SourceFile
from adsml_ingest.sheet import Cells, Sheet, refuse_twins

_ROWS: Final = 1 << 14


def open_workbook(file: SourceFile, *, is_export: Callable[[Sequence[str]], bool]) -> Sheet:
    """The table of a workbook: the one sheet with rows, or the one that looks like an export.

    Ids that the spreadsheet keeps as numbers lost what is beyond their fifteenth digit, and are refused where
    they are read. Raises `Refusal` if it is damaged, or holds no or several tables.
    """
    try:
        with CalamineWorkbook.from_path(str(file.real)) as workbook:
            filled = [name for name in workbook.sheet_names if workbook.get_sheet_by_name(name).height > 0]
            tops = {name: _top(workbook.get_sheet_by_name(name)) for name in filled}
    except (CalamineError, OSError, ValueError, BaseExceptionGroup) as error:
        what = f"is a workbook that can't be read ({str(error)[:120]})"
        raise file.refusal("bad_workbook", what, "save it as CSV and import that") from None
    # A header may stand below a title; a raw sheet without one goes before its formatted twin.
    headers = {
        name: next((row for row in top if is_export(row[1])), top[0]) for name, top in tops.items() if top
    }
    tables = [name for name, header in headers.items() if is_export(header[1])]
    raw = [name for name in tables if headers[name] == tops[name][0]]
    chosen = next((names[0] for names in (tables, raw, filled) if len(names) == 1), None)
    if chosen is None or chosen not in headers:
        what = f"has {len(filled)} sheets with cells, {len(tables)} of them exports"
        raise file.refusal("many_sheets", what, "save the sheet of the export as a file of its own")
    line, names = headers[chosen]
    refuse_twins(file, names, line)

    def read(fields: Mapping[str, int]) -> Iterator[Batch]:
        with CalamineWorkbook.from_path(str(file.real)) as workbook:
            rows = (row for row in _rows(workbook.get_sheet_by_name(chosen)) if row[0] > line)
            while chunk := list(islice(rows, _ROWS)):
                yield _batch(chunk, fields)

    return Sheet(file, names, read, place="row")


def _top(sheet: CalamineSheet) -> list[tuple[int, tuple[str, ...]]]:
    """Row numbers and cells of the first rows with cells."""
    filled = (row for row in _rows(sheet) if any(cell not in ("", None) for cell in row[1:]))
    return [(row[0], tuple(str(cell).strip() for cell in row[1:])) for row in islice(filled, PREAMBLE)]


def _rows(sheet: CalamineSheet) -> Iterator[list[Any]]:
    """The number of each row, and its cells."""
    first = (sheet.start or (0, 0))[0]
    for number, row in enumerate(sheet.iter_rows(), start=first + 1):
        yield [number, *map(_cell, row)]


def _cell(cell: Any) -> Any:
    if isinstance(cell, datetime):
        return cell.date() if cell.time() == datetime.min.time() else cell
    if isinstance(cell, bool) or not isinstance(cell, str | int | float | date):
        return str(cell)
    return cell


def _batch(chunk: Sequence[Sequence[Any]], fields: Mapping[str, int]) -> Batch:
    lines = np.fromiter((row[0] for row in chunk), np.int64, len(chunk))
    left_out = np.array([not any(cell not in ("", None) for cell in row[1:]) for row in chunk], np.bool_)
    cells: Cells = {
        field: [row[position + 1] if position + 1 < len(row) else "" for row in chunk]
        for field, position in fields.items()
    }
    return Batch(lines, cells, lambda row: str([str(cell) for cell in chunk[row][1:]]), left_out)
