"""Impact's part of `adsml report`: every recorded change, and whether it worked."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Final

from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_client.errors import CallError, error_of_status
from adsml_client.impact import Effect, EffectDay, Report, report
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.metrics import Metric
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import CHANGE_TYPE, day_message, entity_ref_message
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

from adsml_impact.account_data import StoredAccounts
from adsml_impact.servicer import ImpactServicer
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
    title, intro = (
        "Changes",
        (
            "Each recorded change against what would have been without it, as told by entities that were not "
            "changed. INCONCLUSIVE means that these days can't tell, not that nothing happened."
        ),
    )
    if not events:
        told = Note(
            f"No change is recorded since {day(context.first_day)}. Load the account's change log with: "
            f"adsml changes import FILE --config-id {context.config_id}"
        )
        yield Section("changes", title, intro, (told,))
        return
    answers = _analyse(context, shown)
    blocks: list[Block] = [_verdicts(answers)]
    blocks += [_entry(context, event, answer) for event, answer in zip(shown, answers, strict=True)]
    if len(events) > len(shown):
        blocks.append(Note(f"The newest {len(shown)} of {len(events)} changes; --most shows more."))
    yield Section("changes", title, intro, tuple(blocks))


def _analyse(context: ReportContext, events: Sequence[ChangeEvent]) -> list[Report | CallError]:
    lag = load_settings(ImpactSettings).attribution_lag_days
    servicer = ImpactServicer(StoredAccounts(context.database), attribution_lag_days=lag)
    found: list[Report | CallError] = []
    for at, event in enumerate(events):
        context.progress(f"analysing change {at + 1} of {len(events)}")
        request = pb.BatchAnalyzeImpactRequest(items=[_item(event)], options=pb.ImpactOptions())
        [result] = servicer.BatchAnalyzeImpact(request, CallContext()).results
        ok = result.WhichOneof("result") == "report"
        found.append(report(result.report) if ok else error_of_status(result.error))
    return found


def _item(event: ChangeEvent) -> pb.AnalyzeImpactItem:
    item = pb.AnalyzeImpactItem(
        panel=pb.Panel(stored=pb.StoredPanel(treated=[entity_ref_message(event.entity)]))
    )
    item.change.date.CopyFrom(day_message(event.date))
    item.change.change_type = CHANGE_TYPE.to_wire(event.change_type)  # type: ignore[assignment]
    for name, key in (("value_before", "budget_before"), ("value_after", "budget_after")):
        amount = event.detail.get(key)
        if isinstance(amount, int | float):
            setattr(item.change, name, float(amount))
    return item


def _verdicts(answers: Sequence[Report | CallError]) -> Figures:
    told = [one.verdict for one in answers if isinstance(one, Report)]
    figures = [Figure(words(verdict), str(told.count(verdict))) for verdict in _TONE]
    return Figures((*figures, Figure("not analysed yet", str(len(answers) - len(told)))))


def _what(context: ReportContext, event: ChangeEvent) -> str:
    before, after = event.detail.get("budget_before"), event.detail.get("budget_after")
    amounts = (
        f" from {money(float(before))} to {money(float(after))}"
        if isinstance(before, int | float) and isinstance(after, int | float)
        else ""
    )
    kind = words(event.change_type.value).capitalize()
    return f"{kind}{amounts}: {context.tree.label(event.entity)} ({LEVELS[event.entity.entity_type]})"


def _entry(context: ReportContext, event: ChangeEvent, answer: Report | CallError) -> Entry:
    campaign = context.tree.campaign(event.entity)
    title = f"{event.date:%d %b}: {_what(context, event)}"
    if not isinstance(answer, Report):
        return Entry(title, answer.message, (), Chip("not analysed"), campaign)
    primary = next((one for one in answer.effects if one.metric == answer.primary_metric), None)
    blocks: list[Block] = [Note(answer.recommendation)]
    if primary is not None and primary.series:
        blocks += [_chart(primary, event), _cumulative(primary, event)]
    blocks.append(_effects(answer.effects))
    if answer.controls:
        names = ", ".join(f"{one.entity_id} {weight:.0%}" for one, weight in answer.controls[:6])
        blocks.append(Note(f"Compared with {len(answer.controls)} others: {names}."))
    if answer.false_positive_rate is not None:
        blocks.append(
            Note(
                f"Where nothing was changed, this very analysis finds an effect in {answer.false_positive_rate:.0%} of "
                "cases."
            )
        )
    blocks += [Note(text, caution=True) for _, text in answer.warnings]
    return Entry(
        title,
        _effect_line(primary),
        tuple(blocks),
        Chip(answer.verdict, _TONE.get(answer.verdict, Tone.PLAIN)),
        campaign,
    )


def _effect_line(effect: Effect | None) -> str:
    if effect is None:
        return ""
    label = METRIC_LABELS[effect.metric]
    if effect.percent is None:
        return f"{label}: {effect.missing_reason or 'no figure'}"
    ranged = effect.percent_interval
    between = "" if ranged is None else f" ({ranged.lower:+.0f}% to {ranged.upper:+.0f}%)"
    return f"{label} {effect.percent:+.0f}%{between}"


def _figure(value: float | None) -> str:
    return "" if value is None else money(value)


def _effects(effects: Sequence[Effect]) -> Table:
    rows = tuple(
        Row(
            (
                METRIC_LABELS[one.metric] + (" (account)" if one.scope == "account" else ""),
                _figure(one.before),
                _figure(one.after),
                _figure(one.counterfactual),
                _effect_line(one).removeprefix(f"{METRIC_LABELS[one.metric]} "),
                "" if one.adjusted_p_value is None else f"{one.adjusted_p_value:.3f}",
                Chip(one.verdict, _TONE.get(one.verdict, Tone.PLAIN)) if one.verdict else None,
            )
        )
        for one in effects
    )
    return Table(
        "Effect by metric, the first one decides (p adjusted for the number of metrics)",
        ("metric", "before", "after", "without the change", "effect", "p", ""),
        rows,
        frozenset(("before", "after", "without the change", "effect", "p")),
    )


def _chart(effect: Effect, event: ChangeEvent) -> Chart:
    series = effect.series
    return Chart(
        f"{METRIC_LABELS[effect.metric].capitalize()}: actual against without the change",
        METRIC_UNITS[effect.metric],
        series[0].date,
        (
            Line("actual", _by_day(series, "actual")),
            Line("without the change", _by_day(series, "counterfactual"), Look.EXPECTED),
        ),
        (Band("95% interval", _ends(series, "lower"), _ends(series, "upper")),),
        moments=(Moment(event.date, "change"),),
    )


def _cumulative(effect: Effect, event: ChangeEvent) -> Chart:
    unit = "ratio of sums" if Metric(effect.metric).is_ratio else "sum since the change"
    return Chart(
        f"Effect on {METRIC_LABELS[effect.metric]} so far",
        f"{METRIC_UNITS[effect.metric].removesuffix(' per day')}, {unit}",
        effect.series[0].date,
        (Line("effect since the change", _by_day(effect.series, "cumulative_effect")),),
        moments=(Moment(event.date, "change"),),
    )


def _by_day(series: Sequence[EffectDay], name: str) -> list[float | None]:
    """One value per calendar day, None on days that the series leaves out."""
    told = {one.date: getattr(one, name) for one in series}
    return [None if value is None else float(value) for value in map(told.get, _days(series))]


def _ends(series: Sequence[EffectDay], name: str) -> list[float | None]:
    told = {one.date: one.interval for one in series}
    found = map(told.get, _days(series))
    return [None if one is None else float(getattr(one, name)) for one in found]


def _days(series: Sequence[EffectDay]) -> Iterator[date]:
    first, last = series[0].date, series[-1].date
    return (first + timedelta(days=step) for step in range((last - first).days + 1))
