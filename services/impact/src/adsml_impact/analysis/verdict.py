"""From effects to a verdict."""

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
from adsml_common.domain.metrics import Metric

from adsml_impact.analysis.plan import lower_is_better
from adsml_impact.models.effect import Effect


class Verdict(StrEnum):
    """What a change did, seen by the advertiser."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    NEUTRAL = "neutral"
    INCONCLUSIVE = "inconclusive"


def judge(metric: Metric, effect: Effect, *, p_value: float, alpha: float, margin: float) -> Verdict:
    """The verdict on one metric.

    Significant: POSITIVE or NEGATIVE by what is good for the advertiser. Else NEUTRAL if the interval of
    level ``1 - 2 alpha`` lies inside the equivalence margin, which is two one-sided tests at alpha
    (Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15:657-680). Else the data cannot tell.

    Parameters
    ----------
    p_value
        Adjusted where several metrics are looked at.
    margin
        In percent.
    """
    if np.isfinite(p_value) and p_value < alpha:
        rose = effect.comparison.tau > 0
        return Verdict.NEGATIVE if rose == lower_is_better(metric) else Verdict.POSITIVE
    if np.isfinite(p_value) and effect.equivalence_interval.within(margin):
        return Verdict.NEUTRAL
    return Verdict.INCONCLUSIVE


def judge_account(verdicts: Mapping[Metric, Verdict], *, spend: Effect | None, margin: float) -> Verdict:
    """The verdict on a pause or reactivation, from the account's CPL, leads and spend.

    What the account pays for a lead decides. Where that cannot be told, its leads do if it went on spending
    as much as before (the budget found another place); leads that fell because less was spent are no verdict.
    """
    by_price = verdicts.get(Metric.CPL, Verdict.INCONCLUSIVE)
    if by_price is not Verdict.INCONCLUSIVE:
        return by_price
    by_leads = verdicts.get(Metric.LEADS, Verdict.INCONCLUSIVE)
    # Eight percent less spend brings eight percent fewer leads: "as much" means no difference that shows.
    moved = verdicts.get(Metric.SPEND) in (Verdict.POSITIVE, Verdict.NEGATIVE)
    kept_spending = spend is not None and abs(spend.percent) < margin and not moved
    if kept_spending and by_leads in (Verdict.POSITIVE, Verdict.NEGATIVE):
        return by_leads
    return by_price
