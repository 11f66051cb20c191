"""Responses as tables for a terminal."""

from collections.abc import Iterable

from adsml.common.v1 import change_pb2, metrics_pb2, warning_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.cli.output import console, table
from google.type import date_pb2


def _word(enum: object, number: int, prefix: str) -> str:
    return enum.Name(number).removeprefix(prefix).lower().replace("_", " ")  # type: ignore[attr-defined, no-any-return]


def verdict(number: int) -> str:
    """``positive``."""
    return _word(change_pb2.Verdict, number, "VERDICT_")


def metric(number: int) -> str:
    """``conversion_rate``."""
    return _word(metrics_pb2.Metric, number, "METRIC_").replace(" ", "_")


def iso(day: date_pb2.Date) -> str:
    """``2026-05-31``."""
    return f"{day.year:04}-{day.month:02}-{day.day:02}"


def _figure(message: object, field: str) -> str:
    return f"{getattr(message, field):,.2f}" if message.HasField(field) else ""  # type: ignore[attr-defined]


def _spread(relative: float, interval: metrics_pb2.Interval) -> str:
    return f"{100 * relative:+.1f}% [{100 * interval.lower:+.1f}, {100 * interval.upper:+.1f}]"


def _warn(warnings: Iterable[warning_pb2.Warning]) -> None:
    for one in warnings:
        console.print(f"careful: {one.message}", highlight=False, markup=False)


def show_report(report: pb.ImpactReport) -> None:
    """What one change did."""
    windows = report.windows
    console.print(f"[bold]{verdict(report.verdict).upper()}[/]  {report.recommendation}", highlight=False)
    rows = []
    for one in report.effects:
        scope = _word(pb.EffectScope, one.scope, "EFFECT_SCOPE_")
        effect, p = one.missing_reason, ""
        if one.HasField("relative"):
            effect = _spread(one.relative, one.relative_interval)
        if one.HasField("p_value"):
            p = f"{one.p_value:.3f} / {one.adjusted_p_value:.3f}"
        rows.append(
            (
                metric(one.metric),
                scope,
                _figure(one, "before"),
                _figure(one, "after"),
                _figure(one, "counterfactual"),
                effect,
                p,
                verdict(one.verdict) if one.HasField("verdict") else "",
            )
        )
    table(
        f"{iso(windows.before_first_date)} to {iso(windows.before_last_date)} against "
        f"{iso(windows.after_first_date)} to {iso(windows.after_last_date)}, fitted from "
        f"{iso(windows.baseline_first_date)} ({report.answered_by.method.replace('_', ' ')})",
        ("metric", "of", "before", "after", "expected", "effect", "p / adjusted", "verdict"),
        rows,
        right=("before", "after", "expected"),
    )
    for line in _lines(report):
        console.print(line, highlight=False)
    _warn(report.warnings)


def _lines(report: pb.ImpactReport) -> Iterable[str]:
    if report.HasField("probability_helped"):
        yield f"probability that it helped: {report.probability_helped:.0%}"
    if report.HasField("weekly_gain"):
        gain = report.weekly_gain
        money = (
            f", worth {gain.money:+,.2f} {report.currency_code}".rstrip() if gain.HasField("money") else ""
        )
        yield (
            f"leads gained a week: {gain.leads:+.1f} [{gain.leads_interval.lower:+.1f}, "
            f"{gain.leads_interval.upper:+.1f}]{money}"
        )
    rate = report.false_positive_rate
    if rate.HasField("rate"):
        yield (
            f"where nothing was changed this analysis found an effect in {rate.rate:.1%} of {rate.analyses} cases "
            f"({rate.nominal:.0%} asked for)"
        )
    naive = report.effects[0].naive
    if naive.HasField("p_value"):
        yield (
            f"naive, not to be relied on: {metric(report.primary_metric)} {naive.relative_change:+.1%}, t-test "
            f"p = {naive.p_value:.3f}"
        )
    if report.controls:
        heaviest = ", ".join(
            f"{one.entity.entity_id} {one.weight:.0%}" for one in report.controls[:5] if one.weight > 0
        )
        yield f"compared with {len(report.controls)} entities: {heaviest} ..."
    if report.HasField("sensitivity"):
        one = report.sensitivity
        yield (
            f"with any one of them left out: {one.lowest_relative:+.1%} to {one.highest_relative:+.1%} (the heaviest "
            f"holds {one.heaviest_weight:.0%})"
        )
    for shift in report.budget_shifts[:5]:
        yield f"spend of {shift.entity.entity_id}: {shift.spend_per_day:+.2f} a day ({shift.share:.0%})"


def show_summary(response: pb.SummarizeChangesResponse) -> None:
    """What changes of one kind did."""
    console.print(f"[bold]{verdict(response.verdict).upper()}[/]  {response.recommendation}", highlight=False)
    if response.HasField("pooled"):
        pooled = response.pooled
        console.print(
            f"effects differ between changes by {pooled.heterogeneity:.2f} (standard deviation in logs); "
            f"{pooled.i_squared:.0%} of what estimates vary is not chance",
            highlight=False,
        )
    table(
        f"{metric(response.primary_metric)} of each change",
        ("day", "entity", "budget", "effect", "p", "in the light of all", "improved", "verdict"),
        [
            (
                iso(one.change.date),
                one.entity.entity_id,
                f"{one.change.value_before:g} to {one.change.value_after:g}"
                if one.change.HasField("value_after")
                else "",
                _spread(one.relative, one.interval),
                f"{one.p_value:.3f}",
                f"{one.shrunk_relative:+.1%}",
                f"{one.probability_improved:.0%}",
                verdict(one.verdict),
            )
            for one in response.changes
        ],
        right=("p", "in the light of all", "improved"),
    )
    for skipped in response.skipped:
        console.print(
            f"left out: {skipped.entity.entity_id} on {iso(skipped.change.date)}: {skipped.reason}",
            highlight=False,
            markup=False,
        )
    _warn(response.warnings)
