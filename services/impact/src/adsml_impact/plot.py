"""Charts of one metric's effect: actual against counterfactual with its band, and the effect so far."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from operator import attrgetter

from adsml.common.v1 import change_pb2, entity_pb2, metrics_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.errors import FailedPrecondition
from adsml_common.serving.messages import METRIC
from adsml_common.serving.messages import day as calendar_day
from adsml_report.content import Band, Chart, Line, Look, Moment
from adsml_report.plot import picture
from adsml_report.wording import METRIC_LABELS, signed_percent, unit, words


def label_of(effect: pb.MetricEffect) -> str:
    """The metric as people write it."""
    return METRIC_LABELS[METRIC.from_wire(effect.metric, "metric").value]


def spanned(share: float, ends: metrics_pb2.Interval) -> str:
    """A relative effect with its interval: ``+12% (+3% to +21%)``."""
    return f"{signed_percent(share)} ({signed_percent(ends.lower)} to {signed_percent(ends.upper)})"


def effect_charts(report: pb.ImpactReport, growing: Sequence[pb.ImpactReport] = ()) -> list[Chart]:
    """The primary metric: day by day what was against what would have been, and the effect so far.

    `growing` answers the same question over windows of growing length, each with its own interval; without them the
    effect so far has none.
    """
    effect = report.effects[0]
    metric = METRIC.from_wire(effect.metric, "metric")
    label, of = label_of(effect), unit(metric.value, report.currency_code)
    first = calendar_day(effect.series[0].date, "date")
    actual, expected, lower, upper = (
        _daily(_by_day(effect.series, field), first)
        for field in ("actual", "counterfactual", "interval.lower", "interval.upper")
    )
    change = calendar_day(report.windows.before_last_date, "before_last_date") + timedelta(days=1)
    level = Chart(
        f"{label.capitalize()} day by day",
        of,
        first,
        (Line("actual", actual), Line("without the change", expected, Look.EXPECTED)),
        (Band("95% range without the change", lower, upper),),
        moments=(Moment(change, "change"),),
    )
    so_far = dict(filter(None, map(_so_far, growing)))
    values = {at: value for at, (value, _, _) in so_far.items()} or _by_day(
        effect.series, "cumulative_effect"
    )
    if not values:
        return [level]
    bands: tuple[Band, ...] = ()
    if so_far:
        low, high = (_daily({at: one[end] for at, one in so_far.items()}, min(so_far)) for end in (1, 2))
        bands = (Band("95% range", low, high),)
    title = f"Effect on {label} since the change, {'ratio of the sums' if metric.is_ratio else 'summed'}"
    line = Line("effect so far", _daily(values, min(values)))
    return [level, Chart(title, of.removesuffix(" per day"), min(values), (line,), bands)]


def _so_far(report: pb.ImpactReport) -> tuple[date, tuple[float, float, float]] | None:
    """Effect and ends of its interval over the whole window: summed, where it isn't a ratio."""
    effect, last = report.effects[0], calendar_day(report.windows.after_last_date, "after_last_date")
    if not effect.HasField("absolute"):
        return None
    days = 1 if METRIC.from_wire(effect.metric, "metric").is_ratio else report.detectable_effect.after_days
    ends = effect.absolute_interval
    return last, (days * effect.absolute, days * ends.lower, days * ends.upper)


def draw_svg(report: pb.ImpactReport) -> str:
    """A picture of the primary metric by itself; FailedPrecondition if the report was asked for without series."""
    shown = report.effects[0]
    if not shown.series:
        raise FailedPrecondition(f"there is no series of {label_of(shown)} to draw")
    names = ", ".join(one.entity_id for one in report.treated[:3])
    kind = words(change_pb2.ChangeType.Name(report.change.change_type).removeprefix("CHANGE_TYPE_"))
    level = words(entity_pb2.EntityType.Name(report.treated[0].entity_type).removeprefix("ENTITY_TYPE_"))
    verdict = words(change_pb2.Verdict.Name(shown.verdict).removeprefix("VERDICT_")) if shown.verdict else ""
    return picture(
        effect_charts(report),
        title=f"{label_of(shown).capitalize()}: {kind} of {level} {names}",
        text=f"{spanned(shown.relative, shown.relative_interval)}, p = {shown.p_value:.3f}: {verdict}",
    )


def _by_day(series: Sequence[pb.EffectDay], field: str) -> dict[date, float]:
    """Values by day, without days that the series does not know."""
    name = field.partition(".")[0]
    return {
        calendar_day(one.date, "date"): float(attrgetter(field)(one))
        for one in series
        if one.HasField(name)  # type: ignore[arg-type]
    }


def _daily(values: Mapping[date, float], first: date) -> list[float | None]:
    """One value per calendar day from `first` on, None on days that are left out."""
    last = max(values, default=first)
    return [values.get(first + timedelta(days=step)) for step in range((last - first).days + 1)]
