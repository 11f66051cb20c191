"""Features of every entity of an account as of many days, in one vectorised pass.

Most are free of the account's currency and of the entity's size (ratios to the account in the same window,
shares, changes), so that what is learnt from one level can be read on another.

A ratio over a window is a ratio of sums. Missing is NaN: cost per lead without leads, a change without the week
before, reach that the source does not tell. XGBoost sends a missing value down a branch of its own.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.domain.metrics import divide

from adsml_classifier.models import rule
from adsml_classifier.models.panel import FloatArray, IntArray, Panel

LOOKBACK_DAYS: Final = 28
"""No feature looks further back (the as-of day counted): what a store query has to fetch."""

PRIOR_LEADS: Final = 2.0
"""Weight of the lead index's prior: an entity whose spend would have bought 2 leads is shrunk by half."""

NAMES: Final[tuple[str, ...]] = (
    # efficiency: leads against what the money would have bought at the account's CPL
    "relative_cpl_7", "relative_cpl_14", "relative_leads_per_100_7",
    "lead_index_3", "lead_index_7", "lead_index_14", "lead_index_28",
    "siblings_lead_index_7", "siblings_lead_index_28", "family_lead_index_28",
    # what the tiers ask for, in standard deviations
    "margin_high_7", "margin_moderate_7", "margin_low_7",
    "margin_high_28", "margin_moderate_28", "margin_low_28",
    # tiers of past weeks, 0 best to 3 worst
    "tier_week", "tier_week_before", "tier_month",
    # how much there is to go by
    "expected_leads_7", "expected_leads_28", "leads_7",
    "lead_days_7", "lead_days_28", "delivery_days_7", "days_since_lead",
    # what makes the cost per lead
    "relative_ctr_7", "relative_conversion_rate_7", "frequency_7",
    # changes, week on week unless said otherwise
    "change_cpl", "change_ctr", "change_conversion_rate", "change_spend", "change_leads", "change_spend_3_of_7",
    # steadiness
    "volatility_spend_7", "volatility_leads_7", "consistency_14",
)  # fmt: skip
"""The columns, in order; the number is the window in days.

Shares of the account's spend, the level, price and reach of a month were measured too and left out: they tell which
entity it is rather than how it does, and a booster learns entities by heart (log loss on days to come fell by
0.006 without them; docs/classifier.md)."""

_POSITION: Final = {name: position for position, name in enumerate(NAMES)}
_WEEK: Final = rule.DAYS
# Entities are taken in blocks whose arrays stay in the processor's cache: about twice as fast, and memory flat.
_BLOCK_CELLS: Final = 30_000


def lead_index(leads: FloatArray, expected: FloatArray, prior: FloatArray | float = 1.0) -> FloatArray:
    """Leads per expected lead, shrunk towards a prior: ``(leads + k * prior) / (expected + k)``.

    The posterior mean of the rate in the Gamma-Poisson model with prior mean `prior` worth ``k = PRIOR_LEADS``
    expected leads (Clayton & Kaldor 1987, Biometrics 43, section 2). It is the inverse of the relative CPL, but
    defined without leads too, and near the prior where little was spent.
    """
    shrunk: FloatArray = (leads + PRIOR_LEADS * prior) / (expected + PRIOR_LEADS)
    return shrunk


def compute(panel: Panel, days: IntArray) -> npt.NDArray[np.float32]:
    """Features as of the end of each of `days`, shape (features, entities, days), NaN where missing.

    The panel has `LOOKBACK_DAYS` days up to each of them where there are any.
    """
    values = np.empty((len(NAMES), len(panel), len(days)), dtype=np.float32)
    block = max(_BLOCK_CELLS // len(panel.days), 1)
    for start in range(0, len(panel), block):
        rows = np.arange(start, min(start + block, len(panel)))
        part = panel.take(rows)
        sums = _Sums(part, panel.take(np.maximum(part.parent, 0)), days)
        for group in (_efficiency, _tiers, _plain, _volatility):
            for name, column in group(part, days, sums).items():
                values[_POSITION[name], rows[0] : rows[-1] + 1] = column
    return values


class _Sums:
    """Window sums as of the days asked for, shape (entities, days) or of the account (days,), each computed once."""

    def __init__(self, panel: Panel, parents: Panel, days: IntArray) -> None:
        self._panel, self._parents, self._days = panel, parents, days
        self._known = (panel.parent >= 0)[:, None]
        self._entity: dict[tuple[str, int, int], FloatArray] = {}
        self._account: dict[tuple[str, int, int], FloatArray] = {}

    def of(self, name: str, window: int, back: int = 0) -> FloatArray:
        key = (name, window, back)
        if key not in self._entity:
            self._entity[key] = self._panel.running[name].last(window, self._days, back=back)
        return self._entity[key]

    def account(self, name: str, window: int, back: int = 0) -> FloatArray:
        key = (name, window, back)
        if key not in self._account:
            self._account[key] = self._panel.account[name].last(window, self._days, back=back)
        return self._account[key]

    def ratio(self, top: str, bottom: str, window: int, back: int = 0) -> FloatArray:
        return divide(self.of(top, window, back), self.of(bottom, window, back))

    def relative(self, top: str, bottom: str, window: int) -> FloatArray:
        """An entity's ratio over the account's."""
        account = divide(self.account(top, window), self.account(bottom, window))
        return divide(self.ratio(top, bottom, window), account)

    def change(self, top: str, bottom: str | None = None) -> FloatArray:
        """Change of a ratio (or sum) on the week before, as a factor, over the account's own change.

        What happens to the whole account is no news of the entity: its tier is measured against the account.
        """
        if bottom is None:
            entity = divide(self.of(top, _WEEK), self.of(top, _WEEK, _WEEK))
            account = divide(self.account(top, _WEEK), self.account(top, _WEEK, _WEEK))
            return divide(entity, account)
        return divide(self.change(top), self.change(bottom))

    def expected_leads(self, window: int) -> FloatArray:
        """What the spend would have bought at the account's CPL of the same window."""
        return divide(self.of("spend", window), self.account_cpl(window))

    def parent(self, name: str, window: int) -> FloatArray:
        """The parent's sum, shape (entities, days); NaN where the parent is unknown."""
        return np.where(self._known, self._parents.running[name].last(window, self._days), np.nan)

    def siblings(self, name: str, window: int) -> FloatArray:
        """The parent's sum without the entity's own; NaN where the parent is unknown."""
        return np.maximum(self.parent(name, window) - self.of(name, window), 0.0)

    def account_cpl(self, window: int) -> FloatArray:
        return divide(self.account("spend", window), self.account("leads", window))


_Columns = dict[str, FloatArray]


def _efficiency(panel: Panel, days: IntArray, sums: _Sums) -> _Columns:
    out = {
        "relative_cpl_7": sums.relative("spend", "leads", 7),
        "relative_cpl_14": sums.relative("spend", "leads", 14),
        "relative_leads_per_100_7": sums.relative("leads", "spend", 7),
    }
    for window in (3, 7, 14):
        out[f"lead_index_{window}"] = lead_index(sums.of("leads", window), sums.expected_leads(window))
    for window in (7, 28):
        spent = divide(sums.siblings("spend", window), sums.account_cpl(window))
        out[f"siblings_lead_index_{window}"] = lead_index(sums.siblings("leads", window), spent)
    siblings = out["siblings_lead_index_28"]
    month = sums.of("leads", 28)
    out["family_lead_index_28"] = lead_index(
        month, sums.expected_leads(28), np.where(np.isnan(siblings), 1.0, siblings)
    )
    # The month is read at what a lead costs the account now: its mix may have changed since, and the tier to come is
    # measured against the account to come.
    expected = divide(sums.of("spend", 28), sums.account_cpl(_WEEK))
    out["lead_index_28"] = lead_index(month, expected)
    week = sums.expected_leads(_WEEK)
    return out | _margins(sums.of("leads", 7), week, week, 7) | _margins(month, expected, week, 28)


def _margins(leads: FloatArray, expected: FloatArray, week: FloatArray, window: int) -> _Columns:
    """How far the leads to be expected of a week like the last are from those a tier asks for.

    In standard deviations: with an index ~ Gamma(leads + k, expected + k), the leads of a week worth `week` expected
    leads are negative binomial with mean m and variance m (1 + week / (expected + k)); the square root makes
    the variance nearly constant at a quarter of that factor (Anscombe 1948, Biometrika 35). A week below material
    spend counts as one just above: smaller ones are never judged.
    """
    week = np.maximum(week, rule.LOW)
    mean = week * lead_index(leads, expected)
    scale = 2.0 / np.sqrt(1.0 + week / (expected + PRIOR_LEADS))
    needed = {
        "high": np.maximum(week / rule.HIGH, rule.HIGH_LEAD_DAYS),
        "moderate": np.maximum(week / rule.MODERATE, rule.MODERATE_LEADS),
        "low": week / rule.LOW,
    }
    root = np.sqrt(mean + 0.375)
    return {f"margin_{tier}_{window}": (root - np.sqrt(need)) * scale for tier, need in needed.items()}


def _tiers(panel: Panel, days: IntArray, sums: _Sums) -> _Columns:
    weeks = [rule.week(panel, days, back=back) for back in range(0, LOOKBACK_DAYS, _WEEK)]
    earned = [np.where(week.judged, rule.earned(week), np.nan) for week in weeks]
    judged = np.sum([week.judged for week in weeks], axis=0)
    return {
        "tier_week": earned[0],
        "tier_week_before": earned[1],
        "tier_month": divide(np.sum(np.nan_to_num(earned), axis=0), judged),
    }


def _plain(panel: Panel, days: IntArray, sums: _Sums) -> _Columns:
    every_day = np.arange(len(panel.days))
    last_lead = np.maximum.accumulate(np.where(panel.leads > 0, every_day, -LOOKBACK_DAYS), axis=1)
    return {
        "expected_leads_7": sums.expected_leads(7),
        "expected_leads_28": sums.expected_leads(28),
        "leads_7": sums.of("leads", 7),
        "lead_days_7": sums.of("lead_days", 7),
        "lead_days_28": sums.of("lead_days", 28),
        "delivery_days_7": sums.of("delivery_days", 7),
        "days_since_lead": np.minimum(days - last_lead[:, days], LOOKBACK_DAYS).astype(np.float64),
        "relative_ctr_7": sums.relative("clicks", "impressions", 7),
        "relative_conversion_rate_7": sums.relative("leads", "clicks", 7),
        "frequency_7": sums.ratio("reach_known", "reach", 7),
        "change_cpl": sums.change("spend", "leads"),
        "change_ctr": sums.change("clicks", "impressions"),
        "change_conversion_rate": sums.change("leads", "clicks"),
        "change_spend": sums.change("spend"),
        "change_leads": sums.change("leads"),
        "change_spend_3_of_7": divide(sums.of("spend", 3), sums.of("spend", 7), scale=7 / 3),
        "consistency_14": sums.ratio("lead_days", "delivery_days", 14),
    }


def _volatility(panel: Panel, days: IntArray, sums: _Sums) -> _Columns:
    """Standard deviation of the last 7 days over their mean."""
    back = days - np.arange(len(panel.days))[:, None]
    week = ((back >= 0) & (back < _WEEK)).astype(np.float64)
    out = {}
    for name in ("spend", "leads"):
        mean = sums.of(name, _WEEK) / _WEEK
        variance = np.square(getattr(panel, name)) @ week / _WEEK - np.square(mean)
        out[f"volatility_{name}_7"] = divide(np.sqrt(np.maximum(variance, 0.0)), mean)
    return out
