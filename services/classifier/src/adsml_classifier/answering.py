"""Classifies entities of one account as of a day: by the account's model, or by the rule where there is none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from adsml_common.domain.errors import AdsmlError, FailedPrecondition, NotFound
from adsml_common.domain.tiers import Tier

from adsml_classifier import features, rule
from adsml_classifier.explanation import Contribution, strongest
from adsml_classifier.panel import FloatArray, IntArray, Panel, Running
from adsml_classifier.rule import TIERS, RuleSettings

_WEEK: Final = rule.DAYS
_SUMS: Final = ("spend", "impressions", "clicks", "leads")


class Scorer(Protocol):
    """What answering needs of a model."""

    def probabilities(self, x: npt.NDArray[np.float32]) -> FloatArray:
        """Calibrated probabilities, shape (rows, 4)."""

    def contributions(self, x: npt.NDArray[np.float32]) -> FloatArray:
        """TreeSHAP values, shape (rows, 4, features + 1)."""


@dataclass(frozen=True, slots=True)
class WeekMetrics:
    """What an entity did in the week up to the as-of day; sums, spend in the account's currency.

    Attributes
    ----------
    first, last
        The week.
    spend, impressions, clicks, leads
        Sums over it.
    reach
        Sum of daily reach; NaN where it is unknown on a day with impressions.
    account_spend, account_impressions, account_clicks, account_leads
        The account's; 0 where it is not known.
    days_with_delivery, days_with_leads
        Out of 7.
    """

    first: date
    last: date
    spend: float
    impressions: float
    clicks: float
    leads: float
    reach: float
    account_spend: float
    account_impressions: float
    account_clicks: float
    account_leads: float
    days_with_delivery: int
    days_with_leads: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The tier of one entity as of one day.

    Attributes
    ----------
    tier
        The most probable tier of the next 7 days, or the rule's.
    probabilities
        Of the tiers from best to worst, calibrated; empty when the rule answered.
    contributions
        The strongest first; empty when the rule answered.
    rule_tier
        What the rule says; None where there is no account to compare with.
    week
        What it looked at.
    as_of
        The day.
    """

    tier: Tier
    probabilities: tuple[float, ...]
    contributions: tuple[Contribution, ...]
    rule_tier: Tier | None
    week: WeekMetrics
    as_of: date

    @property
    def confidence(self) -> float | None:
        """Probability of the answered tier; None when the rule answered."""
        return self.probabilities[self.tier.rank] if self.probabilities else None


def answer(
    panel: Panel,
    asked: Sequence[tuple[str, str]],
    *,
    as_of: date,
    model: Scorer | None,
    settings: RuleSettings,
    most_contributions: int,
) -> list[Answer | AdsmlError]:
    """Classify entities of one account.

    Parameters
    ----------
    panel
        The account, with `features.LOOKBACK_DAYS` days up to `as_of` where there are any.
    asked
        Level and id of each entity.
    as_of
        The end of this day; later days are not looked at.
    model
        The account's; None for the rule.
    settings
        The rule's thresholds.
    most_contributions
        How many contributions to tell.

    Returns
    -------
    list
        One answer per entity, in order, or why there is none: `NotFound` (no such entity in the panel),
        `FailedPrecondition` (nothing delivered in the last 7 days; no model and no account to compare
        with).
    """
    column = panel.column(as_of)
    out: list[Answer | AdsmlError] = [_not_found(key) for key in asked]
    if not 0 <= column < len(panel.days):
        return [idle(key, as_of) for key in asked]
    found = panel.rows_of(asked)
    places = [int(place) for place in np.flatnonzero(found >= 0)]
    if not places:
        return out
    part, rows = _with_parents(panel, found[places])
    day = np.array([column])
    delivered = part.running["delivery_days"].last(_WEEK, day)[rows, 0]
    tiers = rule.tiers(part, day, settings)[rows, 0]
    comparable = (
        not np.isnan(rule.account_cpl(part, day)[0]) or panel.account["spend"].last(_WEEK, day)[0] > 0
    )
    scored = _score(part, rows, day, model, settings, most_contributions) if model is not None else None
    weeks = _weeks(part, rows, column)
    for position, place in enumerate(places):
        if delivered[position] == 0:
            out[place] = idle(asked[place], as_of)
            continue
        rule_tier = TIERS[int(tiers[position])] if comparable else None
        if scored is not None:
            probabilities, contributions = scored[0][position], scored[1][position]
            tier = TIERS[int(np.argmax(probabilities))]
        elif rule_tier is not None:
            probabilities, contributions, tier = (), (), rule_tier
        else:
            out[place] = _incomparable(asked[place])
            continue
        out[place] = Answer(tier, probabilities, contributions, rule_tier, weeks[position], as_of)
    return out


def compared_with(panel: Panel, account: Panel | None) -> Panel:
    """The panel of an entity by itself, compared with an account's totals, or with none.

    Parameters
    ----------
    panel
        The entity.
    account
        The account it belongs to; days it does not have count as 0. None where it is not known: everything
        relative to the account is missing then.
    """
    days = len(panel.days)
    totals: dict[str, Running] = {}
    for name in panel.account:
        daily = np.zeros(days, dtype=np.int64)
        if account is not None:
            shift = account.column(panel.day(0))
            columns = np.arange(days) + shift
            inside = (columns >= 0) & (columns < len(account.days))
            daily[inside] = np.diff(account.account[name].totals)[columns[inside]]
        totals[name] = Running(np.concatenate([[0], np.cumsum(daily)]))
    return replace(panel, account=totals)


def _with_parents(panel: Panel, rows: IntArray) -> tuple[Panel, IntArray]:
    """A small panel of some entities and their parents, and where the entities are in it."""
    above = panel.parent[rows]
    needed, where = np.unique(np.concatenate([rows, above[above >= 0]]), return_inverse=True)
    part = panel.take(needed)
    position = np.full(len(panel) + 1, -1, dtype=np.int64)
    position[needed] = np.arange(len(needed))
    return replace(part, parent=position[part.parent]), where[: len(rows)].astype(np.int64)


def _score(
    part: Panel, rows: IntArray, day: IntArray, model: Scorer, settings: RuleSettings, most: int
) -> tuple[list[tuple[float, ...]], list[tuple[Contribution, ...]]]:
    x = np.ascontiguousarray(features.compute(part, day, settings).values[:, rows, 0].T)
    probabilities = model.probabilities(x)
    told: list[tuple[Contribution, ...]] = [()] * len(rows)
    if most:
        shap = model.contributions(x)
        best = probabilities.argmax(axis=1)
        of_tier = shap[np.arange(len(rows)), best, :-1]
        told = [strongest(x[i], of_tier[i], most=most) for i in range(len(rows))]
    return [tuple(map(float, row)) for row in probabilities], told


def _weeks(part: Panel, rows: IntArray, column: int) -> list[WeekMetrics]:
    day = np.array([column])
    sums = {name: part.running[name].last(_WEEK, day)[rows, 0] for name in (*_SUMS, "reach", "reach_known")}
    account = {name: float(part.account[name].last(_WEEK, day)[0]) for name in _SUMS}
    lead_days = part.running["lead_days"].last(_WEEK, day)[rows, 0]
    delivery_days = part.running["delivery_days"].last(_WEEK, day)[rows, 0]
    reach = np.where(sums["reach_known"] >= sums["impressions"], sums["reach"], np.nan)
    first, last = (part.days[column] - np.timedelta64(_WEEK - 1, "D")).date(), part.day(column)
    return [
        WeekMetrics(
            first=first,
            last=last,
            **{name: float(sums[name][i]) for name in _SUMS},
            reach=float(reach[i]),
            **{f"account_{name}": account[name] for name in _SUMS},
            days_with_delivery=int(delivery_days[i]),
            days_with_leads=int(lead_days[i]),
        )
        for i in range(len(rows))
    ]


def _not_found(key: tuple[str, str]) -> NotFound:
    return NotFound(f"there is no {key[0]} {key[1]} with daily rows in the days looked at")


def idle(key: tuple[str, str], as_of: date) -> FailedPrecondition:
    """An entity that did nothing in its last week can't be classified."""
    return FailedPrecondition(
        f"{key[0]} {key[1]} had no delivery in the 7 days up to {as_of}: there is nothing to classify it by",
        metadata={"days_had": "0", "days_needed": "1"},
    )


def _incomparable(key: tuple[str, str]) -> FailedPrecondition:
    return FailedPrecondition(
        f"{key[0]} {key[1]} has no model and no account to compare with: send account_rows, or the config_id of "
        "a stored account"
    )
