"""What can be said of an entity in a marketer's words and numbers, and which of the model's features say it.

Many features tell one fact: relative CPL, lead index, margins and last week's tier all read one CPL. A fact has their
contributions together, one text made of the figures themselves, and a side: whether it speaks well of the entity.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from adsml_common.domain.metrics import STORED, divide

from adsml_classifier.models import features, rule
from adsml_classifier.models.panel import FloatArray, IntArray, Panel

_CLOSE: Final = 0.05
_FEW_LEADS: Final = 1.5
_MANY_LEADS: Final = 21
_WINDOWS: Final = {
    **{f"{name}_7": (name, 7, 0) for name in (*STORED, "reach_known", "delivery_days", "lead_days")},
    **{f"{name}_{days}": (name, days, 0) for name in ("spend", "leads") for days in (3, 28)},
    **{f"{name}_before": (name, 7, 7) for name in ("spend", "leads")},
}
"""The sums by name: what is summed up, over how many days, how many days back."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Sums over windows that end on the as-of day, named like ``spend_7``; money in the account's currency.

    ``spend_before`` and its like are of the 7 days before the last 7; ``siblings_spend_28`` and ``siblings_leads_28``
    are the parent's without the entity's own, NaN where no parent is known.
    """

    entity: Mapping[str, FloatArray]  # of shape (entities,)
    account: Mapping[str, float]

    def __getitem__(self, name: str) -> FloatArray:
        """One of the entities' sums."""
        return self.entity[name]

    @classmethod
    def of(cls, panel: Panel, day: IntArray) -> "Evidence":
        """The sums as of one column of a panel, shape (1,)."""
        entity, account = (
            {
                key: sums[name].last(days, day, back=back)[..., 0]
                for key, (name, days, back) in _WINDOWS.items()
                if name in sums
            }
            for sums in (panel.running, panel.account)
        )
        for name in ("spend", "leads"):
            own = entity[f"{name}_28"]
            siblings = np.maximum(own[np.maximum(panel.parent, 0)] - own, 0.0)
            entity[f"siblings_{name}_28"] = np.where(panel.parent >= 0, siblings, np.nan)
        return cls(entity, {key: float(value) for key, value in account.items()})

    def expected_leads(self, window: int) -> FloatArray:
        """Leads that a window's spend would have bought at the account's CPL of that window; NaN without one."""
        return self[f"spend_{window}"] * self.account_ratio(f"leads_{window}", f"spend_{window}")

    def ratio(self, top: str, bottom: str) -> FloatArray:
        """An entity's ratio of two sums; NaN where the lower is 0."""
        return divide(self[top], self[bottom])

    def account_ratio(self, top: str, bottom: str, *, scale: float = 1.0) -> float:
        """The account's; NaN where the lower or the upper is 0: nothing can be held against it."""
        above, below = self.account[top], self.account[bottom]
        return scale * above / below if above > 0 and below > 0 else float("nan")


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact, and the features that state it."""

    name: str
    features: tuple[str, ...]
    side: Callable[[Evidence], IntArray]  # 1 where it speaks well of an entity, -1 badly, 0 neither
    text: Callable[[Evidence, int], str]  # its words for one row; empty where there is nothing to say


def money(value: float) -> str:
    """Two decimals, thousands apart."""
    return f"{value:,.2f}"


def count(value: float) -> str:
    """Whole, with one decimal below 10 where it is not."""
    return f"{value:,.0f}" if value >= 10 or abs(value - round(value)) < 0.05 else f"{value:.1f}"


def money_pair(one: float, other: float) -> tuple[str, str]:
    """Two amounts of money, with a digit more each time that they read alike but are not."""
    for digits in (2, 3, 4):
        shown = f"{one:,.{digits}f}", f"{other:,.{digits}f}"
        if shown[0] != shown[1]:
            return shown
    return money(one), money(other)


def leads(value: float) -> str:
    """Leads with their noun."""
    return "1 lead" if count(value) == "1" else f"{count(value)} leads"


def _side(better: FloatArray, worse: FloatArray | float) -> IntArray:
    """1 where the first is clearly the smaller, -1 where clearly the larger; 0 where alike or missing."""
    return (better < worse * (1 - _CLOSE)).astype(np.int64) - (better > worse * (1 + _CLOSE))


def _cpl_side(evidence: Evidence) -> IntArray:
    expected = evidence.expected_leads(7)
    by_cpl = _side(evidence.ratio("spend_7", "leads_7"), evidence.account_ratio("spend_7", "leads_7"))
    return np.where(evidence["leads_7"] > 0, by_cpl, -(expected > _FEW_LEADS).astype(np.int64))


def _cpl(evidence: Evidence, row: int) -> str:
    spend, own = evidence["spend_7"][row], evidence["leads_7"][row]
    account = evidence.account_ratio("spend_7", "leads_7")
    if own > 0:
        if np.isnan(account):
            return f"CPL {money(spend / own)} against an account without leads"
        return "CPL {} against {} for the account".format(*money_pair(spend / own, account))
    if np.isnan(account):
        return f"no leads for {money(spend)} spent in 7 days"
    expected = spend / account
    if expected <= _FEW_LEADS:
        return (
            f"only {money(spend)} spent in 7 days, where a lead costs {money(account)}: too little to judge"
        )
    return f"no leads in 7 days where this money usually brings {count(expected)}"


def _bought_side(window: int) -> Callable[[Evidence], IntArray]:
    def side(evidence: Evidence) -> IntArray:
        expected = evidence.expected_leads(window)
        return np.where(expected > _FEW_LEADS, -_side(evidence[f"leads_{window}"], expected), 0)

    return side


def _bought(window: int) -> Callable[[Evidence, int], str]:
    def text(evidence: Evidence, row: int) -> str:
        own, rate = (
            evidence[f"leads_{window}"][row],
            evidence.account_ratio(f"leads_{window}", f"spend_{window}"),
        )
        expected = evidence[f"spend_{window}"][row] * rate
        if np.isnan(expected):
            return f"{leads(own)} in {window} days; the account has none to compare with"
        return f"{leads(own)} in {window} days where this money usually brings {count(expected)}"

    return text


def _siblings(evidence: Evidence, row: int) -> str:
    spend, own = evidence["siblings_spend_28"][row], evidence["siblings_leads_28"][row]
    account = evidence.account_ratio("spend_28", "leads_28")
    if not spend > 0 or np.isnan(account):
        return ""
    if own <= 0:
        return (
            f"its siblings have no leads for {money(spend)} in 28 days, where a lead costs {money(account)}"
        )
    theirs, whole = money_pair(spend / own, account)
    return f"its siblings have a CPL of {theirs} in 28 days against {whole} for the account"


def _lead_days_side(evidence: Evidence) -> IntArray:
    days, expected = evidence["lead_days_7"], evidence.expected_leads(7)
    # Where many leads come every day, that they do says nothing.
    often = (days >= rule.HIGH_LEAD_DAYS) & (expected <= _MANY_LEADS)
    few = (evidence["leads_7"] < rule.MODERATE_LEADS) | ((days <= 1) & (expected > _FEW_LEADS))
    return often.astype(np.int64) - few


def _lead_days(evidence: Evidence, row: int) -> str:
    days, own = int(evidence["lead_days_7"][row]), evidence["leads_7"][row]
    if own <= 0:
        return ""
    return (
        f"only {leads(own)} in 7 days" if own < rule.MODERATE_LEADS else f"leads on {days} of the last 7 days"
    )


def _ratio_side(top: str, bottom: str) -> Callable[[Evidence], IntArray]:
    return lambda evidence: -_side(evidence.ratio(top, bottom), evidence.account_ratio(top, bottom))


def _ratio(what: str, top: str, bottom: str) -> Callable[[Evidence, int], str]:
    def text(evidence: Evidence, row: int) -> str:
        below, account = evidence[bottom][row], evidence.account_ratio(top, bottom, scale=100)
        if not below > 0 or np.isnan(account):
            return ""
        return f"{what} {100 * evidence[top][row] / below:.2f}% against {account:.2f}% for the account"

    return text


def _trend(evidence: Evidence, row: int) -> str:
    spend, own = evidence["spend_7"][row], evidence["leads_7"][row]
    spent, earlier = evidence["spend_before"][row], evidence["leads_before"][row]
    if not spent > 0:
        return "it did not run in the week before"
    if own > 0 and earlier > 0:
        now, before = spend / own, spent / earlier
        change = now / before - 1
        if abs(change) < 0.005:
            return f"CPL unchanged on the week before ({money(now)})"
        way = "up" if change > 0 else "down"
        first, last = money_pair(before, now)
        return f"CPL {way} {abs(change):.0%} on the week before, from {first} to {last}"
    return f"{leads(own)} in 7 days after {leads(earlier)} in the week before"


def _spend(evidence: Evidence, row: int) -> str:
    now, before = evidence["spend_7"][row], evidence["spend_before"][row]
    if not before > 0 or abs(now / before - 1) < _CLOSE:
        return ""
    way = "up" if now > before else "down"
    return f"spend {way} from {money(before)} to {money(now)} on the week before"


def _delivery(evidence: Evidence, row: int) -> str:
    days = int(evidence["delivery_days_7"][row])
    return f"delivered on {days} of the last 7 days" if days < 7 else ""


def _frequency(evidence: Evidence, row: int) -> str:
    reach = evidence["reach_7"][row]
    if not reach > 0:
        return ""
    return f"people saw it {evidence['reach_known_7'][row] / reach:.1f} times a day on average"


def _neither(evidence: Evidence) -> IntArray:
    return np.zeros_like(evidence["spend_7"], dtype=np.int64)


def _with(*words: str) -> tuple[str, ...]:
    return tuple(name for name in features.NAMES if name in words)


FACTS: Final[tuple[Fact, ...]] = (
    Fact(
        "cpl",
        _with(
            "relative_cpl_7", "relative_leads_per_100_7", "lead_index_7", "margin_high_7", "margin_moderate_7",
            "margin_low_7", "tier_week", "leads_7", "expected_leads_7",
        ),
        _cpl_side,
        _cpl,
    ),
    Fact(
        "month",
        _with(
            "relative_cpl_14", "lead_index_14", "lead_index_28", "family_lead_index_28", "margin_high_28",
            "margin_moderate_28", "margin_low_28", "tier_month", "expected_leads_28",
        ),
        _bought_side(28),
        _bought(28),
    ),
    Fact("last days", _with("lead_index_3", "days_since_lead"), _bought_side(3), _bought(3)),
    Fact(
        "siblings",
        _with("siblings_lead_index_7", "siblings_lead_index_28"),
        lambda one: _side(
            one.ratio("siblings_spend_28", "siblings_leads_28"), one.account_ratio("spend_28", "leads_28")
        ),
        _siblings,
    ),
    Fact(
        "lead days",
        _with("lead_days_7", "lead_days_28", "consistency_14", "volatility_leads_7"),
        _lead_days_side,
        _lead_days,
    ),
    Fact(
        "ctr",
        _with("relative_ctr_7", "change_ctr"),
        _ratio_side("clicks_7", "impressions_7"),
        _ratio("CTR", "clicks_7", "impressions_7"),
    ),
    Fact(
        "conversion rate",
        _with("relative_conversion_rate_7", "change_conversion_rate"),
        _ratio_side("leads_7", "clicks_7"),
        _ratio("conversion rate", "leads_7", "clicks_7"),
    ),
    Fact(
        "trend",
        _with("change_cpl", "change_leads", "tier_week_before"),
        lambda one: _side(one.ratio("spend_7", "leads_7"), one.ratio("spend_before", "leads_before")),
        _trend,
    ),
    Fact("spend", _with("change_spend", "change_spend_3_of_7", "volatility_spend_7"), _neither, _spend),
    Fact("delivery", _with("delivery_days_7"), _neither, _delivery),
    Fact("frequency", _with("frequency_7"), _neither, _frequency),
)  # fmt: skip

PLACE: Final = {fact.name: place for place, fact in enumerate(FACTS)}

MEMBERSHIP: Final[FloatArray] = np.array(
    [[float(name in fact.features) for fact in FACTS] for name in features.NAMES]
)
"""Which fact each feature belongs to, shape (features, facts): contributions times it are the facts'."""
