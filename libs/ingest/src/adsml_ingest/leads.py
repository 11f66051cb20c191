"""Leads from the platform's list of actions, and what the rows of a breakdown say of leads.

``lead`` is the total of all leads, and lists its parts beside it: adding them up counts every lead twice. Results that
happen off Meta (a website's leads) are not given by region, market area or hour, and are not parted by product: each
product's row may carry them all (Meta's "Insights API: breakdowns" and "limits of breakdowns").
"""

import ast
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from adsml_ingest import numerals
from adsml_ingest.batch import Column, CutLeads

TOTAL: Final = "lead"
PARTS: Final = ("onsite_conversion.lead_grouped", "offsite_conversion.fb_pixel_lead")
USUAL: Final = (TOTAL, *PARTS)
_LONGEST_REPR: Final = 100_000
BREAKDOWN_FIELDS: Final = (
    "ad_format_asset", "age", "app_id", "body_asset", "call_to_action_asset",
    "coarse_conversion_value", "comscore_market", "conversion_destination", "country", "description_asset",
    "device_platform", "dma", "fidelity_type", "frequency_value", "gender",
    "hourly_stats_aggregated_by_advertiser_time_zone",
    "hourly_stats_aggregated_by_audience_time_zone", "hsid", "image_asset", "impression_device",
    "landing_destination", "link_url_asset", "mdsa_landing_destination", "media_asset_url",
    "media_creator", "media_destination_url", "media_format", "media_origin_url",
    "media_text_content", "media_type", "mmm", "place_page_id", "platform_position",
    "postback_sequence_index", "product_id", "publisher_platform", "redownload", "region",
    "signal_source_bucket", "skan_campaign_id", "skan_conversion_id", "skan_version", "title_asset",
    "user_persona_id", "user_persona_name", "user_segment_key", "video_asset",
)  # fmt: skip
"""Fields by which the API parts an entity's day into several rows."""
SEPARATOR: Final = "\x1f"  # between the fields of one breakdown, and between the cells of one part
_UNTOLD: Final = frozenset(
    {
        "region", "dma", "comscore_market", "hourly_stats_aggregated_by_advertiser_time_zone",
        "hourly_stats_aggregated_by_audience_time_zone",
    }
)  # fmt: skip
NULLS: Final = frozenset({"", "null", "NULL", "None", "none", "nan", "NaN", "NAN", "<NA>", "\\N", "nil"})
"""How tools write that there is nothing."""


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
        needed, types = self.needed, self.types
        for action in listed:
            try:
                name = action["action_type"]
                types.add(name)
            except (TypeError, KeyError):
                raise BadActions("holds something that is no action") from None
            if name in needed:
                # A breakdown of the actions lists a type several times.
                sums[name] = sums.get(name, 0.0) + _value(action, name)
        leads = self.settle(sums)
        self.total += leads
        return leads

    def settle(self, sums: Mapping[str, float]) -> float:
        """Leads out of the sums by action type: the total where there is one, else what else counts."""
        return sums[TOTAL] if not self.wanted and TOTAL in sums else sum(sums.values())

    @property
    def needed(self) -> tuple[str, ...]:
        """Action types whose values count."""
        return self.wanted or USUAL

    @property
    def absent(self) -> list[str]:
        """Action types that were asked for and are in no row."""
        return [name for name in self.wanted if name not in self.types]

    @property
    def passed_over(self) -> list[str]:
        """Action types that look like leads and were not counted."""
        return sorted(name for name in self.types if "lead" in name.casefold() and name not in self.needed)


def _listed(actions: Any) -> list[Any]:
    if isinstance(actions, str):
        actions = None if actions.strip() in NULLS else _parsed(actions.strip())
    if actions is None or actions != actions:  # noqa: PLR0124  # NaN of a frame
        return []
    if not isinstance(actions, list):
        raise BadActions("is not a list of actions")
    return actions


def _parsed(text: str) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    try:
        # A data frame writes a list with single quotes.
        if len(text) > _LONGEST_REPR:
            raise ValueError
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise BadActions("is not a JSON list of actions") from None


def _value(action: dict[str, Any], name: str) -> float:
    value: Any = action.get("value")
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise BadActions(f"has {name} with the value {value!r}, which is no number")
    return number


def add_up(columns: Sequence[Column], *, decimal: str | None, blanks: Collection[str]) -> list[Any]:
    """Sums of columns that count leads, row by row; a cell that is no number as it is, to be refused further on."""
    parsed = [numerals.parse(cells, decimal=decimal, blanks=blanks) for cells in columns]
    total = np.sum([np.where(blank, 0.0, values) for values, blank in parsed], axis=0)
    sums: list[Any] = total.tolist()
    for row in np.flatnonzero(np.isnan(total)).tolist():
        sums[row] = next(
            str(cells[row])
            for cells, (values, blank) in zip(columns, parsed, strict=True)
            if np.isnan(values[row]) and not blank[row]
        )
    return sums


def leads_of_fields(cut: str) -> CutLeads:
    """What a breakdown by the API's fields says of leads."""
    fields = cut.split(SEPARATOR)
    if "product_id" in fields:
        return CutLeads.PARTIAL
    return CutLeads.UNTOLD if _UNTOLD.intersection(fields) else CutLeads.TOLD


def is_null(value: object) -> bool:
    """Whether a cell names no part of a day."""
    return value is None or value == "" or value != value or str(value).strip() in NULLS  # noqa: PLR0124


def cuts_of(columns: Iterable[str], parts: "list[tuple[object, ...]]") -> tuple[list[str], list[str]]:
    """Of each row the breakdown columns that are not null, joined, and its cells in them (`parts`), joined."""
    names = tuple(columns)
    known: dict[tuple[object, ...], tuple[str, str]] = {}
    cuts: list[str] = []
    cells: list[str] = []
    for part in parts:
        joined = known.get(part)
        if joined is None:
            filled = {name: str(cell) for name, cell in zip(names, part, strict=True) if not is_null(cell)}
            joined = known[part] = SEPARATOR.join(filled), SEPARATOR.join(filled.values())
        cuts.append(joined[0])
        cells.append(joined[1])
    return cuts, cells
