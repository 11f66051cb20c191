"""The tidy table: one row per entity and day, in the words of this project."""

from typing import Final

from adsml_ingest.batch import Table
from adsml_ingest.options import ZEROABLE, Format, ImportOptions
from adsml_ingest.problems import Problem, Refusal
from adsml_ingest.sheet import Sheet

REQUIRED: Final = ("entity_type", "entity_id", "date", "spend", "impressions", "clicks", "leads")
OPTIONAL: Final = ("parent_id", "reach", "name", "status", "objective", "account_id", "currency")
_FIELD: Final = {"account_id": "account"}
_CURE: Final = f"a tidy table needs {', '.join(REQUIRED)}"


def is_tidy(sheet: Sheet) -> bool:
    """Whether the columns are those of a tidy table, or all but a few."""
    return sheet.position("entity_type") is not None and sheet.position("entity_id") is not None


def open_tidy(sheet: Sheet, options: ImportOptions) -> Table:
    """The table behind a sheet with tidy columns; raises `Refusal` if one is missing."""
    fields: dict[str, int] = {}
    notes: list[str] = []
    absent: list[Problem] = []
    for name in (*REQUIRED, *OPTIONAL):
        position = sheet.position(name)
        if position is not None:
            fields[_FIELD.get(name, name)] = position
        elif name in ZEROABLE and name in options.assume_zero:
            notes.append(f"no column {name}: taken as 0, as asked")
        elif name in REQUIRED:
            cure = f"{_CURE}; pass --assume-zero {name} if there are none" if name in ZEROABLE else _CURE
            absent += sheet.missing(name, cure).problems
    if absent:
        raise Refusal(*absent)
    if "parent_id" not in fields:
        notes.append("no column parent_id: the tree of campaigns, ad sets and ads stays as it is known")
    if options.leads_columns:
        notes.append("the tidy table counts leads itself: --leads-column is not needed, and not used")
    money = {name: at for name, at in fields.items() if name in ("spend", "impressions", "clicks")}
    sheet.check_decimal(money, options)
    used = set(fields.values())
    unused = [name for position, name in enumerate(sheet.names) if position not in used and name]
    if unused:
        notes.append(f"columns not used: {', '.join(unused)}")
    return sheet.table(Format.TIDY, options, fields, tidy=True, notes=notes)
