"""Impact's part of `adsml report`: every recorded change and whether it worked, and what each kind does."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from adsml.common.v1 import change_pb2, warning_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.errors import AdsmlError
from adsml_common.domain.metrics import Metric
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import CHANGE_TYPE, METRIC, entity_ref
from adsml_common.settings import load_settings
from adsml_common.store.changes import ChangeStore
from adsml_report.content import Block, Chip, Entry, Finding, Note, Row, Section, Table, Tone
from adsml_report.context import ReportContext
from adsml_report.wording import LEVELS, count, day, percent, sentence, short_day, signed_percent, words

from adsml_impact.encoding import amounts, item_message
from adsml_impact.plot import effect_charts, label_of, spanned
from adsml_impact.server import open_service
from adsml_impact.service import ImpactService
from adsml_impact.settings import ImpactSettings

_KEY: Final = "changes"
_LISTED: Final = 6
_SHORTEST: Final = 3
_LONGEST: Final = 14
"""Days after the change, in the picture of the effect so far."""
_TONE: Final = {change_pb2.VERDICT_POSITIVE: Tone.GOOD, change_pb2.VERDICT_NEGATIVE: Tone.BAD}
_VERDICTS: Final = {
    change_pb2.VERDICT_POSITIVE: "worked",
    change_pb2.VERDICT_NEGATIVE: "hurt",
    change_pb2.VERDICT_NEUTRAL: "no difference",
    change_pb2.VERDICT_INCONCLUSIVE: "can't tell",
}
_KINDS: Final = {ChangeType.REACTIVATE: "reactivation"}
_Answers: TypeAlias = list[tuple[ChangeEvent, pb.BatchAnalyzeImpactResult]]


def sections(context: ReportContext) -> Iterator[Section]:
    """What worked and what hurt first, by money; then the newest."""
    store = ChangeStore(context.database)
    events = list(reversed(store.list(context.config_id, start=context.first_day, end=context.last_day)))
    title = "What your changes did"
    if not events:
        empty = Note(
            f"No change is recorded since {day(context.first_day)}. Load the account's change log with: "
            f"adsml changes import FILE --config-id {context.config_id}"
        )
        yield Section(_KEY, title, "", (empty,), rank=30)
        return
    shown = events[: context.most]
    answers: _Answers = []
    # Each change over windows of growing length, as far as its days go.
    growing: defaultdict[str, list[pb.ImpactReport]] = defaultdict(list)
    opened = open_service(load_settings(ImpactSettings))
    try:
        for at, event in enumerate(shown):
            context.progress(f"analysing change {at + 1} of {len(shown)}")
            answers += _analyse(opened.service, [event], pb.ImpactOptions())
        kinds = _kinds(opened.service, context, events)
        context.progress("how effects grew")
        for days in range(_SHORTEST, _LONGEST + 1):
            options = pb.ImpactOptions(after_days=days, omit_series=True)
            for event, result in _analyse(opened.service, shown, options):
                if result.HasField("report"):
                    growing[_entry_key(event)].append(result.report)
    finally:
        opened.close()
    answers.sort(key=lambda one: -_weight(one[1].report))
    entries = [_entry(context, event, result, growing[_entry_key(event)]) for event, result in answers]
    blocks: list[Block] = [Note(f"Of the newest {len(answers)} changes: {_counts(answers)}")]
    if kinds:
        notes = tuple(Note(sentence(_pooled(*one))) for one in kinds.items())
        blocks.append(Entry("What each kind of change does here", f"{len(kinds)} kinds", notes))
    blocks += entries[:_LISTED]
    if entries[_LISTED:]:
        blocks.append(
            Entry(f"{len(entries) - _LISTED} more changes", "the newest first", tuple(entries[_LISTED:]))
        )
    if len(events) > len(shown):
        blocks.append(Note(f"The newest {len(shown)} of {len(events)} changes; --most shows more."))
    yield Section(
        _KEY,
        title,
        "Each recorded change against what would have been without it, as told by entities that were not changed. "
        "\N{LEFT DOUBLE QUOTATION MARK}Can't tell\N{RIGHT DOUBLE QUOTATION MARK} means that these days can't tell, "
        "not that nothing happened.",
        tuple(blocks),
        rank=30,
        findings=tuple(_findings(context, answers, kinds)),
        behind=tuple(_behind(answers)),
    )


def _analyse(service: ImpactService, events: Sequence[ChangeEvent], options: pb.ImpactOptions) -> _Answers:
    request = pb.BatchAnalyzeImpactRequest(items=map(item_message, events), options=options)
    return list(zip(events, service.BatchAnalyzeImpact(request, CallContext()).results, strict=True))


def _kinds(
    service: ImpactService, context: ReportContext, events: Sequence[ChangeEvent]
) -> Mapping[ChangeType, pb.SummarizeChangesResponse]:
    """What each kind of change that was made more than once does here."""
    found = {}
    for kind, number in Counter(event.change_type for event in events).most_common():
        request = pb.SummarizeChangesRequest(
            config_ids=[context.config_id],
            change_type=CHANGE_TYPE.to_wire(kind),  # type: ignore[arg-type]  # an enum's number
        )
        try:
            summary = service.SummarizeChanges(request, CallContext()) if number > 1 else None
        except AdsmlError:
            continue
        if summary is not None and summary.HasField("pooled"):
            found[kind] = summary
    return found


def _pooled(kind: ChangeType, summary: pb.SummarizeChangesResponse) -> str:
    pooled = summary.pooled
    label = label_of(pb.MetricEffect(metric=summary.primary_metric))
    return (
        f"{_KINDS.get(kind, words(kind.value)).capitalize()}s here, {pooled.changes} together: {label} "
        f"{spanned(pooled.relative, pooled.interval)}"
    )


def _chip(verdict: int) -> Chip:
    return Chip(_VERDICTS.get(verdict, "not analysed"), _TONE.get(verdict, Tone.PLAIN))  # type: ignore[call-overload]  # an enum's number


def _weight(report: pb.ImpactReport) -> float:
    """Money a week of what worked or hurt; nothing for the rest."""
    return abs(report.weekly_gain.money) if report.verdict in _TONE else -1.0


def _findings(
    context: ReportContext, answers: _Answers, kinds: Mapping[ChangeType, pb.SummarizeChangesResponse]
) -> Iterator[Finding]:
    """The change that worked best, and the one that hurt most; or that none can be told."""
    for verdict, tone in _TONE.items():
        found = [(event, one.report) for event, one in answers if one.report.verdict == verdict]
        if not found:
            continue
        event, report = found[0]
        text, gain = _effect_line(report.effects[0]), report.weekly_gain
        if any(one.type == warning_pb2.WARNING_TYPE_OTHER_CHANGES for one in report.warnings):
            text += ", together with other changes of these days"
        if report.HasField("weekly_gain"):
            worth = f", worth {context.money(abs(gain.money))}" if gain.HasField("money") else ""
            text += f": {count(abs(gain.leads))} leads a week {'more' if gain.leads > 0 else 'fewer'}{worth}"
        if event.change_type in kinds:
            text += f". {_pooled(event.change_type, kinds[event.change_type])}"
        yield Finding(
            f"The {words(event.change_type.value)} of {short_day(event.date)} in {context.tree.label(event.entity)} "
            f"{_VERDICTS[verdict]}:",
            f"{text}.", tone, _weight(report), _entry_key(event), context.tree.campaign(event.entity),
        )  # fmt: skip
    if not any(one.report.verdict in _TONE for _, one in answers):
        yield Finding(
            "No change can be said to have worked or hurt:", _counts(answers), Tone.PLAIN, None, _KEY
        )


def _counts(answers: _Answers) -> str:
    by = Counter(_chip(one.report.verdict).text for _, one in answers)
    return sentence(", ".join(f"{number} {verdict}" for verdict, number in by.most_common()))


def _entry_key(event: ChangeEvent) -> str:
    return f"change-{event.date}-{event.change_type.value}-{event.entity.entity_type.value}-{event.entity.entity_id}"


def _what(context: ReportContext, event: ChangeEvent) -> str:
    before, after = amounts(event)
    budgets = (
        "" if before is None or after is None else f" from {context.money(before)} to {context.money(after)}"
    )
    kind = words(event.change_type.value).capitalize()
    return f"{kind}{budgets}: {context.tree.label(event.entity)} ({LEVELS[event.entity.entity_type]})"


def _entry(
    context: ReportContext,
    event: ChangeEvent,
    result: pb.BatchAnalyzeImpactResult,
    growing: Sequence[pb.ImpactReport],
) -> Entry:
    campaign = context.tree.campaign(event.entity)
    title, key = f"{short_day(event.date)}: {_what(context, event)}", _entry_key(event)
    if result.HasField("error"):
        return Entry(title, result.error.message, (), _chip(0), campaign, key)
    answer = result.report
    primary = answer.effects[0]
    blocks: list[Block] = [Note(answer.recommendation), _worth(context, answer)]
    if primary.series:
        blocks += effect_charts(answer, growing)
    blocks.append(_effects(context, answer.effects))
    if answer.detectable_effect.power_curve:
        blocks.append(Entry("What could have been seen", "", (_power(answer.detectable_effect),)))
    blocks += [Note(sentence(one.message), caution=True) for one in answer.warnings]
    if answer.controls:
        names = ", ".join(
            f"{context.tree.label(entity_ref(one.entity, 'entity'))} {percent(one.weight)}"
            for one in answer.controls[:6]
        )
        text = f"Compared with {len(answer.controls)} others: {names}."
        if answer.HasField("sensitivity"):
            ends = answer.sensitivity.lowest_relative, answer.sensitivity.highest_relative
            text += f" With any one of them left out: {' to '.join(map(signed_percent, ends))}."
        blocks.append(Note(text))
    return Entry(title, _effect_line(primary), tuple(blocks), _chip(answer.verdict), campaign, key)


def _worth(context: ReportContext, answer: pb.ImpactReport) -> Note:
    parts = []
    if answer.HasField("probability_helped"):
        parts.append(f"Probability that it helped: {percent(answer.probability_helped)}.")
    if answer.HasField("weekly_gain"):
        gain = answer.weekly_gain
        worth = f", worth {context.money(gain.money)}" if gain.HasField("money") else ""
        ends = gain.leads_interval
        parts.append(
            f"Leads gained a week: {gain.leads:+.1f} ({ends.lower:+.1f} to {ends.upper:+.1f}){worth}."
        )
    return Note(" ".join(parts) or "What it is worth a week can't be said.")


def _power(could: pb.DetectableEffect) -> Table:
    """Chance that an effect shows, by effect and days after the change."""
    chance = {(one.relative, one.after_days): percent(one.power) for one in could.power_curve}
    effects, days = (sorted(set(values)) for values in zip(*chance, strict=True))
    columns = tuple(f"{number} days" for number in days)
    rows = tuple(Row((signed_percent(one), *(chance[one, number] for number in days))) for one in effects)
    return Table("Chance that an effect shows", ("effect", *columns), rows, frozenset(columns))


def _effect_line(effect: pb.MetricEffect) -> str:
    label = label_of(effect)
    if not effect.HasField("relative"):
        return f"{label}: {effect.missing_reason or 'no figure'}"
    return f"{label} {spanned(effect.relative, effect.relative_interval)}"


def _shown(context: ReportContext, metric: Metric) -> Callable[[float], str]:
    if metric in (Metric.SPEND, Metric.CPL, Metric.CPC, Metric.CPM):
        return context.money
    return lambda value: (
        f"{value:.2f}" + ("" if metric is Metric.FREQUENCY else "%") if metric.is_ratio else count(value)
    )


def _effects(context: ReportContext, effects: Sequence[pb.MetricEffect]) -> Table:
    rows = []
    for one in effects:
        label, shown = label_of(one), _shown(context, METRIC.from_wire(one.metric, "metric"))
        figures = (
            shown(getattr(one, field)) if one.HasField(field) else ""
            for field in ("before", "after", "counterfactual")
        )
        whose = " (account)" if one.scope == pb.EFFECT_SCOPE_ACCOUNT else ""
        effect = _effect_line(one).removeprefix(f"{label} ")
        p = f"{one.adjusted_p_value:.3f}" if one.HasField("adjusted_p_value") else ""
        verdict = _chip(one.verdict) if one.verdict else None
        rows.append(Row((label + whose, *figures, effect, p, verdict)))
    numbers = ("before", "after", "without the change", "effect", "p")
    return Table(
        "Effect by metric, the first one decides (p adjusted for the number of metrics)",
        ("metric", *numbers, "verdict"),
        tuple(rows),
        frozenset(numbers),
    )


def _behind(answers: _Answers) -> Iterator[Block]:
    """How often this very analysis finds an effect where nothing was changed."""
    measured = (one.report.false_positive_rate for _, one in answers)
    rates = [one for one in measured if one.HasField("rate")]
    if rates:
        total = sum(one.analyses for one in rates)
        wrong = sum(one.rate * one.analyses for one in rates)
        yield Note(
            f"Where nothing was changed, these analyses find an effect in {percent(wrong / max(total, 1))} of "
            f"{total} tries (nominal: {percent(rates[0].nominal)})."
        )
