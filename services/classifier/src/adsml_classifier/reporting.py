"""The classifier's part of `adsml report`: every entity's tier, and why."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import entity_pb2
from adsml_client.classifier import Classification, classification
from adsml_common.domain.entities import EntityRef
from adsml_common.domain.tiers import Tier
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import entity_ref_message
from adsml_common.settings import load_settings
from adsml_report.content import Block, Chip, Figure, Figures, Listing, Note, Row, Section, Table, Tone
from adsml_report.context import ReportContext, grouped
from adsml_report.wording import LEVELS, count, day, money, words

from adsml_classifier.server import open_servicer
from adsml_classifier.servicer import ClassifierServicer
from adsml_classifier.settings import ClassifierSettings

_BATCH: Final = 1000
"""The contract's most."""
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
    opened = open_servicer(load_settings(ClassifierSettings))
    try:
        told = {
            level: _classify(opened.service, refs) for level, refs in grouped(context.tree.refs()).items()
        }
    finally:
        opened.close()
    blocks: list[Block] = []
    for level, (answers, errors) in told.items():
        if answers:
            tiers = Counter(Tier(one.tier) for _, one in answers)
            tiles = [Figure(words(tier.value), str(tiers[tier]), f"{LEVELS[level]}s") for tier in Tier]
            blocks += [Figures(tuple(tiles)), _table(context, f"Tiers of {LEVELS[level]}s", answers)]
        blocks += [
            Note(f"{number} {LEVELS[level]}s without an answer: {why}") for why, number in errors.items()
        ]
    by = Counter(_by(one) for answers, _ in told.values() for _, one in answers)
    if by:
        blocks.append(
            Note("Answered by " + ", ".join(f"{name} ({number})" for name, number in by.items()) + ".")
        )
    when = {one.as_of for answers, _ in told.values() for _, one in answers}
    as_of = f" As of {day(max(when))}." if when else ""
    yield Section(
        "tiers",
        "Tiers",
        "How each entity is expected to perform over the next 7 days, by its cost per lead relative to the "
        f"account's; how sure the model is of that, and what moved its answer.{as_of}",
        tuple(blocks),
    )


def _classify(
    servicer: ClassifierServicer, refs: Sequence[EntityRef]
) -> tuple[list[tuple[EntityRef, Classification]], Counter[str]]:
    """Answers by rank and confidence, and how often there was none for which reason."""
    answers: list[tuple[EntityRef, Classification]] = []
    errors: Counter[str] = Counter()
    for start in range(0, len(refs), _BATCH):
        part = refs[start : start + _BATCH]
        request = pb.ClassifyEntitiesRequest(
            subjects=[entity_pb2.Subject(entity=entity_ref_message(ref)) for ref in part],
            options=pb.ClassificationOptions(max_contributions=_REASONS),
        )
        answer = servicer.ClassifyEntities(request, CallContext()).message()
        for ref, result in zip(part, answer.results, strict=True):
            if result.WhichOneof("result") == "error":
                errors[result.error.message.replace(f"{ref.entity_type.value} {ref.entity_id} ", "")] += 1
            else:
                answers.append((ref, classification(result.classification, None)))
    answers.sort(key=lambda one: (Tier(one[1].tier).rank, -(one[1].confidence or 0.0), one[0]))
    return answers, errors


def _table(
    context: ReportContext, caption: str, answers: Sequence[tuple[EntityRef, Classification]]
) -> Table:
    rows = tuple(
        Row(
            (
                context.tree.label(ref),
                Chip(words(one.tier), _TONE[Tier(one.tier)]),
                "" if one.confidence is None else f"{one.confidence:.0%}",
                money(one.metrics["cpl"]),
                count(one.metrics["leads"] or 0.0),
                money(one.metrics["spend"] or 0.0),
                Listing(
                    tuple(reason.explanation for reason in one.contributions) or (one.answered_by.reason,)
                ),
            ),
            context.tree.campaign(ref),
        )
        for ref, one in answers
    )
    return Table(caption, _COLUMNS, rows, frozenset(("sure", "CPL 7d", "leads 7d", "spend 7d")))


def _by(one: Classification) -> str:
    model = one.answered_by.model
    return f"{model.name} version {model.version}" if model is not None else one.answered_by.method
