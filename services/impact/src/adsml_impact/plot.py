"""Charts of one metric's effect: actual against counterfactual with its band, and the effect so far."""

from collections.abc import Sequence
from datetime import date, timedelta
from operator import attrgetter

from adsml.common.v1 import change_pb2, entity_pb2, metrics_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.errors import FailedPrecondition
from adsml_common.serving.messages import METRIC
from adsml_common.serving.messages import day as calendar_day
from adsml_report.content import Band, Chart, Line, Look, Moment, Values
from adsml_report.plot import picture
from adsml_report.wording import METRIC_LABELS, signed_percent, unit, words


def label_of(effect: pb.MetricEffect) -> str:
    """The metric as people write it."""
    return METRIC_LABELS[METRIC.from_wire(effect.metric, "metric").value]


def spanned(share: float, ends: metrics_pb2.Interval) -> str:
    """A relative effect with its interval: ``+12% (+3% to +21%)``."""
    return f"{signed_percent(share)} ({signed_percent(ends.lower)} to {signed_percent(ends.upper)})"


def effect_charts(effect: pb.MetricEffect, change: date, *, currency: str) -> list[Chart]:
    """Day by day: what was against what would have been, and the difference since the change."""
    series = effect.series
    metric = METRIC.from_wire(effect.metric, "metric")
    first, label, of = calendar_day(series[0].date, "date"), label_of(effect), unit(metric.value, currency)
    so_far = "the ratio of the sums" if metric.is_ratio else "summed"

    moment = (Moment(change, "change"),)
    level = Chart(
        f"{label.capitalize()}: what was, and without the change",
        of,
        first,
        (
            Line("actual", _by_day(series, "actual")),
            Line("without the change", _by_day(series, "counterfactual"), Look.EXPECTED),
        ),
        (Band("95% interval", _by_day(series, "interval.lower"), _by_day(series, "interval.upper")),),
        moments=moment,
    )
    since = [one for one in series if one.HasField("cumulative_effect")] or series[-1:]
    cumulative = Chart(
        f"Effect on {label} since the change, {so_far}",
        of.removesuffix(" per day"),
        calendar_day(since[0].date, "date"),
        (Line("effect since the change", _by_day(since, "cumulative_effect")),),
    )
    return [level, cumulative]


def draw_svg(report: pb.ImpactReport) -> str:
    """A picture of the primary metric by itself; FailedPrecondition if the report was asked for without series."""
    shown = report.effects[0]
    if not shown.series:
        raise FailedPrecondition(f"there is no series of {label_of(shown)} to draw")
    names = ", ".join(one.entity_id for one in report.treated[:3])
    kind = words(change_pb2.ChangeType.Name(report.change.change_type).removeprefix("CHANGE_TYPE_"))
    level = words(entity_pb2.EntityType.Name(report.treated[0].entity_type).removeprefix("ENTITY_TYPE_"))
    verdict = words(change_pb2.Verdict.Name(shown.verdict).removeprefix("VERDICT_")) if shown.verdict else ""
    figures = f"{spanned(shown.relative, shown.relative_interval)}, p = {shown.p_value:.3f}: {verdict}"
    change = calendar_day(report.windows.before_last_date, "before_last_date") + timedelta(days=1)
    return picture(
        effect_charts(shown, change, currency=report.currency_code),
        title=f"{label_of(shown).capitalize()}: {kind} of {level} {names}",
        text=figures,
    )


def _by_day(series: Sequence[pb.EffectDay], field: str) -> Values:
    """One value per calendar day, None on days that the series leaves out or does not know."""
    name = field.partition(".")[0]
    values = {
        calendar_day(one.date, "date"): float(attrgetter(field)(one))
        for one in series
        if one.HasField(name)  # type: ignore[arg-type]
    }
    first, last = (calendar_day(one.date, "date") for one in (series[0], series[-1]))
    return [values.get(first + timedelta(days=step)) for step in range((last - first).days + 1)]
