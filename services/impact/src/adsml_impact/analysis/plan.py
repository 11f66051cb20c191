"""Which metric the verdict on a change rests on, whose it is, and which direction is good."""

from dataclasses import dataclass
from typing import Final

from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.metrics import RATIOS, Metric


@dataclass(frozen=True, slots=True)
class Plan:
    """What is looked at: the others beside the primary metric, listed first, are adjusted for their number (Holm)."""

    primary: Metric  # the verdict rests on it
    account: bool  # whether it is the whole account's, not the treated's
    metrics: tuple[Metric, ...]  # all metrics to report on, the primary one first

    @property
    def scope(self) -> "pb.EffectScope.ValueType":
        """Whose metrics, in the contract's word."""
        return pb.EFFECT_SCOPE_ACCOUNT if self.account else pb.EFFECT_SCOPE_TREATED


LABELS: Final[dict[Metric, str]] = {
    Metric.SPEND: "spend",
    Metric.IMPRESSIONS: "impressions",
    Metric.CLICKS: "clicks",
    Metric.LEADS: "leads",
    Metric.CPL: "cost per lead",
    Metric.CTR: "click-through rate",
    Metric.CPC: "cost per click",
    Metric.CPM: "cost per thousand impressions",
    Metric.CONVERSION_RATE: "conversion rate",
    Metric.FREQUENCY: "frequency",
}

PRIMARY: Final = dict.fromkeys(ChangeType, Metric.CPL) | {ChangeType.CREATIVE_CHANGE: Metric.CTR}
"""A budget or audience must earn its leads at a price; a creative acts on who clicks; a pause or a
reactivation is judged by what the whole account pays for a lead."""

ACCOUNT_METRICS: Final[tuple[Metric, ...]] = (Metric.CPL, Metric.LEADS, Metric.SPEND)
"""What a pause or reactivation is judged by."""

COUNTS: Final = {
    Metric.CPL: Metric.LEADS, Metric.CTR: Metric.CLICKS, Metric.CPC: Metric.CLICKS, Metric.CPM: Metric.IMPRESSIONS,
    Metric.CONVERSION_RATE: Metric.LEADS,
}  # fmt: skip
"""The count a ratio rests on, by which it is judged where none of it came after the change."""

_LOWER_IS_BETTER: Final = frozenset({Metric.CPL, Metric.CPC, Metric.CPM, Metric.FREQUENCY})


def is_neutral(metric: Metric) -> bool:
    """Whether a metric is neither good nor bad by itself: to spend is what was meant to be done."""
    return metric is Metric.SPEND


def columns_of(metric: Metric) -> tuple[str, ...]:
    """The stored columns that a metric is made of."""
    ratio = RATIOS.get(metric)
    return (metric.value,) if ratio is None else (ratio.numerator, ratio.denominator)


def events_of(metric: Metric) -> tuple[str, ...]:
    """The stored counts a metric rests on; money has no minimum."""
    return tuple(part for part in columns_of(metric) if part not in ("spend", "reach"))


def lower_is_better(metric: Metric) -> bool:
    """Whether a fall is good news, everything else equal: what costs."""
    return metric in _LOWER_IS_BETTER


def make_plan(change: ChangeType, *, metrics: tuple[Metric, ...] = (), primary: Metric | None = None) -> Plan:
    """The plan for a change; without `metrics` the usual ones, without `primary` by change type."""
    chosen = primary or PRIMARY[change]
    # A pause or reactivation switches the treated's own figures off or on: they say nothing.
    account = change in (ChangeType.PAUSE, ChangeType.REACTIVATE)
    # The account's verdict weighs leads, CPL and spend together, so it always has all three.
    usual = ACCOUNT_METRICS if account else tuple(Metric)
    wanted = (*metrics, *(usual if account or not metrics else ()))
    return Plan(
        primary=chosen,
        account=account,
        metrics=tuple(dict.fromkeys((chosen, *wanted))),
    )
