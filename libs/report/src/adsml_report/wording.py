"""Numbers, days and names as a report shows them."""

from datetime import date

from adsml_common.domain.entities import EntityType

MISSING = "\N{EN DASH}"


def money(value: float | None, currency: str = "") -> str:
    """An amount, with its currency before it where that is known: ``USD 1,234``, ``USD 6.50``."""
    if value is None:
        return MISSING
    shown = f"{currency} {abs(value):,.{0 if abs(value) >= 100 else 2}f}".strip()
    return shown if value >= 0 else f"\N{MINUS SIGN}{shown}"


def count(value: float | None) -> str:
    """How many; with a decimal where few and not whole."""
    if value is None:
        return MISSING
    return f"{value:,.1f}" if abs(value) < 20 and value != round(value) else f"{value:,.0f}"


def percent(share: float) -> str:
    """A share of 1 in percent."""
    return f"{share:.0%}"


def signed_percent(share: float) -> str:
    """A change as a share of 1, in percent with its sign."""
    return f"{share:+.0%}".replace("-", "\N{MINUS SIGN}")


def change(now: float | None, before: float | None) -> str:
    """How much more or less than before; empty where either is missing or before is 0."""
    return "" if now is None or not before else f"{signed_percent(now / before - 1)} on the 7 days before"


def day(value: date) -> str:
    """A day, such as ``Mon 3 Aug 2026``."""
    return f"{value:%a} {value.day} {value:%b %Y}"


def short_day(value: date) -> str:
    """A day, such as ``3 Aug``."""
    return f"{value.day} {value:%b}"


def words(name: str) -> str:
    """A name of the contracts as people read it: ``high_performer`` as ``high performer``."""
    return name.replace("_", " ").lower()


def sentence(text: str) -> str:
    """With a capital first and a full stop last."""
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "?", "!")) else ".") if text else ""


LEVELS = {EntityType.CAMPAIGN: "campaign", EntityType.ADSET: "ad set", EntityType.AD: "ad"}
"""As people write them."""

_METRICS = {
    "spend": ("spend", "{} per day"),
    "impressions": ("impressions", "impressions per day"),
    "clicks": ("clicks", "clicks per day"),
    "leads": ("leads", "leads per day"),
    "cpl": ("cost per lead", "{} per lead"),
    "ctr": ("click-through rate", "percent"),
    "cpc": ("cost per click", "{} per click"),
    "cpm": ("cost per 1,000 impressions", "{} per 1,000 impressions"),
    "conversion_rate": ("conversion rate", "leads per 100 clicks"),
    "frequency": ("frequency", "times per person"),
}
METRIC_LABELS = {name: label for name, (label, _) in _METRICS.items()}
"""By the metric's name in the contracts."""


def unit(metric: str, currency: str = "") -> str:
    """The unit of a metric's daily values."""
    return _METRICS[metric][1].format(currency or "account currency") if metric in _METRICS else ""
