"""Impact's part of `adsml report`: every recorded change and whether it worked, and what each kind does."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from typing import Final

from adsml.common.v1 import change_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.errors import AdsmlError
from adsml_common.domain.metrics import Metric
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import CHANGE_TYPE, METRIC, entity_ref_message
from adsml_common.settings import load_settings
from adsml_common.store.changes import ChangeStore
from adsml_report.content import (
    Band,
    Block,
    Chart,
    Chip,
    Entry,
    Figure,
    Figures,
    Line,
    Look,
    Moment,
    Note,
    Row,
    Section,
    Table,
    Tone,
)
from adsml_report.context import ReportContext
from adsml_report.wording import LEVELS, METRIC_LABELS, METRIC_UNITS, day, money, words
from google.type import date_pb2

from adsml_impact.decoding import amounts
from adsml_impact.encoding import change_message
from adsml_impact.server import make_service
from adsml_impact.service import ImpactService
from adsml_impact.settings import ImpactSettings

_TONE: Final = {
    "positive": Tone.GOOD,
    "neutral": Tone.FAIR,
    "inconclusive": Tone.PLAIN,
    "negative": Tone.BAD,
}


def sections(context: ReportContext) -> Iterator[Section]:
    """The changes of the window, the newest first."""
    events = ChangeStore(context.database).list(
        context.config_id, start=context.first_day, end=context.last_day
    )
    events = list(reversed(events))
    shown = events[: context.most]
    title = "Changes"
    intro = (
        "Each recorded change against what would have been without it, as told by entities that were not "
        "changed. INCONCLUSIVE means that these days can't tell, not that nothing happened."
    )
    if not events:
        empty = Note(
            f"No change is recorded since {day(context.first_day)}. Load the account's change log with: "
            f"adsml changes import FILE --config-id {context.config_id}"
        )
        yield Section("changes", title, intro, (empty,))
        return
    service = make_service(load_settings(ImpactSettings), context.database)
    answers = [_analyse(service, context, event, at, len(shown)) for at, event in enumerate(shown)]
    blocks: list[Block] = [_verdicts(answers), *_summaries(service, context, events)]
    blocks += [_entry(context, event, answer) for event, answer in zip(shown, answers, strict=True)]
    if len(events) > len(shown):
        blocks.append(Note(f"The newest {len(shown)} of {len(events)} changes; --most shows more."))
    yield Section("changes", title, intro, tuple(blocks))


def _analyse(
    service: ImpactService, context: ReportContext, event: ChangeEvent, at: int, number: int
) -> pb.ImpactReport | AdsmlError:
    context.progress(f"analysing change {at + 1} of {number}")
    request = pb.AnalyzeImpactRequest(
        panel=pb.Panel(stored=pb.StoredPanel(treated=[entity_ref_message(event.entity)])),
        change=change_message(event),
    )
    try:
        return service.AnalyzeImpact(request, CallContext()).report
    except AdsmlError as error:
        return error


def _summaries(
    service: ImpactService, context: ReportContext, events: Sequence[ChangeEvent]
) -> Iterator[Block]:
    """What each kind of change that was made more than once does here."""
    for kind, number in Counter(event.change_type for event in events).most_common():
        if number < 2:
            continue
        request = pb.SummarizeChangesRequest(
            config_ids=[context.config_id],
            change_type=CHANGE_TYPE.to_wire(kind),  # type: ignore[arg-type]  # an enum's number
        )
        try:
            summary = service.SummarizeChanges(request, CallContext())
        except AdsmlError:
            continue
        if summary.HasField("pooled"):
            yield Note(f"{words(kind.value).capitalize()}s together. {summary.recommendation}")


def _verdict(number: int) -> str:
    return change_pb2.Verdict.Name(number).removeprefix("VERDICT_").lower() if number else ""  # type: ignore[arg-type]


def _metric(number: int) -> Metric:
    return METRIC.from_wire(number, "metric")


def _day(message: date_pb2.Date) -> date:
    return date(message.year, message.month, message.day)


def _verdicts(answers: Sequence[pb.ImpactReport | AdsmlError]) -> Figures:
    reached = [_verdict(one.verdict) for one in answers if isinstance(one, pb.ImpactReport)]
    figures = [Figure(words(verdict), str(reached.count(verdict))) for verdict in _TONE]
    return Figures((*figures, Figure("not analysed yet", str(len(answers) - len(reached)))))


def _what(context: ReportContext, event: ChangeEvent) -> str:
    before, after = amounts(event)
    budgets = "" if before is None or after is None else f" from {money(before)} to {money(after)}"
    kind = words(event.change_type.value).capitalize()
    return f"{kind}{budgets}: {context.tree.label(event.entity)} ({LEVELS[event.entity.entity_type]})"


def _entry(context: ReportContext, event: ChangeEvent, answer: pb.ImpactReport | AdsmlError) -> Entry:
    campaign = context.tree.campaign(event.entity)
    title = f"{event.date:%d %b}: {_what(context, event)}"
    if not isinstance(answer, pb.ImpactReport):
        return Entry(title, str(answer), (), Chip("not analysed"), campaign)
    primary = answer.effects[0]
    blocks: list[Block] = [Note(answer.recommendation), _worth(answer)]
    if primary.series:
        blocks += [_chart(primary, event), _cumulative(primary, event)]
    blocks.append(_effects(answer.effects))
    if answer.detectable_effect.power_curve:
        blocks.append(_power(answer.detectable_effect))
    if answer.controls:
        names = ", ".join(f"{one.entity.entity_id} {one.weight:.0%}" for one in answer.controls[:6])
        blocks.append(Note(f"Compared with {len(answer.controls)} others: {names}.{_sensitivity(answer)}"))
    if answer.false_positive_rate.HasField("rate"):
        rate = f"{answer.false_positive_rate.rate:.0%} of cases"
        blocks.append(Note(f"Where nothing was changed, this very analysis finds an effect in {rate}."))
    blocks += [Note(one.message, caution=True) for one in answer.warnings]
    verdict = _verdict(answer.verdict)
    chip = Chip(verdict, _TONE.get(verdict, Tone.PLAIN))
    return Entry(title, _effect_line(primary), tuple(blocks), chip, campaign)


def _worth(answer: pb.ImpactReport) -> Note:
    parts = []
    if answer.HasField("probability_helped"):
        parts.append(f"Probability that it helped: {answer.probability_helped:.0%}.")
    if answer.HasField("weekly_gain"):
        gain = answer.weekly_gain
        worth = f", worth {money(gain.money)}" if gain.HasField("money") else ""
        parts.append(
            f"Leads gained a week: {gain.leads:+.1f} ({gain.leads_interval.lower:+.1f} to "
            f"{gain.leads_interval.upper:+.1f}){worth}."
        )
    return Note(" ".join(parts) or "What it is worth a week can't be said.")


def _sensitivity(answer: pb.ImpactReport) -> str:
    if not answer.HasField("sensitivity"):
        return ""
    one = answer.sensitivity
    return f" With any one of them left out: {one.lowest_relative:+.0%} to {one.highest_relative:+.0%}."


def _power(could: pb.DetectableEffect) -> Table:
    """Chance that an effect shows, by effect and days after the change."""
    chance = {(one.relative, one.after_days): f"{one.power:.0%}" for one in could.power_curve}
    effects, days = (sorted(set(values)) for values in zip(*chance, strict=True))
    columns = tuple(f"{number} days" for number in days)
    rows = tuple(Row((f"{one:+.0%}", *(chance[one, number] for number in days))) for one in effects)
    return Table("Chance that an effect shows", ("effect", *columns), rows, frozenset(columns))


def _effect_line(effect: pb.MetricEffect) -> str:
    label = METRIC_LABELS[_metric(effect.metric).value]
    if not effect.HasField("relative"):
        return f"{label}: {effect.missing_reason or 'no figure'}"
    interval = effect.relative_interval
    return f"{label} {effect.relative:+.0%} ({interval.lower:+.0%} to {interval.upper:+.0%})"


def _figure(effect: pb.MetricEffect, field: str) -> str:
    return money(getattr(effect, field)) if effect.HasField(field) else ""  # type: ignore[arg-type]


def _effects(effects: Sequence[pb.MetricEffect]) -> Table:
    rows = []
    for one in effects:
        label = METRIC_LABELS[_metric(one.metric).value]
        verdict = _verdict(one.verdict)
        rows.append(
            Row(
                (
                    label + (" (account)" if one.scope == pb.EFFECT_SCOPE_ACCOUNT else ""),
                    *(_figure(one, field) for field in ("before", "after", "counterfactual")),
                    _effect_line(one).removeprefix(f"{label} "),
                    f"{one.adjusted_p_value:.3f}" if one.HasField("adjusted_p_value") else "",
                    Chip(verdict, _TONE.get(verdict, Tone.PLAIN)) if verdict else None,
                )
            )
        )
    return Table(
        "Effect by metric, the first one decides (p adjusted for the number of metrics)",
        ("metric", "before", "after", "without the change", "effect", "p", ""),
        tuple(rows),
        frozenset(("before", "after", "without the change", "effect", "p")),
    )


def _chart(effect: pb.MetricEffect, event: ChangeEvent) -> Chart:
    name = _metric(effect.metric).value
    lower, upper = (
        _by_day(effect.series, "interval", lambda day, end=end: getattr(day.interval, end))  # type: ignore[misc]
        for end in ("lower", "upper")
    )
    return Chart(
        f"{METRIC_LABELS[name].capitalize()}: actual against without the change",
        METRIC_UNITS[name],
        _day(effect.series[0].date),
        (
            Line("actual", _by_day(effect.series, "actual")),
            Line("without the change", _by_day(effect.series, "counterfactual"), Look.EXPECTED),
        ),
        (Band("95% interval", lower, upper),),
        moments=(Moment(event.date, "change"),),
    )


def _cumulative(effect: pb.MetricEffect, event: ChangeEvent) -> Chart:
    metric = _metric(effect.metric)
    unit = "ratio of sums" if metric.is_ratio else "sum since the change"
    return Chart(
        f"Effect on {METRIC_LABELS[metric.value]} so far",
        f"{METRIC_UNITS[metric.value].removesuffix(' per day')}, {unit}",
        _day(effect.series[0].date),
        (Line("effect since the change", _by_day(effect.series, "cumulative_effect")),),
        moments=(Moment(event.date, "change"),),
    )


def _by_day(
    series: Sequence[pb.EffectDay], field: str, value: Callable[[pb.EffectDay], float] | None = None
) -> list[float | None]:
    """A field, or what is made of it, by calendar day; None where it is unset or the series leaves a day out."""
    values: dict[date, float] = {
        _day(one.date): getattr(one, field) if value is None else value(one)
        for one in series
        if one.HasField(field)  # type: ignore[arg-type]
    }
    first, last = _day(series[0].date), _day(series[-1].date)
    return [values.get(first + timedelta(days=step)) for step in range((last - first).days + 1)]
