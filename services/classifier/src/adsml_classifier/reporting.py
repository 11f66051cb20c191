"""The classifier's part of `adsml report`: every entity's tier, and why, as the service answers."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml_common.cli.ask import asking
from adsml_common.domain.entities import EntityRef
from adsml_common.domain.tiers import Tier
from adsml_common.serving.messages import day as calendar_day
from adsml_common.serving.messages import entity_ref
from adsml_report.content import Block, Chip, Figure, Figures, Listing, Note, Row, Section, Table, Tone
from adsml_report.context import ReportContext, grouped
from adsml_report.wording import LEVELS, count, day, money, words

from adsml_classifier.cli import DOOR
from adsml_classifier.requests import batches
from adsml_classifier.showing import answered_by, tier_of, without_names

_REASONS: Final = 3
_TONE: Final = {
    Tier.HIGH_PERFORMER: Tone.GOOD,
    Tier.MODERATE: Tone.FAIR,
    Tier.LOW: Tone.POOR,
    Tier.UNDERPERFORMER: Tone.BAD,
}
_COLUMNS: Final = ("entity", "next 7 days", "sure", "CPL 7d", "leads 7d", "spend 7d", "because")


def sections(context: ReportContext) -> Iterator[Section]:
    """One table for each level, the best tiers first."""
    options = pb.ClassificationOptions(max_reasons=_REASONS, max_contributions=0)
    results: dict[str, list[pb.BatchClassifyResult]] = {}
    with asking(DOOR) as send:
        for kind, refs in grouped(context.tree.refs()).items():
            results[LEVELS[kind]] = [
                result for request in batches(refs, options) for result in send(request).results
            ]
    blocks: list[Block] = []
    by: Counter[str] = Counter()
    last = None
    for level, of_level in results.items():
        answered = [one for one in of_level if one.WhichOneof("result") == "classification"]
        answered.sort(key=lambda one: (tier_of(one.classification).rank, -one.classification.metrics.spend))
        if answered:
            tiers = Counter(tier_of(one.classification) for one in answered)
            tiles = [Figure(words(tier.value), str(tiers[tier]), f"{level}s") for tier in Tier]
            blocks += [Figures(tuple(tiles)), _table(context, f"Tiers of {level}s", answered)]
            by.update(answered_by(one.classification) for one in answered)
            last = calendar_day(answered[0].classification.as_of_date, "as_of_date")
        errors = Counter(without_names(one) for one in of_level if one.WhichOneof("result") == "error")
        blocks += [Note(f"{number} {level}s without an answer: {why}") for why, number in errors.items()]
    if by:
        blocks.append(
            Note("Answered by " + ", ".join(f"{name} ({number})" for name, number in by.items()) + ".")
        )
    as_of = "" if last is None else f" As of {day(last)}."
    yield Section(
        "tiers",
        "Tiers",
        "How each entity is expected to perform over the next 7 days, by its cost per lead relative to the "
        f"account's; how sure the model is of that, and the reasons.{as_of}",
        tuple(blocks),
    )


def _table(context: ReportContext, caption: str, answered: Sequence[pb.BatchClassifyResult]) -> Table:
    return Table(
        caption,
        _COLUMNS,
        tuple(_row(context, entity_ref(one.entity, "entity"), one.classification) for one in answered),
        frozenset(("sure", "CPL 7d", "leads 7d", "spend 7d")),
    )


def _row(context: ReportContext, ref: EntityRef, one: pb.Classification) -> Row:
    metrics, tier = one.metrics, tier_of(one)
    why = [reason.text if reason.supports else f"against: {reason.text}" for reason in one.reasons]
    return Row(
        (
            context.tree.label(ref),
            Chip(words(tier.value), _TONE[tier]),
            f"{one.confidence:.0%}" if one.HasField("confidence") else "",
            money(metrics.cpl if metrics.HasField("cpl") else None),
            count(metrics.leads),
            money(metrics.spend),
            Listing((*why, *(f"careful: {warning.message}" for warning in one.warnings))),
        ),
        context.tree.campaign(ref),
    )
