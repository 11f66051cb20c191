"""Breakdowns: the fields that part an entity's day into several rows, and what they say of leads.

Meta's "Insights API: breakdowns" and "limits of breakdowns": results that happen off Meta (a website's leads) are
not given by region, market area or hour, and are not parted by product: each product's row may carry them all.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

FIELDS: Final = (
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
SEPARATOR: Final = "\x1f"
"""Between the fields of one breakdown, and between the cells of one part."""


class CutLeads(IntEnum):
    """What the rows of a breakdown say of leads.

    ``TOLD``: they add up. ``MAYBE``: only those on Meta are in them, so that 0 says nothing. ``UNTOLD``: nothing.
    ``PARTIAL``: nothing, and not all that was delivered is in them either.
    """

    TOLD = 0
    MAYBE = 1
    UNTOLD = 2
    PARTIAL = 3


_UNTOLD: Final = frozenset(
    {
        "region", "dma", "comscore_market", "hourly_stats_aggregated_by_advertiser_time_zone",
        "hourly_stats_aggregated_by_audience_time_zone",
    }
)  # fmt: skip


def leads_of_fields(cut: str) -> CutLeads:
    """What a breakdown by the API's fields says of leads."""
    fields = cut.split(SEPARATOR)
    if "product_id" in fields:
        return CutLeads.PARTIAL
    return CutLeads.UNTOLD if _UNTOLD.intersection(fields) else CutLeads.TOLD


def is_null(value: object) -> bool:
    """Whether a cell names no part of a day."""
    return value is None or value == "" or value != value or str(value).strip() in NULLS  # noqa: PLR0124


NULLS: Final = frozenset({"", "null", "NULL", "None", "none", "nan", "NaN", "NAN", "<NA>", "\\N", "nil"})
"""How tools write that there is nothing."""


def cuts_of(columns: Iterable[str], parts: "list[tuple[object, ...]]") -> tuple[list[str], list[str]]:
    """Of each row the breakdown columns that are not null, joined, and its cells in them (`parts`), joined."""
    names = tuple(columns)
    known: dict[tuple[object, ...], tuple[str, str]] = {}
    cuts: list[str] = []
    cells: list[str] = []
    for part in parts:
        joined = known.get(part)
        if joined is None:
            filled = [(name, value) for name, value in zip(names, part, strict=True) if not is_null(value)]
            joined = known[part] = (
                SEPARATOR.join(name for name, _ in filled),
                SEPARATOR.join(str(value) for _, value in filled),
            )
        cuts.append(joined[0])
        cells.append(joined[1])
    return cuts, cells
