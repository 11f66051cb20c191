"""Charts of one metric's effect: actual against counterfactual with its band, and the effect so far."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Literal

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

    Parameters
    ----------
    growing
        The same question over windows of growing length, each with its own interval; without them the effect so far
        has none.
    """
    effect = report.effects[0]
    metric = METRIC.from_wire(effect.metric, "metric")
    label, of = label_of(effect), unit(metric.value, report.currency_code)
    expected = _by_day(effect.series, "counterfactual")
    ends = [one.interval if one.HasField("interval") else None for one in effect.series]
    lower, upper = (
        _daily(dict(zip(map(_date, effect.series), (one and getattr(one, end) for one in ends), strict=True)))
        for end in ("lower", "upper")
    )
    actual = _by_day(effect.series, "actual")
    change = calendar_day(report.windows.before_last_date, "before_last_date") + timedelta(days=1)
    level = Chart(
        f"{label.capitalize()} day by day",
        of,
        _date(effect.series[0]),
        (Line("actual", actual), Line("without the change", expected, Look.EXPECTED)),
        (Band("95% range without the change", lower, upper),),
        moments=(Moment(change, "change"),),
    )
    since = [one for one in effect.series if one.HasField("cumulative_effect")]
    bands: tuple[Band, ...] = ()
    if growing:
        told = {calendar_day(one.windows.after_last_date, "after_last_date"): _so_far(one) for one in growing}
        first = min(told)
        values, lows, highs = (_daily({day: each[at] for day, each in told.items()}) for at in range(3))
        bands = (Band("95% range", lows, highs),)
    elif since:
        first = _date(since[0])
        values = _by_day(since, "cumulative_effect")
    else:
        return [level]
    so_far = "ratio of the sums" if metric.is_ratio else "summed"
    return [
        level,
        Chart(
            f"Effect on {label} since the change, {so_far}",
            of.removesuffix(" per day"),
            first,
            (Line("effect so far", values),),
            bands,
        ),
    ]


def _so_far(report: pb.ImpactReport) -> tuple[float | None, float | None, float | None]:
    """Effect and ends of its interval over the whole window: summed, where it isn't a ratio."""
    effect, windows = report.effects[0], report.windows
    if not effect.HasField("absolute"):
        return None, None, None
    first = calendar_day(windows.after_first_date, "after_first_date")
    days = (calendar_day(windows.after_last_date, "after_last_date") - first).days + 1
    scale = 1 if METRIC.from_wire(effect.metric, "metric").is_ratio else days
    ends = effect.absolute_interval
    return scale * effect.absolute, scale * ends.lower, scale * ends.upper


def draw_svg(report: pb.ImpactReport) -> str:
    """A picture of the primary metric that stands by itself.

    Raises
    ------
    FailedPrecondition
        If the report has no series for it: it was asked for without.
    """
    shown = report.effects[0]
    if not shown.series:
        raise FailedPrecondition(f"there is no series of {label_of(shown)} to draw")
    names = ", ".join(one.entity_id for one in report.treated[:3])
    kind = words(change_pb2.ChangeType.Name(report.change.change_type).removeprefix("CHANGE_TYPE_"))
    level = words(entity_pb2.EntityType.Name(report.treated[0].entity_type).removeprefix("ENTITY_TYPE_"))
    verdict = words(change_pb2.Verdict.Name(shown.verdict).removeprefix("VERDICT_")) if shown.verdict else ""
    figures = f"{spanned(shown.relative, shown.relative_interval)}, p = {shown.p_value:.3f}: {verdict}"
    return picture(
        effect_charts(report),
        title=f"{label_of(shown).capitalize()}: {kind} of {level} {names}",
        text=figures,
    )


def _date(one: pb.EffectDay) -> date:
    return calendar_day(one.date, "date")


def _by_day(
    series: Sequence[pb.EffectDay], name: Literal["actual", "counterfactual", "cumulative_effect"]
) -> list[float | None]:
    return _daily({_date(one): getattr(one, name) if one.HasField(name) else None for one in series})


def _daily(values: Mapping[date, float | None]) -> list[float | None]:
    """One value per calendar day, None on days that are left out."""
    first, last = min(values), max(values)
    return [values.get(first + timedelta(days=step)) for step in range((last - first).days + 1)]
