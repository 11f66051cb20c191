"""The classifier's part of `adsml report`: what to raise, what to cut, and why, as the service answers."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml_common.cli.ask import asking
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.tiers import Tier
from adsml_common.serving.messages import day as calendar_day
from adsml_common.serving.messages import entity_ref
from adsml_report.content import (
    Block,
    Chip,
    Detailed,
    Entry,
    Finding,
    Note,
    Row,
    Section,
    Table,
    Tone,
)
from adsml_report.context import ReportContext, grouped
from adsml_report.wording import LEVELS, count, day, percent, sentence, words

from adsml_classifier.cli import DOOR, ask_all
from adsml_classifier.showing import answered_by, tier_of, without_names

_KEY: Final = "tiers"
_REASONS: Final = 3
_MOST: Final = 10
"""Entities on each side."""
_STALLED: Final = 0.25
"""Of the week's daily spend on its last day."""
_TONE: Final = {
    Tier.HIGH_PERFORMER: Tone.GOOD,
    Tier.MODERATE: Tone.FAIR,
    Tier.LOW: Tone.POOR,
    Tier.UNDERPERFORMER: Tone.BAD,
}
_NUMBERS: Final = ("sure", "CPL", "leads", "spend", "against average")
_Answer: TypeAlias = tuple[EntityRef, pb.Classification]


def sections(context: ReportContext) -> Iterator[Section]:
    """Campaigns, the ad sets that matter by money on each side, and all others folded."""
    options = pb.ClassificationOptions(max_reasons=_REASONS, max_contributions=0)
    results: dict[EntityType, list[pb.BatchClassifyResult]] = {}
    with asking(DOOR) as send:
        for kind, refs in grouped(context.tree.refs()).items():
            results[kind] = ask_all(send, refs, options)
    answers = {kind: _answered(those) for kind, those in results.items()}
    campaigns, level = answers.get(EntityType.CAMPAIGN, []), EntityType.ADSET
    sides = answers.get(level) or []
    blocks: list[Block] = [_table(context, "Campaigns, those that spent most first", campaigns[:_MOST])]
    if not sides:
        sides, level, blocks = campaigns, EntityType.CAMPAIGN, []
    good = _by_money(sides, (Tier.HIGH_PERFORMER,), 1)
    bad = _by_money(sides, (Tier.LOW, Tier.UNDERPERFORMER), -1)
    name = LEVELS[level].capitalize()
    blocks += [
        _table(context, f"{name}s that could get more", good[:_MOST]),
        _table(context, f"{name}s that should get less", bad[:_MOST]),
    ]
    blocks = [one for one in blocks if isinstance(one, Table) and one.rows]
    findings = [*_finding(context, "Raise", good), *_finding(context, "Cut", bad)]
    for kind, those in answers.items():
        if those and not (kind is EntityType.CAMPAIGN and len(those) <= _MOST and level is not kind):
            tiers = Counter(tier_of(one) for _, one in those)
            told = ", ".join(f"{tiers[tier]} {words(tier.value)}" for tier in Tier if tiers[tier])
            table = _table(context, f"{LEVELS[kind].capitalize()}s, those that spent most first", those)
            blocks.append(Entry(f"All {len(those)} {LEVELS[kind]}s", told, (table,)))
    as_of = next((one.as_of_date for those in answers.values() for _, one in those), None)
    yield Section(
        _KEY,
        "What to raise, what to cut",
        "How each is expected to do over the next 7 days by its cost per lead relative to the account's, and how sure "
        "that is. Figures are of the last 7 days"
        + (f" up to {day(calendar_day(as_of, 'as_of_date'))}" if as_of is not None else "")
        + "; against average: what its leads cost less or more than at the account's cost per lead.",
        tuple(blocks),
        rank=20,
        findings=tuple(findings),
        behind=tuple(_behind(results)),
    )


def _answered(results: Iterable[pb.BatchClassifyResult]) -> list[_Answer]:
    """Those with an answer, what spent most first."""
    found = [
        (entity_ref(one.entity, "entity"), one.classification)
        for one in results
        if one.WhichOneof("result") == "classification"
    ]
    return sorted(found, key=lambda one: -one[1].metrics.spend)


def _saved(one: pb.Classification) -> float | None:
    """What its leads would have cost at the account's cost per lead, less what they did cost."""
    if not one.metrics.HasField("account_cpl"):
        return None
    return one.metrics.leads * one.metrics.account_cpl - one.metrics.spend


def _by_money(answers: Sequence[_Answer], tiers: Sequence[Tier], sign: int) -> list[_Answer]:
    """Those of some tiers whose leads cost less (1) or more (-1) than at average, by how much money that is."""
    found = [one for one in answers if tier_of(one[1]) in tiers and sign * (_saved(one[1]) or 0.0) > 0]
    return sorted(found, key=lambda one: -sign * (_saved(one[1]) or 0.0))


def _stalled(context: ReportContext, ref: EntityRef) -> bool:
    """Whether it does not spend what it has: more budget would change nothing."""
    week = context.history(ref)["spend"].to_numpy()[-7:]
    return bool(week[-1] < _STALLED * week.mean())


def _sure(one: pb.Classification) -> str:
    return percent(one.confidence) if one.HasField("confidence") else ""


def _finding(context: ReportContext, verb: str, answers: Sequence[_Answer]) -> Iterator[Finding]:
    """One sentence about a side: what matters most, and how many more there are."""
    raising = verb == "Raise"
    expected = [
        (ref, one)
        for ref, one in answers
        if (not _stalled(context, ref) if raising else tier_of(one) is Tier.UNDERPERFORMER)
    ]
    if not expected:
        return
    ref, one = expected[0]
    metrics, money, saved = one.metrics, context.money, _saved(one) or 0.0
    sure = f" ({_sure(one)} sure)" if _sure(one) else ", as last week"
    average = f"the account's average of {money(metrics.account_cpl)}"
    brought = f"no lead, against {average}"
    if metrics.HasField("cpl"):
        more = f"{money(abs(saved))} {'more' if saved > 0 else 'less'}"
        brought = f"leads at {money(metrics.cpl)}; at {average} they would have cost {more}"
    expects = f"{words(tier_of(one).value)} for the next 7 days{sure}"
    text = f"{expects}. Last week {money(metrics.spend)} brought {brought}."
    if len(expected) > 1:
        rest = sum(each.metrics.spend for _, each in expected[1:])
        text += f" {len(expected) - 1} more like it, with {money(rest)} a week."
    head, tone = f"{verb} {context.tree.label(ref)}:", Tone.GOOD if raising else Tone.BAD
    yield Finding(head, text, tone, abs(saved), _KEY, context.tree.campaign(ref))


def _table(context: ReportContext, caption: str, answers: Sequence[_Answer]) -> Table:
    columns, rows = (
        ("name", "next 7 days", *_NUMBERS, "because"),
        tuple(_row(context, *one) for one in answers),
    )
    return Table(caption, columns, rows, frozenset(_NUMBERS))


def _row(context: ReportContext, ref: EntityRef, one: pb.Classification) -> Row:
    metrics, tier, saved = one.metrics, tier_of(one), _saved(one)
    why = [reason.text if reason.supports else f"against: {reason.text}" for reason in one.reasons]
    cells = (
        context.tree.label(ref),
        Chip(words(tier.value), _TONE[tier]),
        _sure(one),
        context.money(metrics.cpl if metrics.HasField("cpl") else None),
        count(metrics.leads),
        context.money(metrics.spend),
        "" if saved is None else f"{context.money(abs(saved))} {'less' if saved > 0 else 'more'}",
        Detailed("", (sentence("; ".join(why)), *(f"Careful: {one.message}" for one in one.warnings))),
    )
    return Row(cells, context.tree.campaign(ref))


def _behind(results: dict[EntityType, list[pb.BatchClassifyResult]]) -> Iterator[Block]:
    """What answered, and what has no answer."""
    those = [one for several in results.values() for one in several]
    by = Counter(answered_by(one.classification) for one in those if one.WhichOneof("result") != "error")
    if by:
        yield Note(f"Answered by {', '.join(f'{name} ({number})' for name, number in by.items())}.")
    for kind, several in results.items():
        errors = Counter(without_names(one) for one in several if one.WhichOneof("result") == "error")
        for why, number in errors.items():
            yield Note(f"{number} {LEVELS[kind]}s without an answer: {why}.")
