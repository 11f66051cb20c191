"""Why a tier was answered: TreeSHAP contributions, put into words that a marketer reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.domain.tiers import Tier

from adsml_classifier.models import features
from adsml_classifier.models.panel import FloatArray
from adsml_classifier.models.rule import TIERS

_TIER_WORDS: Final[Mapping[Tier, str]] = {
    Tier.HIGH_PERFORMER: "high performer",
    Tier.MODERATE: "moderate performer",
    Tier.LOW: "low performer",
    Tier.UNDERPERFORMER: "underperformer",
}


@dataclass(frozen=True, slots=True)
class Contribution:
    """How much one feature spoke for (above 0) or against the answered tier.

    Attributes
    ----------
    feature
        Its name in `features.NAMES`.
    value
        Its value; None where it is missing.
    contribution
        In log-odds of the tier, before calibration.
    words
        The fact behind it.
    """

    feature: str
    value: float | None
    contribution: float
    words: str


def strongest(
    values: npt.NDArray[np.float32], contributions: FloatArray, *, most: int
) -> tuple[Contribution, ...]:
    """The features that moved one answer most, strongest first.

    Parameters
    ----------
    values
        Shape (features,).
    contributions
        Of the answered tier, shape (features,).
    most
        How many at most; features that did nothing are left out.
    """
    order = np.argsort(-np.abs(contributions), kind="stable")[:most]
    found = []
    for position in order:
        if contributions[position] == 0:
            break
        name, value = features.NAMES[position], float(values[position])
        known = None if np.isnan(value) else value
        found.append(Contribution(name, known, float(contributions[position]), words(name, known)))
    return tuple(found)


def words(name: str, value: float | None) -> str:
    """The fact that a feature states."""
    return _MISSING[name] if value is None else _WORDS[name](value)


def _relative(what: str, days: int) -> Callable[[float], str]:
    def say(value: float) -> str:
        percent = round(100 * (value - 1))
        if percent == 0:
            return f"{what} over {days} days is the account's"
        side = "above" if percent > 0 else "below"
        return f"{what} over {days} days is {abs(percent)}% {side} the account's"

    return say


def _change(what: str) -> Callable[[float], str]:
    def say(value: float) -> str:
        percent = round(100 * (value - 1))
        if percent == 0:
            return f"{what} moved with the account on the week before"
        more = "up" if percent > 0 else "down"
        return f"{what} is {more} {abs(percent)}% on the week before, against the account"

    return say


def _index(whose: str, when: str) -> Callable[[float], str]:
    return lambda value: f"{whose} {value:.2f} times the leads that the account gets for this money {when}"


def _margin(tier: Tier, days: int) -> Callable[[float], str]:
    def say(value: float) -> str:
        side = "above" if value >= 0 else "below"
        how = "clearly" if abs(value) >= 2 else "somewhat" if abs(value) >= 0.5 else "just"
        return (
            f"by its last {days} days, the leads to expect are {how} {side} what a {_TIER_WORDS[tier]} needs"
        )

    return say


def _tier(when: str) -> Callable[[float], str]:
    return lambda value: f"it did as a {_TIER_WORDS[TIERS[min(max(round(value), 0), 3)]]} {when}"


def _count(what: str, when: str) -> Callable[[float], str]:
    return lambda value: f"{value:.4g} {what}{'' if value == 1 else 's'} {when}"


def _of(what: str, days: int) -> Callable[[float], str]:
    return lambda value: f"{what} on {value:.0f} of the last {days} days"


_WORDS: Final[Mapping[str, Callable[[float], str]]] = {
    "relative_cpl_7": _relative("CPL", 7),
    "relative_cpl_14": _relative("CPL", 14),
    "relative_leads_per_100_7": _relative("leads per 100 spent", 7),
    "lead_index_3": _index("it gets", "in 3 days"),
    "lead_index_7": _index("it gets", "in 7 days"),
    "lead_index_14": _index("it gets", "in 14 days"),
    "lead_index_28": _index("it gets", "in 28 days"),
    "siblings_lead_index_7": _index("its siblings get", "in 7 days"),
    "siblings_lead_index_28": _index("its siblings get", "in 28 days"),
    "family_lead_index_28": _index("with its siblings' record it gets", "in 28 days"),
    "margin_high_7": _margin(Tier.HIGH_PERFORMER, 7),
    "margin_moderate_7": _margin(Tier.MODERATE, 7),
    "margin_low_7": _margin(Tier.LOW, 7),
    "margin_high_28": _margin(Tier.HIGH_PERFORMER, 28),
    "margin_moderate_28": _margin(Tier.MODERATE, 28),
    "margin_low_28": _margin(Tier.LOW, 28),
    "tier_week": _tier("in the last 7 days"),
    "tier_week_before": _tier("in the 7 days before those"),
    "tier_month": _tier("on average over the last 4 weeks"),
    "expected_leads_7": _count("lead", "would be the account's yield for its spend of 7 days"),
    "expected_leads_28": _count("lead", "would be the account's yield for its spend of 28 days"),
    "leads_7": _count("lead", "in 7 days"),
    "lead_days_7": _of("leads", 7),
    "lead_days_28": _of("leads", 28),
    "delivery_days_7": _of("delivery", 7),
    "days_since_lead": lambda value: (
        "no lead for 28 days or more" if value >= features.LOOKBACK_DAYS
        else "its last lead came on the last day" if value < 1
        else f"its last lead came {value:.0f} day{'' if value == 1 else 's'} ago"
    ),
    "relative_ctr_7": _relative("CTR", 7),
    "relative_conversion_rate_7": _relative("conversion rate", 7),
    "frequency_7": lambda value: f"people saw it {value:.1f} times a day on average in 7 days",
    "change_cpl": _change("CPL"),
    "change_ctr": _change("CTR"),
    "change_conversion_rate": _change("conversion rate"),
    "change_spend": _change("spend"),
    "change_leads": _change("the number of leads"),
    "change_spend_3_of_7": lambda value: f"daily spend of the last 3 days is {value:.2f} times that of the week",
    "volatility_spend_7": lambda value: f"daily spend swings by {100 * value:.0f}% around its mean",
    "volatility_leads_7": lambda value: f"daily leads swing by {100 * value:.0f}% around their mean",
    "consistency_14": lambda value: f"leads on {100 * value:.0f}% of the days that it ran in 14 days",
}  # fmt: skip

_NO_LEADS = "no leads in {days} days, so there is no CPL"
_NO_WEEK_BEFORE = "nothing to compare with in the week before"
_MISSING: Final[Mapping[str, str]] = {
    **dict.fromkeys(features.NAMES, "the account had no leads to compare with"),
    "relative_cpl_7": _NO_LEADS.format(days=7),
    "relative_cpl_14": _NO_LEADS.format(days=14),
    "relative_leads_per_100_7": "no spend in 7 days",
    "siblings_lead_index_7": "no siblings are known",
    "siblings_lead_index_28": "no siblings are known",
    "tier_week": "too little spend in the last 7 days to judge them",
    "tier_week_before": "too little spend in the week before to judge it",
    "tier_month": "too little spend in 4 weeks to judge any",
    "relative_ctr_7": "no impressions in 7 days, so there is no CTR",
    "relative_conversion_rate_7": "no clicks in 7 days, so there is no conversion rate",
    "frequency_7": "reach is not known",
    **{name: _NO_WEEK_BEFORE for name in features.NAMES if name.startswith("change_")},
    "change_spend_3_of_7": "no spend in 7 days",
    "volatility_spend_7": "no spend in 7 days",
    "volatility_leads_7": "no leads in 7 days",
    "consistency_14": "no delivery in 14 days",
}
