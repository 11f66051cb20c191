"""Where the entities of an account stand at the end of a day: all that an answer is made of, but the model.

Worked out for the whole account in one pass and kept, so that a call that asks for one entity looks its row up.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adsml_classifier.models import features, rule
from adsml_classifier.models.panel import BoolArray, FloatArray, IntArray, Panel
from adsml_classifier.models.rule import RuleSettings

_WEEK: Final = rule.DAYS
_SUMS: Final = ("spend", "impressions", "clicks", "leads")


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
    days_with_delivery, days_with_leads
        Out of 7.
    account_spend, account_impressions, account_clicks, account_leads
        The account's; 0 where it is not known.
    """

    first: date
    last: date
    spend: float
    impressions: float
    clicks: float
    leads: float
    reach: float
    days_with_delivery: int
    days_with_leads: int
    account_spend: float
    account_impressions: float
    account_clicks: float
    account_leads: float


@dataclass(frozen=True, eq=False)
class AccountSnapshot:
    """The entities of one account as of one day.

    Attributes
    ----------
    as_of
        The day.
    rows
        Level and id of each entity to its row in the arrays.
    x
        Features, shape (entities, features), NaN where missing.
    rule_tier
        What the rule says, as `Tier.rank`, shape (entities,).
    comparable
        Whether the rule can be applied: there is an account to compare with.
    delivered
        Whether an entity delivered in the week, shape (entities,).
    sums
        Of the week, shape (entities, 7) in the order of `WeekMetrics`, from ``spend`` to ``days_with_leads``.
    account
        Of the week, in the order of `WeekMetrics`.
    kept
        What others work out from it once, such as `wire.StoredAnswers`; lives as long as it does.
    """

    as_of: date
    rows: Mapping[tuple[str, str], int]
    x: npt.NDArray[np.float32]
    rule_tier: IntArray
    comparable: bool
    delivered: BoolArray
    sums: FloatArray
    account: tuple[float, float, float, float]
    kept: dict[Hashable, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, panel: Panel, as_of: date, settings: RuleSettings) -> "AccountSnapshot":
        """Work it out.

        Parameters
        ----------
        panel
            The account, with `features.LOOKBACK_DAYS` days up to `as_of` where there are any.
        as_of
            A day of the panel; later ones are not looked at.
        settings
            The rule's thresholds.
        """
        day = np.array([panel.column(as_of)])
        week = {
            name: panel.running[name].last(_WEEK, day)[:, 0]
            for name in (*_SUMS, "reach", "reach_known", "delivery_days", "lead_days")
        }
        reach = np.where(week["reach_known"] >= week["impressions"], week["reach"], np.nan)
        columns = [*(week[name] for name in _SUMS), reach, week["delivery_days"], week["lead_days"]]
        spend, impressions, clicks, leads = (float(panel.account[name].last(_WEEK, day)[0]) for name in _SUMS)
        keys = zip(panel.keys.get_level_values(0), panel.keys.get_level_values(1), strict=True)
        return cls(
            as_of=as_of,
            rows={key: row for row, key in enumerate(keys)},
            x=np.ascontiguousarray(features.compute(panel, day, settings).values[:, :, 0].T),
            rule_tier=rule.tiers(panel, day, settings)[:, 0],
            comparable=spend > 0 or not np.isnan(rule.account_cpl(panel, day)[0]),
            delivered=week["delivery_days"] > 0,
            sums=np.stack(columns, axis=1),
            account=(spend, impressions, clicks, leads),
        )

    def weeks(self, rows: IntArray) -> Sequence[WeekMetrics]:
        """What the entities of some rows did in the week."""
        first = self.as_of - timedelta(days=_WEEK - 1)
        return [
            WeekMetrics(
                first,
                self.as_of,
                spend,
                impressions,
                clicks,
                leads,
                reach,
                int(delivery),
                int(lead),
                *self.account,
            )
            for spend, impressions, clicks, leads, reach, delivery, lead in self.sums[rows].tolist()
        ]
