"""Numbers and days as a report shows them."""

from datetime import date

from adsml_common.domain.entities import EntityType


def money(value: float | None) -> str:
    """An amount of the account's currency; an en dash where it is missing."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}"


def count(value: float | None) -> str:
    """How many; with a decimal where few and not whole."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:,.1f}" if abs(value) < 20 and value != round(value) else f"{value:,.0f}"


def change(now: float | None, before: float | None) -> str:
    """How much more or less, in percent of before; empty where either is missing or before is 0."""
    if now is None or before is None or before == 0:
        return ""
    return f"{100 * (now / before - 1):+.0f}% on the 7 days before"


def day(value: date) -> str:
    """A day, such as ``Mon 3 Aug 2026``."""
    return f"{value:%a} {value.day} {value:%b %Y}"


def words(name: str) -> str:
    """A name of the contracts as people read it: ``high_performer`` as ``high performer``."""
    return name.replace("_", " ").lower()


LEVELS = {EntityType.CAMPAIGN: "campaign", EntityType.ADSET: "ad set", EntityType.AD: "ad"}
"""As people write them."""

METRIC_LABELS = {
    "spend": "spend",
    "impressions": "impressions",
    "clicks": "clicks",
    "leads": "leads",
    "cpl": "cost per lead",
    "ctr": "click-through rate",
    "cpc": "cost per click",
    "cpm": "cost per 1,000 impressions",
    "conversion_rate": "conversion rate",
    "frequency": "frequency",
}
"""By the metric's name in the contracts."""

METRIC_UNITS = {
    "spend": "account currency per day",
    "impressions": "impressions per day",
    "clicks": "clicks per day",
    "leads": "leads per day",
    "cpl": "account currency per lead",
    "ctr": "percent",
    "cpc": "account currency per click",
    "cpm": "account currency per 1,000 impressions",
    "conversion_rate": "percent",
    "frequency": "times per person",
}
"""Units of daily values."""
