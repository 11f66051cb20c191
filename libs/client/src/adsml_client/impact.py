"""What a change did, compared with what would have happened without it."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adsml.common.v1 import change_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml.impact.v1 import impact_service_pb2_grpc as pb_grpc

from adsml_client import wire
from adsml_client.connection import Connection, Metadata
from adsml_client.errors import CallError, error_of_status
from adsml_client.values import AnsweredBy, Batch, Change, DailyRow, Degradation, EntityRef, Interval, Series

if TYPE_CHECKING:
    import pandas as pd

_SECONDS = 60.0
_BATCH_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Panel:
    """The changed entities and those they may be compared with, all stored or all sent along.

    Attributes
    ----------
    treated
        The entities that were changed together.
    controls
        To compare with; empty: chosen by the service (stored), or none (sent along).
    excluded_controls
        Stored entities never to be chosen.
    account_rows
        The whole account's days, beside series that are sent along.
    """

    treated: Sequence[EntityRef] | Sequence[Series]
    controls: Sequence[EntityRef] | Sequence[Series] = ()
    excluded_controls: Sequence[EntityRef] = ()
    account_rows: Sequence[DailyRow] = ()


@dataclass(frozen=True, slots=True)
class Options:
    """What may be asked of an analysis; None is the service's default. See the contract's ImpactOptions."""

    before_days: int | None = None
    after_days: int | None = None
    washout_days: int | None = None
    baseline_days: int | None = None
    metrics: Sequence[str] = ()
    primary_metric: str | None = None
    estimator: str | None = None
    alpha: float | None = None
    equivalence_margin_percent: float | None = None
    max_placebos: int | None = None
    drop_last_days: int | None = None
    seed: int | None = None
    omit_series: bool = False


@dataclass(frozen=True, slots=True)
class EffectDay:
    """Actual against counterfactual on one day; None where a ratio has no denominator."""

    date: dt.date
    actual: float | None
    counterfactual: float | None
    interval: Interval | None
    cumulative_effect: float | None


@dataclass(frozen=True, slots=True)
class Effect:
    """What the change did to one metric; None where it can't be said (`missing_reason` says why)."""

    metric: str
    scope: str
    before: float | None
    after: float | None
    counterfactual: float | None
    absolute: float | None
    absolute_interval: Interval | None
    percent: float | None
    percent_interval: Interval | None
    p_value: float | None
    adjusted_p_value: float | None
    effect_size: float | None
    verdict: str
    series: list[EffectDay]
    missing_reason: str

    def frame(self) -> "pd.DataFrame":
        """The daily series; needs pandas (``adsml-client[frames]``)."""
        import pandas as pd  # noqa: PLC0415 - an extra

        rows = [
            (
                one.date,
                one.actual,
                one.counterfactual,
                one.interval.lower if one.interval else None,
                one.interval.upper if one.interval else None,
                one.cumulative_effect,
            )
            for one in self.series
        ]
        columns = ["date", "actual", "counterfactual", "lower", "upper", "cumulative_effect"]
        return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True, slots=True)
class Detectable:
    """The smallest effect that a window would show; None where even doubling would not."""

    metric: str
    scope: str
    absolute: float | None
    percent: float | None
    power: float
    alpha: float
    after_days: int
    days_needed: int | None


@dataclass(frozen=True, slots=True)
class Report:
    """What a change did.

    Attributes
    ----------
    verdict, recommendation
        ``"positive"``, ``"negative"``, ``"neutral"`` or ``"inconclusive"``, and what to do.
    primary_metric, effects
        What the verdict rests on, and every metric, the primary one first.
    controls
        Weights of the entities compared with.
    false_positive_rate
        How often this setting says "significant" where nothing happened; None where not measured.
    detectable_effect
        What this window could have shown.
    warnings
        Kind and words.
    answered_by, degradations
        What answered, and what it had to do without.
    """

    treated: list[EntityRef]
    verdict: str
    recommendation: str
    primary_metric: str
    effects: list[Effect]
    controls: list[tuple[EntityRef, float]]
    false_positive_rate: float | None
    detectable_effect: Detectable | None
    warnings: list[tuple[str, str]]
    answered_by: AnsweredBy
    degradations: list[Degradation]


class ImpactClient:
    """Calls an impact service.

    Parameters
    ----------
    connection
        To it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = pb_grpc.ImpactServiceStub(connection.channel)

    def analyze_impact(
        self,
        panel: Panel,
        change: Change,
        *,
        options: Options | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Report:
        """Measure one change.

        Raises
        ------
        CallError
            One of its family.
        """
        request = pb.AnalyzeImpactRequest(
            panel=_panel(panel), change=wire.change_message(change), options=_options(options)
        )
        answer = self._connection.call(
            self._stub.AnalyzeImpact, request, timeout=timeout or _SECONDS, metadata=metadata
        )
        return report(answer.report)

    def batch_analyze_impact(
        self,
        items: Sequence[tuple[Panel, Change]],
        *,
        options: Options | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Batch[Report]:
        """Measure many changes; each fails alone.

        Raises
        ------
        CallError
            The batch as a whole failed.
        """

        def send(part: Sequence[tuple[Panel, Change]]) -> Batch[Report]:
            request = pb.BatchAnalyzeImpactRequest(
                items=[
                    pb.AnalyzeImpactItem(panel=_panel(panel), change=wire.change_message(change))
                    for panel, change in part
                ],
                options=_options(options),
            )
            answer = self._connection.call(
                self._stub.BatchAnalyzeImpact, request, timeout=timeout or _BATCH_SECONDS, metadata=metadata
            )
            return Batch([_result(one) for one in answer.results], wire.degradations(answer.degradations))

        return wire.in_chunks(items, send)

    def estimate_detectable_effect(
        self,
        panel: Panel,
        change: Change,
        *,
        options: Options | None = None,
        power: float | None = None,
        target_percent: float | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> list[Detectable]:
        """How large an effect must be for this window to show it, per metric.

        Raises
        ------
        CallError
            One of its family.
        """
        request = pb.EstimateDetectableEffectRequest(
            panel=_panel(panel),
            change=wire.change_message(change),
            options=_options(options),
            power=power,
            target_percent=target_percent,
        )
        answer = self._connection.call(
            self._stub.EstimateDetectableEffect, request, timeout=timeout or _SECONDS, metadata=metadata
        )
        return [_detectable(one) for one in answer.effects]


def report(message: pb.ImpactReport) -> Report:
    """A report as it came."""
    return Report(
        treated=[wire.entity(one) for one in message.treated],
        verdict=_verdict(message.verdict),
        recommendation=message.recommendation,
        primary_metric=wire.metric(message.primary_metric),
        effects=[_effect(one) for one in message.effects],
        controls=[(wire.entity(one.entity), one.weight) for one in message.controls],
        false_positive_rate=wire.optional(message.false_positive_rate, "rate"),
        detectable_effect=(
            _detectable(message.detectable_effect) if message.HasField("detectable_effect") else None
        ),
        warnings=[
            (wire.word(pb.WarningType, "WARNING_TYPE_", one.type), one.message) for one in message.warnings
        ],
        answered_by=wire.answered_by(message.answered_by),
        degradations=wire.degradations(message.degradations),
    )


def _effect(message: pb.MetricEffect) -> Effect:
    def known(name: str) -> Any:
        return wire.optional(message, name)

    return Effect(
        metric=wire.metric(message.metric),
        scope=_scope(message.scope),
        before=known("before"),
        after=known("after"),
        counterfactual=known("counterfactual"),
        absolute=known("absolute"),
        absolute_interval=wire.interval(message, "absolute_interval"),
        percent=known("percent"),
        percent_interval=wire.interval(message, "percent_interval"),
        p_value=known("p_value"),
        adjusted_p_value=known("adjusted_p_value"),
        effect_size=known("effect_size"),
        verdict=_verdict(message.verdict),
        series=[
            EffectDay(
                wire.day(one.date),
                wire.optional(one, "actual"),
                wire.optional(one, "counterfactual"),
                wire.interval(one, "interval"),
                wire.optional(one, "cumulative_effect"),
            )
            for one in message.series
        ],
        missing_reason=message.missing_reason,
    )


def _detectable(message: pb.DetectableEffect) -> Detectable:
    return Detectable(
        wire.metric(message.metric),
        _scope(message.scope),
        wire.optional(message, "absolute"),
        wire.optional(message, "percent"),
        message.power,
        message.alpha,
        message.after_days,
        wire.optional(message, "days_needed"),
    )


def _result(message: pb.BatchAnalyzeImpactResult) -> Report | CallError:
    if message.WhichOneof("result") == "error":
        return error_of_status(message.error)
    return report(message.report)


def _panel(panel: Panel) -> pb.Panel:
    treated, controls = list(panel.treated), list(panel.controls)
    stored = [one for one in (*treated, *controls) if isinstance(one, EntityRef)]
    if len(stored) == len(treated) + len(controls):
        return pb.Panel(
            stored=pb.StoredPanel(
                treated=[wire.entity_message(one) for one in treated if isinstance(one, EntityRef)],
                controls=[wire.entity_message(one) for one in controls if isinstance(one, EntityRef)],
                excluded_controls=[wire.entity_message(one) for one in panel.excluded_controls],
            )
        )
    if stored:
        raise ValueError("a panel's entities are all stored or all sent along")
    return pb.Panel(
        inline=pb.InlinePanel(
            treated=[wire.series_message(one) for one in treated if isinstance(one, Series)],
            controls=[wire.series_message(one) for one in controls if isinstance(one, Series)],
            account_rows=[wire.row_message(one) for one in panel.account_rows],
        )
    )


def _options(options: Options | None) -> pb.ImpactOptions | None:
    if options is None:
        return None
    return pb.ImpactOptions(
        before_days=options.before_days,
        after_days=options.after_days,
        washout_days=options.washout_days,
        baseline_days=options.baseline_days,
        metrics=[wire.metric_number(one) for one in options.metrics],
        primary_metric=wire.metric_number(options.primary_metric),
        estimator=wire.number(pb.Estimator, "ESTIMATOR_", options.estimator),
        alpha=options.alpha,
        equivalence_margin_percent=options.equivalence_margin_percent,
        max_placebos=options.max_placebos,
        drop_last_days=options.drop_last_days,
        seed=options.seed,
        omit_series=options.omit_series,
    )


def _verdict(value: int) -> str:
    return wire.word(change_pb2.Verdict, "VERDICT_", value)


def _scope(value: int) -> str:
    return wire.word(pb.EffectScope, "EFFECT_SCOPE_", value)
