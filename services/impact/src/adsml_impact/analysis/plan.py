"""Which metric the verdict on a change rests on, whose it is, and which direction is good."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from adsml_common.domain.changes import ChangeType
from adsml_common.domain.metrics import RATIOS, Metric


class Scope(StrEnum):
    """Whose metric an effect is about."""

    TREATED = "treated"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is looked at: the others beside the primary metric, listed first, are adjusted for their number (Holm)."""

    primary: Metric  # the metric the verdict rests on; the others are adjusted for their number (Holm)
    scope: Scope  # whose primary metric
    metrics: tuple[Metric, ...]  # all metrics to report on that scope, the primary one first


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

PRIMARY: Final[dict[ChangeType, Metric]] = {
    ChangeType.BUDGET_CHANGE: Metric.CPL,
    ChangeType.CREATIVE_CHANGE: Metric.CTR,
    ChangeType.AUDIENCE_CHANGE: Metric.CPL,
    ChangeType.PAUSE: Metric.CPL,
    ChangeType.REACTIVATE: Metric.CPL,
}
"""A budget or audience must earn its leads at a price; a creative acts on who clicks; a pause or a
reactivation is judged by what the whole account pays for a lead."""

DEFAULT_METRICS: Final[tuple[Metric, ...]] = (
    Metric.SPEND, Metric.IMPRESSIONS, Metric.CLICKS, Metric.LEADS, Metric.CPL, Metric.CTR, Metric.CPC,
    Metric.CPM, Metric.CONVERSION_RATE, Metric.FREQUENCY,
)  # fmt: skip

ACCOUNT_METRICS: Final[tuple[Metric, ...]] = (Metric.CPL, Metric.LEADS, Metric.SPEND)
"""What a pause or reactivation is judged by."""

_LOWER_IS_BETTER: Final = frozenset({Metric.CPL, Metric.CPC, Metric.CPM, Metric.FREQUENCY})


def is_neutral(metric: Metric) -> bool:
    """Whether a metric is neither good nor bad by itself: to spend is what was meant to be done."""
    return metric is Metric.SPEND


def vanished_metric(metric: Metric) -> Metric | None:
    """The count a ratio rests on, by which it is judged where none of it came after the change."""
    ratio = RATIOS.get(metric)
    if ratio is None or metric is Metric.FREQUENCY:
        return None
    counts = {Metric.CPL: Metric.LEADS, Metric.CONVERSION_RATE: Metric.LEADS, Metric.CPM: Metric.IMPRESSIONS}
    return counts.get(metric, Metric.CLICKS)


def events_of(metric: Metric) -> tuple[str, ...]:
    """The stored counts a metric rests on; money has no minimum."""
    ratio = RATIOS.get(metric)
    parts = (metric.value,) if ratio is None else (ratio.numerator, ratio.denominator)
    return tuple(part for part in parts if part not in ("spend", "reach"))


def lower_is_better(metric: Metric) -> bool:
    """Whether a fall is good news, everything else equal: what costs."""
    return metric in _LOWER_IS_BETTER


def make_plan(change: ChangeType, *, metrics: tuple[Metric, ...] = (), primary: Metric | None = None) -> Plan:
    """The plan for a change; without `metrics` the usual ones, without `primary` by change type."""
    chosen = primary or PRIMARY[change]
    # A pause or reactivation switches the treated's own figures off or on: they say nothing.
    account = change in (ChangeType.PAUSE, ChangeType.REACTIVATE)
    # The account's verdict weighs leads, CPL and spend together, so it always has all three.
    usual = ACCOUNT_METRICS if account else DEFAULT_METRICS
    wanted = (*metrics, *(usual if account or not metrics else ()))
    return Plan(
        primary=chosen,
        scope=Scope.ACCOUNT if account else Scope.TREATED,
        metrics=tuple(dict.fromkeys((chosen, *wanted))),
    )
