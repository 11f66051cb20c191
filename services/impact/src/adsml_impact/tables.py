"""Responses for a terminal of 80 columns: the sentence first, then tables."""

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, Final

from adsml.common.v1 import change_pb2, metrics_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.cli.output import console, table
from adsml_common.domain.changes import ChangeType
from adsml_common.serving.messages import METRIC
from google.type import date_pb2
from rich.text import Text

from adsml_impact.analysis.plan import LABELS

_SHORT: Final = {"cost per thousand impressions": "cost per 1,000", "click-through rate": "click rate"}
_SAID: Final = {
    change_pb2.VERDICT_POSITIVE: ("better", "It helped", "They help"),
    change_pb2.VERDICT_NEGATIVE: ("worse", "It did harm", "They do harm"),
    change_pb2.VERDICT_NEUTRAL: (
        "same", "It made no difference that matters", "They make no difference that matters"
    ),
    change_pb2.VERDICT_INCONCLUSIVE: ("unclear", "It can't be told yet", "It can't be told yet"),
}  # fmt: skip
"""In a word, of one change, and of many."""


def _label(number: int) -> str:
    label = LABELS[METRIC.from_wire(number, "metric")]
    return _SHORT.get(label, label)


def _iso(day: date_pb2.Date) -> str:
    return f"{day.year:04}-{day.month:02}-{day.day:02}"


def _figure(message: Any, field: str) -> str:
    if not message.HasField(field):
        return ""
    value = getattr(message, field)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}"


def _spread(relative: float, interval: metrics_pb2.Interval) -> str:
    ends = [f"{100 * end:+.0f}" if isfinite(end) else "any" for end in (interval.lower, interval.upper)]
    return f"{100 * relative:+.0f}% ({' to '.join(ends)})"


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False)


def _headline(verdict: Any, text: str, *, many: bool = False) -> None:
    name = change_pb2.Verdict.Name(verdict).removeprefix("VERDICT_")
    console.print(Text.assemble((f"{_SAID[verdict][1 + many]} ({name}). ", "bold"), text))


def show_report(report: pb.ImpactReport) -> None:
    """What one change did."""
    windows = report.windows
    _headline(report.verdict, report.recommendation)
    rows = [
        (
            _label(one.metric) + (" *" if one.scope == pb.EFFECT_SCOPE_ACCOUNT else ""),
            _figure(one, "before"),
            _figure(one, "after"),
            _figure(one, "counterfactual"),
            _spread(one.relative, one.relative_interval) if one.HasField("relative") else "not known",
            _SAID[one.verdict][0] if one.HasField("verdict") else "",
        )
        for one in report.effects
    ]
    table(
        f"{_iso(windows.after_first_date)} to {_iso(windows.after_last_date)} against "
        f"{_iso(windows.before_first_date)} to {_iso(windows.before_last_date)}",
        ("metric", "before", "after", "without", "effect, %", "verdict"),
        rows,
        right=("before", "after", "without"),
    )
    if any(one.scope == pb.EFFECT_SCOPE_ACCOUNT for one in report.effects):
        _say(["* of the whole account"])
    _say(_lines(report))
    _say(f"Careful: {one.message}." for one in report.warnings)


def _lines(report: pb.ImpactReport) -> Iterable[str]:
    if report.HasField("probability_helped"):
        yield f"Chance that it helped: {report.probability_helped:.0%}."
    if report.HasField("weekly_gain"):
        gain, span = report.weekly_gain, report.weekly_gain.leads_interval
        worth = (
            f", worth {gain.money:+,.2f} {report.currency_code}".rstrip() if gain.HasField("money") else ""
        )
        yield f"Leads gained a week: {gain.leads:+.1f} ({span.lower:+.1f} to {span.upper:+.1f}){worth}."
    rate = report.false_positive_rate
    if rate.HasField("rate"):
        yield (
            f"Where nothing was changed, this very analysis finds an effect in {rate.rate:.1%} of "
            f"{rate.analyses} cases ({rate.nominal:.0%} asked for)."
        )
    naive = report.effects[0].naive
    if naive.HasField("p_value"):
        yield (
            f"Plain before and after, not to be relied on: {naive.relative_change:+.0%} "
            f"(t-test p = {naive.p_value:.3f})."
        )
    heaviest = [f"{one.entity.entity_id} {one.weight:.0%}" for one in report.controls[:3] if one.weight > 0]
    if heaviest:
        yield f"Compared with {len(report.controls)} others, most with {', '.join(heaviest)}."
    if report.HasField("sensitivity"):
        one = report.sensitivity
        yield (
            f"With any one of them left out the effect is {one.lowest_relative:+.0%} to "
            f"{one.highest_relative:+.0%}."
        )
    for shift in report.budget_shifts[:5]:
        yield f"Spend of {shift.entity.entity_id} moved by {shift.spend_per_day:+.2f} a day ({shift.share:.0%})."


def show_summary(response: pb.SummarizeChangesResponse, kind: ChangeType) -> None:
    """What changes of one kind did."""
    _headline(response.verdict, response.recommendation, many=response.HasField("pooled"))
    budgets = kind is ChangeType.BUDGET_CHANGE
    rows = [
        (
            _iso(one.change.date),
            one.entity.entity_id,
            *([f"{one.change.value_before:g} to {one.change.value_after:g}"] if budgets else []),
            _spread(one.relative, one.interval),
            f"{one.shrunk_relative:+.0%}",
            f"{one.probability_improved:.0%}",
        )
        for one in response.changes
    ]
    table(
        f"{_label(response.primary_metric)} of each change: by itself, and in the light of all",
        ("day", "entity", *(["budget"] if budgets else []), "effect, %", "of all", "helped"),
        rows,
        right=("of all", "helped"),
    )
    if response.HasField("pooled"):
        pooled = response.pooled
        differ = f"{pooled.i_squared:.0%} of how much these effects differ is more than chance"
        _say([f"{differ}." if pooled.i_squared else "They differ by no more than chance would make them."])
    _say(
        f"Left out: {one.entity.entity_id} on {_iso(one.change.date)}: {one.reason}."
        for one in response.skipped
    )
    _say(f"Careful: {one.message}." for one in response.warnings)


def show_detectable(response: pb.EstimateDetectableEffectResponse, names: str) -> None:
    """What a window could show."""
    first = response.effects[0]
    sides = " or ".join(
        f"{name} by {size.lstrip('+-')}"
        for name, size in zip(("fall", "rise"), _both(first), strict=True)
        if size != "none"
    )
    label = LABELS[METRIC.from_wire(first.metric, "metric")]
    whose = "of the account" if first.scope == pb.EFFECT_SCOPE_ACCOUNT else f"of {names}"
    sentence = (
        f"With {first.after_days} days after the change, {label} {whose} must {sides} to show "
        f"{first.power:.0%} of the time."
        if sides
        else f"With {first.after_days} days after the change, no effect on {label} {whose} would show reliably."
    )
    if first.HasField("target_relative"):
        days = f"about {first.days_needed} days" if first.HasField("days_needed") else "more than 90 days"
        sentence += f" An effect of {first.target_relative:+.0%} needs {days}."
    console.print(Text(sentence, "bold"))
    table(
        f"smallest effect that {first.after_days} days show {first.power:.0%} of the time",
        ("metric", "fall", "rise"),
        [(_label(one.metric), *_both(one)) for one in response.effects],
        right=("fall", "rise"),
    )
    chance = {(one.relative, one.after_days): f"{one.power:.0%}" for one in first.power_curve}
    effects, windows = (sorted(set(values)) for values in zip(*chance, strict=True))
    columns = ("effect", *(f"{number} days" for number in windows))
    rows = [(f"{one:+.0%}", *(chance[one, number] for number in windows)) for one in effects]
    table(f"chance that an effect on {label} shows", columns, rows, right=columns)
    _say([f"From {response.placebos} analyses of days on which nothing was changed."])
    _say(f"Careful: {one.message}." for one in response.warnings)


def _both(one: pb.DetectableEffect) -> Sequence[str]:
    return [
        f"{getattr(one, field):+.0%}" if one.HasField(field) else "none"
        for field in ("relative_down", "relative_up")
    ]


def show_evaluation(result: dict[str, Any]) -> None:
    """Every method's effect on one panel."""
    ours = result["methods"].get("adsml")
    if ours is not None and ours["percent"] is not None and ours["p_value"] is not None:
        found = "An effect" if ours["p_value"] < result["alpha"] else "No effect that chance could not make"
        console.print(
            f"[bold]{found}:[/] {ours['percent']:+.1f}% (p = {ours['p_value']:.3f}) by the service's own estimator.",
            highlight=False,
        )
    table(
        f"{', '.join(result['treated'])} from {result['start']}: {result['periods_before']} times before, "
        f"{result['periods_after']} after, {result['controls']} controls",
        ("method", "effect", "percent", "p", "interval"),
        [
            (
                name.replace("_", " "),
                f"{method['att']:.3f}",
                "" if method["percent"] is None else f"{method['percent']:.2f}",
                "" if method["p_value"] is None else f"{method['p_value']:.3f}",
                "" if None in method["interval"] else "[{:.3f}, {:.3f}]".format(*method["interval"]),
            )
            for name, method in result["methods"].items()
        ],
        right=("effect", "percent", "p"),
    )
    heaviest = list(result["weights"].items())[:10]
    table("weights of synthetic control", ("unit", "weight"), [(name, f"{w:.4f}") for name, w in heaviest])
    if "placebo_study" in result:
        table(
            f"where nothing was done, at {result['alpha']:g}",
            ("method", "false positives", "power at +1 sd", "analyses"),
            [
                (name.replace("_", " "), one["false_positive_rate"], one["power_1sd"], one["analyses"])
                for name, one in result["placebo_study"].items()
            ],
            right=("false positives", "power at +1 sd", "analyses"),
        )
    _say(f"Left out, has gaps: {name}." for name in result["dropped_units"])
