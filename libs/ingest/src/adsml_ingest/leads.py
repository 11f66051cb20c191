"""Leads from the platform's list of actions.

``lead`` is the total of all leads, and lists its parts beside it: adding them up counts every lead twice.
"""

import ast
import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from adsml_ingest import numerals
from adsml_ingest.options import ImportOptions
from adsml_ingest.sheet import Sheet
from adsml_ingest.source import ignore

TOTAL: Final = "lead"
PARTS: Final = ("onsite_conversion.lead_grouped", "offsite_conversion.fb_pixel_lead")
USUAL: Final = (TOTAL, *PARTS)
_LONGEST_REPR: Final = 100_000


class BadActions(ValueError):
    """A list of actions that can't be read."""


@dataclass(slots=True)
class LeadCounter:
    """Counts the leads of rows, and what else was there."""

    wanted: tuple[str, ...] = ()  # whose sum is asked for, in place of `TOTAL` or else the sum of `PARTS`
    types: set[str] = field(default_factory=set)  # all action types met
    total: float = 0.0  # leads counted

    def count(self, actions: Any, conversions: Any = None) -> float:
        """Leads in one row's actions, and in those of its conversions that are no actions.

        These are lists of ``{"action_type": ..., "value": ...}``, the same as JSON text or as Python writes it, or
        None. Raises `BadActions` if they are no such list, or a value that is needed is no number.
        """
        listed = _listed(actions)
        if conversions is not None:
            names = {str(action.get("action_type")) for action in listed if isinstance(action, dict)}
            more = [one for one in _listed(conversions) if isinstance(one, dict)]
            listed = [*listed, *(one for one in more if str(one.get("action_type")) not in names)]
        sums: dict[str, float] = {}
        needed, types = self.wanted or USUAL, self.types
        for action in listed:
            try:
                name = action["action_type"]
                types.add(name)
            except (TypeError, KeyError):
                raise BadActions("holds something that is no action") from None
            if name in needed:
                # A breakdown of the actions lists a type several times.
                sums[name] = sums.get(name, 0.0) + _value(action, name)
        leads = sums[TOTAL] if not self.wanted and TOTAL in sums else sum(sums.values())
        self.total += leads
        return leads

    @property
    def absent(self) -> list[str]:
        """Action types that were asked for and are in no row."""
        return [name for name in self.wanted if name not in self.types]

    @property
    def passed_over(self) -> list[str]:
        """Action types that look like leads and were not counted."""
        counted = self.wanted or USUAL
        return sorted(name for name in self.types if "lead" in name.casefold() and name not in counted)


def _listed(actions: Any) -> list[Any]:
    if isinstance(actions, str):
        actions = _parsed(actions)
    if actions is None or actions != actions:  # noqa: PLR0124  # NaN of a frame
        return []
    if not isinstance(actions, list):
        raise BadActions("is not a list of actions")
    return actions


def _parsed(text: str) -> Any:
    text = text.strip()
    if text in ("", "null", "NULL", "None", "nan", "NaN"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        # A data frame writes a list with single quotes.
        if len(text) > _LONGEST_REPR:
            raise ValueError
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise BadActions("is not a JSON list of actions") from None


def _value(action: dict[str, Any], name: str) -> float:
    value = action.get("value")
    try:
        if value is None or isinstance(value, bool):
            raise ValueError
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
        return number
    except (TypeError, ValueError, OverflowError):
        raise BadActions(f"has {name} with the value {value!r}, which is no number") from None


def read_children(sheet: Sheet, options: ImportOptions) -> dict[str, float]:
    """Leads by the key of their row, out of a child table, as dlt parts nested lists from theirs.

    Raises `Refusal` if the table can't be read, or a value is no number.
    """
    fields = sheet.positions({name: name for name in ("_dlt_parent_id", "action_type", "value")})
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    needed = options.lead_actions or USUAL
    for batch in sheet.read(fields, ignore):
        parents, kinds, cells = (batch.cells[field] for field in fields)
        values, blank = numerals.parse(cells, decimal=options.decimal)
        for row in [row for row, kind in enumerate(kinds) if kind in needed]:
            if np.isnan(values[row]) and not blank[row]:
                what, line = f"has {kinds[row]} with a value that is no number", int(batch.lines[row])
                raise sheet.file.refusal("not_a_number", what, "export it again", line=line)
            sums[str(parents[row])][kinds[row]] += 0.0 if blank[row] else float(values[row])
    only_total = not options.lead_actions
    return {
        parent: some[TOTAL] if only_total and TOTAL in some else sum(some.values())
        for parent, some in sums.items()
    }
