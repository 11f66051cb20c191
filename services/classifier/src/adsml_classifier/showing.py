"""Classifications as a person reads them in a terminal of 80 columns."""

import textwrap
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import answer_pb2
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
_METHODS: Final = {"last_week_tier": "last week's tier", "cpl_rule": "the rule"}


def tier_of(one: pb.Classification) -> Tier:
    """The answered tier."""
    return TIER.from_wire(one.tier, "tier")


def answered_by(one: pb.Classification) -> str:
    """The model and its version, or what answered in its place."""
    by = one.answered_by
    if by.HasField("model"):
        return f"{by.model.name} version {by.model.version}"
    return _METHODS.get(by.method, by.method)


def without_names(result: pb.BatchClassifyResult) -> str:
    """Why there is no answer, without the entity's own name, so that the same reasons read the same."""
    entity = result.entity
    level = ENTITY_TYPE.from_wire(entity.entity_type, "entity_type").value
    return result.error.message.replace(f"{level} {entity.entity_id} ", "").partition(";")[0]


def show(
    config_id: int, level: EntityType, results: Sequence[pb.BatchClassifyResult], *, everything: bool = False
) -> None:
    """What to expect in a sentence, number and money of each tier, what spent most, and what has no answer."""
    answered = [one for one in results if one.HasField("classification")]
    answered.sort(key=lambda one: (-one.classification.metrics.spend, one.entity.entity_id))
    if answered:
        _summary(config_id, level, [one.classification for one in answered])
        shown = answered if everything else answered[:TOP]
        rest = f" (of {len(answered)}; --all shows every one)" if len(answered) > len(shown) else ""
        console.print(f"\nThe {len(shown)} that spent most{rest}:")
        for one in shown:
            _entity(one)
    _without_answer(results)


def _summary(config_id: int, level: EntityType, answered: Sequence[pb.Classification]) -> None:
    by_tier: defaultdict[Tier, list[pb.Classification]] = defaultdict(list)
    for one in answered:
        by_tier[tier_of(one)].append(one)
    spend = {tier: sum(one.metrics.spend for one in by_tier[tier]) for tier in Tier}
    leads = {tier: sum(one.metrics.leads for one in by_tier[tier]) for tier in Tier}
    total = sum(spend.values())

    def share(*tiers: Tier) -> str:
        return f"{sum(spend[tier] for tier in tiers) / total:.0%} of the money" if total else "nothing spent"

    good, bad = len(by_tier[Tier.HIGH_PERFORMER]), len(by_tier[Tier.UNDERPERFORMER])
    day = answered[0].as_of_date
    kind = f"{_LEVELS[level]}{'' if len(answered) == 1 else 's'}"
    _wrapped(
        f"Of {len(answered)} {kind} of account {config_id}, {good} will probably do well in the 7 days after "
        f"{day.year:04}-{day.month:02}-{day.day:02} ({share(Tier.HIGH_PERFORMER)}) and {bad} badly "
        f"({share(Tier.UNDERPERFORMER)}), by cost per lead (CPL) against the account's."
    )
    columns = ("how many", f"spend 7d {answered[0].metrics.currency_code}".strip(), "of the money", "CPL 7d")
    rows = [
        (
            tier.value.replace("_", " "),
            len(by_tier[tier]),
            money(spend[tier]),
            f"{spend[tier] / total:.0%}" if total else "",
            money(spend[tier] / leads[tier]) if leads[tier] else "no leads" if by_tier[tier] else "",
        )
        for tier in Tier
    ]
    table("", ("tier", *columns), rows, right=columns)
    by = Counter((answered_by(one), one.answered_by.reason) for one in answered)
    for (name, reason), number in by.most_common():
        why = f": {reason}" if reason else ""
        _wrapped(f"{number} of them by {name}{why}" if number < len(answered) else f"By {name}{why}")


def _entity(result: pb.BatchClassifyResult) -> None:
    one = result.classification
    share = "over 99%" if one.confidence >= 0.995 else f"{one.confidence:.0%}"
    sure = f", {share} sure" if one.confidence else ""
    cpl = f"CPL {money(one.metrics.cpl)}" if one.metrics.HasField("cpl") else "no leads"
    figures = f"{money(one.metrics.spend)} spent, {cpl}"
    name = f"{result.entity.entity_id}: {tier_of(one).value.replace('_', ' ')}{sure}"
    gap = max(_WIDTH - len(name) - len(figures), 2)
    console.print(name + " " * gap + figures, highlight=False, markup=False, soft_wrap=True)
    _wrapped("; ".join(reason.text for reason in one.reasons if reason.supports), indent=4)
    for text in (reason.text for reason in one.reasons if not reason.supports):
        _wrapped(f"against: {text}", indent=4)
    for warning in one.warnings:
        _wrapped(f"careful: {warning.message}", indent=4)


def _without_answer(results: Sequence[pb.BatchClassifyResult]) -> None:
    absent: defaultdict[str, list[str]] = defaultdict(list)
    for one in results:
        if one.HasField("error"):
            absent[without_names(one)].append(one.entity.entity_id)
    for reason, ids in absent.items():
        more = f" and {len(ids) - _IDS} more" if len(ids) > _IDS else ""
        _wrapped(f"No answer for {', '.join(ids[:_IDS])}{more}: {reason}")
    # That there is no model is said with what answers in its place.
    details = {
        one.detail
        for result in results
        for one in result.classification.degradations
        if one.reason != answer_pb2.DEGRADATION_REASON_NO_MODEL
    }
    for detail in sorted(details):
        _wrapped(f"Note: {detail}")


def _wrapped(text: str, *, indent: int = 0) -> None:
    blank = " " * indent
    lines = textwrap.wrap(text, _WIDTH, initial_indent=blank, subsequent_indent=blank, break_on_hyphens=False)
    if lines:
        console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
