"""The entities of an account at the end of a day: all that an answer is made of, but the model; and what answers.

Computed for the whole account in one pass and kept, so that a call that asks for one entity looks its row up.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from adsml_classifier.models import features, reasons, rule
from adsml_classifier.models.facts import Evidence
from adsml_classifier.models.panel import BoolArray, FloatArray, IntArray, Panel
from adsml_classifier.models.reasons import Reason
from adsml_classifier.models.tier_model import TierModel
from adsml_classifier.models.transfer import LevelTransfer

_WEEK: Final = rule.DAYS
NEVER: Final = -1
"""Days since something that has not happened in the days looked at."""

Scorer: TypeAlias = TierModel | LevelTransfer
_PAUSE_DAYS: Final = 2
# Weeks before the last one in which a weekday without delivery is looked for.
_HABIT_WEEKS: Final = 3


@dataclass(frozen=True, eq=False)
class AccountSnapshot:
    """The entities of one account as of one day; arrays are of shape (entities,) unless said otherwise.

    "Since" counts days up to the as-of day, `NEVER` where it has not happened in the days looked at.
    """

    as_of: date
    rows: Mapping[tuple[str, str], int]  # level and id of each entity to its place in the arrays
    x: npt.NDArray[np.float32]  # features, shape (entities, features), NaN where missing
    persistence: IntArray  # the tier that the last 7 days earned, `Tier.rank`
    rule_tier: IntArray  # the same with the rule's step for the trend
    step: IntArray  # 1 a tier worse, -1 better, 0 none
    comparable: bool  # whether there is an account to compare with: else neither of the two says anything
    delivered: BoolArray  # in the week
    full_week: BoolArray  # whether its first delivery is 7 days ago or more
    alone: BoolArray  # whether the account's spend of the week is its own: it is compared with itself
    days_with_row: IntArray  # of those looked at
    since_row: IntArray
    since_delivery: IntArray
    paused: BoolArray  # delivered, but not in the last 2 days or more, though it used to on such weekdays
    stopped: BoolArray  # the same while its account does deliver
    evidence: Evidence
    cache: dict[Hashable, Any] = field(default_factory=dict)
    """What others compute from it once; lives as long as it does."""

    def last_delivery(self, row: int) -> date | None:
        """The last day with delivery of an entity, in the days looked at."""
        since = int(self.since_delivery[row])
        return None if since == NEVER else self.as_of - timedelta(days=since)

    @classmethod
    def of(cls, panel: Panel, as_of: date) -> "AccountSnapshot":
        """As of a day of the panel, which has `features.LOOKBACK_DAYS` up to it where there are any."""
        column = panel.column(as_of)
        day = np.array([column])
        evidence = Evidence.of(panel, day)
        earned, step = rule.earned(rule.week(panel, day)), rule.step(panel, day)
        # So many days and no more, however many the panel happens to hold: rows that are sent along hold no others.
        looked_at = slice(max(column + 1 - features.LOOKBACK_DAYS, 0), column + 1)
        active = (panel.impressions + panel.spend)[:, looked_at] > 0
        since = _days_since(active)
        of_account = _days_since(np.diff(panel.account["spend"].totals)[None, looked_at] > 0)
        paused = (since >= _PAUSE_DAYS) & ~_usual_pause(active, since)
        first = np.where(active.any(axis=1), active.shape[1] - 1 - active.argmax(axis=1), NEVER)
        return cls(
            as_of=as_of,
            rows=panel.places,
            x=np.ascontiguousarray(features.compute(panel, day)[:, :, 0].T),
            persistence=earned[:, 0],
            rule_tier=rule.stepped(earned, step)[:, 0],
            step=step[:, 0],
            comparable=evidence.account["spend_7"] > 0 or not np.isnan(rule.account_cpl(panel, day)[0]),
            delivered=evidence["delivery_days_7"] > 0,
            full_week=first >= _WEEK - 1,
            alone=rule.alone(panel, day)[:, 0],
            days_with_row=panel.present[:, looked_at].sum(axis=1).astype(np.int64),
            since_row=_days_since(panel.present[:, looked_at] > 0),
            since_delivery=since,
            paused=paused,
            stopped=paused & (since > of_account),
            evidence=evidence,
        )


def _days_since(happened: BoolArray) -> IntArray:
    """Days from the last True to the last column, shape (entities,)."""
    return np.where(happened.any(axis=1), happened[:, ::-1].argmax(axis=1), NEVER)


def _usual_pause(active: BoolArray, since: IntArray) -> BoolArray:
    """Whether an entity that runs on some weekdays only has not delivered on those of its pause before either."""
    days = active.shape[1]
    usual: BoolArray = since < _WEEK
    seen = np.zeros(len(active), dtype=np.bool_)
    for week in range(1, _HABIT_WEEKS + 1):
        for back in range(_WEEK):
            column = days - 1 - back - _WEEK * week
            if column >= 0:
                usual &= ~(active[:, column] & (back < since))
                seen |= active[:, column]
    return usual & seen


@dataclass(frozen=True, slots=True)
class TierCalls:
    """Tiers of some rows; what was not asked for is None or empty."""

    tier: IntArray  # `Tier.rank`, shape (rows,)
    probabilities: FloatArray | None  # calibrated, shape (rows, 4); None where no model answered
    contributions: FloatArray | None  # of each feature to the called tier's log-odds, shape (rows, features)
    reasons: list[tuple[Reason, ...]]


def by_model(
    model: Scorer, snapshot: AccountSnapshot, rows: IntArray, *, contributions: bool, most_reasons: int
) -> TierCalls:
    """The most probable tier."""
    x = snapshot.x[rows]
    probabilities = model.probabilities(x)
    tier = probabilities.argmax(axis=1)
    if not contributions and not most_reasons:
        return TierCalls(tier, probabilities, None, [])
    of_tier = model.contributions(x)[np.arange(len(rows)), tier, :-1]
    why = reasons.of_model(snapshot.evidence, rows, tier, of_tier, most=most_reasons) if most_reasons else []
    return TierCalls(tier, probabilities, of_tier, why)


def by_last_week(
    snapshot: AccountSnapshot, rows: IntArray, by_rule: BoolArray, *, most_reasons: int
) -> TierCalls:
    """Last week's tier again, or the rule, which moves it by the step for the trend."""
    tier = np.where(by_rule, snapshot.rule_tier[rows], snapshot.persistence[rows])
    step = np.where(by_rule, snapshot.step[rows], 0)
    why = reasons.of_week(snapshot.evidence, rows, tier, step=step, most=most_reasons) if most_reasons else []
    return TierCalls(tier, None, None, why)
