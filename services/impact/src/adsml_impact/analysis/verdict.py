"""From effects to a verdict."""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from adsml.common.v1 import change_pb2
from adsml_common.domain.metrics import Metric
from adsml_common.serving.messages import EnumCodec

from adsml_impact.analysis.plan import is_neutral, lower_is_better
from adsml_impact.models.effect import Effect


class Verdict(StrEnum):
    """What a change did, seen by the advertiser."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    NEUTRAL = "neutral"
    INCONCLUSIVE = "inconclusive"


VERDICT: EnumCodec[Verdict] = EnumCodec(Verdict, change_pb2.Verdict, "VERDICT_")


def judge(metric: Metric, effect: Effect, *, p_value: float, alpha: float, margin: float) -> Verdict | None:
    """The verdict on one metric, by its adjusted p-value; None where it is neither good nor bad by itself.

    Significant: POSITIVE or NEGATIVE by what is good for the advertiser. Else NEUTRAL if the interval of
    level ``1 - 2 alpha`` lies inside the relative margin, which is two one-sided tests at alpha
    (Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15:657-680). Else the data cannot tell.
    """
    if is_neutral(metric):
        return None
    if np.isfinite(p_value) and p_value < alpha:
        rose = effect.comparison.tau > 0
        return Verdict.NEGATIVE if rose == lower_is_better(metric) else Verdict.POSITIVE
    if np.isfinite(p_value) and effect.equivalence_interval.within(margin):
        return Verdict.NEUTRAL
    return Verdict.INCONCLUSIVE


def judge_account(
    by_price: Verdict | None,
    by_leads: Verdict | None,
    *,
    spend: Effect | None,
    spend_moved: bool,
    margin: float,
) -> Verdict:
    """The verdict on a pause or reactivation, from the account's CPL, leads and spend.

    What the account pays for a lead decides. Where that cannot be told, its leads do if it went on spending
    as much as before (the budget found another place); leads that fell because less was spent are no verdict.
    """
    if by_price not in (None, Verdict.INCONCLUSIVE):
        return by_price
    # Eight percent less spend brings eight percent fewer leads: "as much" means no difference that shows.
    kept_spending = spend is not None and abs(spend.relative) < margin and not spend_moved
    if kept_spending and by_leads in (Verdict.POSITIVE, Verdict.NEGATIVE):
        return by_leads
    return Verdict.INCONCLUSIVE


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given: Holm (1979), Scandinavian Journal of Statistics 6:65-70.

    Rejecting those below alpha keeps the chance of any false rejection at alpha, whatever the metrics' dependence.
    NaN stays NaN and does not count.
    """
    p = np.asarray(p_values, dtype=np.float64)
    out = np.full(p.size, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * (order.size - np.arange(order.size))
    out[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if order.size else steps
    return [float(value) for value in out]
