"""Classifications as a person reads them in a terminal of 80 columns."""

import textwrap
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml_common.cli.output import console, table
from adsml_common.domain.entities import EntityType
from adsml_common.domain.tiers import Tier
from adsml_common.serving.messages import ENTITY_TYPE, TIER

from adsml_classifier.models.facts import money

TOP: Final = 10
"""Entities shown in full: those that spent most."""
_WIDTH: Final = 80
_IDS: Final = 5
_LEVELS: Final = {EntityType.CAMPAIGN: "campaign", EntityType.ADSET: "ad set", EntityType.AD: "ad"}


def tier_of(one: pb.Classification) -> Tier:
    """The answered tier."""
    return TIER.from_wire(one.tier, "tier")


def answered_by(one: pb.Classification) -> str:
    """The model and its version, or what answered in its place."""
    by = one.answered_by
    return f"{by.model.name} version {by.model.version}" if by.HasField("model") else by.method


def without_names(result: pb.BatchClassifyResult) -> str:
    """Why there is no answer, without the entity's own name, so that the same reasons read the same."""
    entity = result.entity
    level = ENTITY_TYPE.from_wire(entity.entity_type, "entity_type").value
    return result.error.message.replace(f"{level} {entity.entity_id} ", "").partition(";")[0]


def by_money(results: Sequence[pb.BatchClassifyResult]) -> list[pb.BatchClassifyResult]:
    """The answered ones, what spent most first."""
    answered = [one for one in results if one.WhichOneof("result") == "classification"]
    return sorted(answered, key=lambda one: (-one.classification.metrics.spend, one.entity.entity_id))


def show(
    config_id: int, level: EntityType, results: Sequence[pb.BatchClassifyResult], *, everything: bool = False
) -> None:
    """The day, number and money of each tier, the entities that spent most, and what has no answer."""
    answered = by_money(results)
    if answered:
        _summary(config_id, level, answered)
        shown = answered if everything else answered[:TOP]
        rest = len(answered) - len(shown)
        console.print(
            f"\nThe {len(shown)} that spent most"
            + (f" (of {len(answered)}; --all shows every one):" if rest else ":")
        )
        for one in shown:
            _entity(one)
    _without_answer(results)


def _summary(config_id: int, level: EntityType, answered: Sequence[pb.BatchClassifyResult]) -> None:
    first = answered[0].classification
    day = first.as_of_date
    currency = first.metrics.currency_code
    count: Counter[Tier] = Counter()
    spend: Counter[Tier] = Counter()
    leads: Counter[Tier] = Counter()
    for result in answered:
        one = result.classification
        tier = tier_of(one)
        count[tier] += 1
        spend[tier] += one.metrics.spend  # type: ignore[assignment]  # a Counter of money
        leads[tier] += one.metrics.leads  # type: ignore[assignment]
    total = sum(spend.values())
    table(
        f"{_LEVELS[level]}s of account {config_id}: the 7 days after {day.year:04}-{day.month:02}-{day.day:02}",
        ("tier", "how many", f"spend 7d {currency}".strip(), "of the money", "CPL 7d"),
        [
            (
                tier.value.replace("_", " "),
                count[tier],
                money(spend[tier]),
                f"{spend[tier] / total:.0%}" if total else "",
                money(spend[tier] / leads[tier]) if leads[tier] else "no leads" if count[tier] else "",
            )
            for tier in Tier
        ],
        right=("how many", f"spend 7d {currency}".strip(), "of the money", "CPL 7d"),
    )
    by = Counter(answered_by(one.classification) for one in answered)
    _wrapped("answered by " + ", ".join(f"{name} ({number})" for name, number in by.most_common()))
    reasons = Counter(
        one.classification.answered_by.reason for one in answered if one.classification.answered_by.reason
    )
    for reason, number in reasons.most_common():
        _wrapped(f"{number}: {reason}")


def _entity(result: pb.BatchClassifyResult) -> None:
    one = result.classification
    sure = f", {one.confidence:.0%} sure" if one.HasField("confidence") else ""
    cpl = f"CPL {money(one.metrics.cpl)}" if one.metrics.HasField("cpl") else "no leads"
    figures = f"{money(one.metrics.spend)} spent, {cpl}"
    name = f"{result.entity.entity_id}: {tier_of(one).value.replace('_', ' ')}{sure}"
    gap = max(_WIDTH - len(name) - len(figures), 2)
    console.print(name + " " * gap + figures, highlight=False, markup=False, soft_wrap=True)
    supporting = [reason.text for reason in one.reasons if reason.supports]
    if supporting:
        _wrapped("; ".join(supporting), indent=4)
    for reason in one.reasons:
        if not reason.supports:
            _wrapped(f"against: {reason.text}", indent=4)
    for warning in one.warnings:
        _wrapped(f"careful: {warning.message}", indent=4)


def _without_answer(results: Sequence[pb.BatchClassifyResult]) -> None:
    absent: defaultdict[str, list[str]] = defaultdict(list)
    for one in results:
        if one.WhichOneof("result") == "error":
            absent[without_names(one)].append(one.entity.entity_id)
    for reason, ids in absent.items():
        more = f" and {len(ids) - _IDS} more" if len(ids) > _IDS else ""
        _wrapped(f"{len(ids)} without an answer, {reason}: {', '.join(ids[:_IDS])}{more}")
    said = {one.classification.answered_by.reason for one in results}
    details = {one.detail for result in results for one in result.classification.degradations}
    for detail in sorted(details - said):
        _wrapped(f"note: {detail}")


def _wrapped(text: str, *, indent: int = 0) -> None:
    blank = " " * indent
    lines = textwrap.wrap(text, _WIDTH, initial_indent=blank, subsequent_indent=blank, break_on_hyphens=False)
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
