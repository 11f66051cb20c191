"""A daily metric of an entity for the coming days."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adsml.common.v1 import change_pb2, tier_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as pb
from adsml.forecasting.v1 import forecasting_service_pb2_grpc as pb_grpc

from adsml_client import wire
from adsml_client.connection import Connection, Metadata
from adsml_client.errors import CallError, error_of_status
from adsml_client.values import (
    AnsweredBy,
    Batch,
    Change,
    Degradation,
    EntityRef,
    Interval,
    ModelRef,
    Series,
    Subject,
)

if TYPE_CHECKING:
    import pandas as pd

_BATCH_SECONDS = 120.0
_BACKTEST_SECONDS = 1_800.0


@dataclass(frozen=True, slots=True)
class Options:
    """What may be asked of a forecast beside the series; None is the service's default.

    Attributes
    ----------
    horizon_days
        1 to 90.
    cutoff
        Last day of history to use.
    interval_level
        Nominal probability of the intervals, 0.5 to 0.99.
    drop_last_days
        Trailing days to leave out because they are still filling up.
    planned_budgets
        Day to budget, in the account's currency.
    changes
        Known level shifts inside the history.
    mask_anomalies, use_change_events, use_tiers
        Whether to ask the other services.
    cpl_mode
        ``"ratio_of_parts"`` or ``"direct"``.
    """

    horizon_days: int | None = None
    cutoff: dt.date | None = None
    interval_level: float | None = None
    drop_last_days: int | None = None
    planned_budgets: dict[dt.date, float] | None = None
    changes: Sequence[Change] = ()
    mask_anomalies: bool | None = None
    use_change_events: bool | None = None
    use_tiers: bool | None = None
    cpl_mode: str | None = None


@dataclass(frozen=True, slots=True)
class Day:
    """One day's forecast; `value` is None where a ratio has no denominator."""

    date: dt.date
    value: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Member:
    """One member's part in an ensemble; `failure` says why it was left out."""

    method: str
    weight: float
    values: list[float]
    failure: str
    model: ModelRef | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The predicted course of one metric.

    Attributes
    ----------
    entity, metric, method, cutoff
        What was forecast, how, and from which last day.
    days
        One entry per day of the horizon.
    total, total_interval
        The whole horizon: the sum, or for ratios the ratio of sums.
    members, combiner
        The ensemble's parts.
    measured_coverage
        Share of held-out days inside the intervals; None where it was not measured.
    masked
        Days of history left out, and why.
    level_shifts
        First days of new levels, and the kind of change.
    answered_by, degradations, warnings
        What answered, what it had to do without, what a reader should know.
    """

    entity: EntityRef
    metric: str
    method: str
    cutoff: dt.date
    days: list[Day]
    total: float | None
    total_interval: Interval | None
    members: list[Member]
    combiner: str
    measured_coverage: float | None
    masked: dict[dt.date, str]
    level_shifts: dict[dt.date, str]
    answered_by: AnsweredBy
    degradations: list[Degradation]
    warnings: list[str]

    def frame(self) -> "pd.DataFrame":
        """Columns date, value, lower, upper; needs pandas (``adsml-client[frames]``)."""
        import pandas as pd  # noqa: PLC0415 - an extra

        rows = [
            (
                one.date,
                one.value,
                *((one.interval.lower, one.interval.upper) if one.interval else (None, None)),
            )
            for one in self.days
        ]
        return pd.DataFrame(rows, columns=["date", "value", "lower", "upper"])


@dataclass(frozen=True, slots=True)
class Scores:
    """How good a method would have been; None where a score can't be computed."""

    method: str
    wmape: float | None
    smape: float | None
    mase: float | None
    coverage: float | None
    failures: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a backtest is."""

    done: int
    total: int
    message: str


@dataclass(frozen=True, slots=True)
class BacktestReport:
    """Scores of every method, the series they rest on, and those left out with the reason."""

    methods: list[Scores]
    series: int
    skipped: list[tuple[EntityRef, str]]
    degradations: list[Degradation]


class ForecastingClient:
    """Calls a forecasting service.

    Parameters
    ----------
    connection
        To it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = pb_grpc.ForecastingServiceStub(connection.channel)

    def forecast(
        self,
        subject: Subject,
        metric: str,
        *,
        method: str = "ensemble",
        options: Options | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Forecast:
        """A forecast by one named method, such as ``"prophet"`` or ``"auto_ets"``.

        Raises
        ------
        CallError
            One of its family.
        """
        request = pb.ForecastRequest(
            subject=wire.subject_message(subject),
            metric=wire.metric_number(metric),
            method=_method_number(method),
            options=_options(options),
        )
        answer = self._connection.call(self._stub.Forecast, request, timeout=timeout, metadata=metadata)
        return forecast(answer.forecast)

    def forecast_ensemble(
        self,
        subject: Subject,
        metric: str,
        *,
        members: Sequence[str] = (),
        combiner: str | None = None,
        options: Options | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Forecast:
        """A forecast by several methods combined.

        Parameters
        ----------
        subject, metric
            What to forecast.
        members
            Methods; empty: those with registered weights, else the service's default.
        combiner
            ``"inverse_mape"``, ``"median"``, ``"stacked"`` or ``"mean"``.
        options, timeout, metadata
            As of `forecast`.

        Raises
        ------
        CallError
            One of its family.
        """
        request = pb.ForecastEnsembleRequest(
            subject=wire.subject_message(subject),
            metric=wire.metric_number(metric),
            options=_options(options),
            ensemble=pb.EnsembleOptions(
                combiner=wire.number(pb.Combiner, "COMBINER_", combiner),
                members=[_method_number(one) for one in members],
            ),
        )
        answer = self._connection.call(
            self._stub.ForecastEnsemble, request, timeout=timeout, metadata=metadata
        )
        return forecast(answer.forecast)

    def forecast_new_entity(
        self,
        subject: Subject,
        metric: str,
        *,
        parent: Series | None = None,
        donors: Sequence[Subject] = (),
        tier: str | None = None,
        options: Options | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Forecast:
        """A forecast of an entity with little history, carried over from parent and siblings.

        Raises
        ------
        CallError
            One of its family.
        """
        request = pb.ForecastNewEntityRequest(
            subject=wire.subject_message(subject),
            metric=wire.metric_number(metric),
            options=_options(options),
            parent=None if parent is None else wire.series_message(parent),
            donors=[wire.subject_message(one) for one in donors],
            tier=wire.number(tier_pb2.Tier, "TIER_", tier),
        )
        answer = self._connection.call(
            self._stub.ForecastNewEntity, request, timeout=timeout, metadata=metadata
        )
        return forecast(answer.forecast)

    def batch_forecast(
        self,
        items: Sequence[tuple[Subject, str]],
        *,
        method: str = "ensemble",
        options: Options | None = None,
        include_member_values: bool = False,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Batch[Forecast]:
        """Forecasts of many series, each a subject and a metric; each fails alone.

        Raises
        ------
        CallError
            The batch as a whole failed.
        """

        def send(part: Sequence[tuple[Subject, str]]) -> Batch[Forecast]:
            request = pb.BatchForecastRequest(
                items=[
                    pb.BatchForecastItem(
                        subject=wire.subject_message(subject),
                        metric=wire.metric_number(metric),
                        method=_method_number(method),
                    )
                    for subject, metric in part
                ],
                options=_options(options),
                include_member_values=include_member_values,
            )
            answer = self._connection.call(
                self._stub.BatchForecast, request, timeout=timeout or _BATCH_SECONDS, metadata=metadata
            )
            return Batch([_result(one) for one in answer.results], wire.degradations(answer.degradations))

        return wire.in_chunks(items, send)

    def backtest(
        self,
        subjects: Sequence[Subject],
        metric: str,
        *,
        methods: Sequence[str] = (),
        horizon_days: int | None = None,
        cutoffs: int | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Iterator[Progress | BacktestReport]:
        """Forecast the past and compare: progress as it goes, then the report.

        Raises
        ------
        CallError
            One of its family, while it is read.
        """
        request = pb.BacktestRequest(
            subjects=[wire.subject_message(one) for one in subjects],
            metric=wire.metric_number(metric),
            methods=[_method_number(one) for one in methods],
            horizon_days=horizon_days,
            cutoffs=cutoffs,
        )
        for one in self._connection.stream(
            self._stub.Backtest, request, timeout=timeout or _BACKTEST_SECONDS, metadata=metadata
        ):
            if one.HasField("progress"):
                yield Progress(one.progress.done, one.progress.total, one.progress.message)
            elif one.HasField("report"):
                yield _report(one.report)


def forecast(message: pb.Forecast) -> Forecast:
    """A forecast as it came."""
    return Forecast(
        entity=wire.entity(message.entity),
        metric=wire.metric(message.metric),
        method=_method(message.method),
        cutoff=wire.day(message.cutoff),
        days=[
            Day(wire.day(one.date), wire.optional(one, "value"), wire.interval(one, "interval"))
            for one in message.days
        ],
        total=wire.optional(message.total, "value"),
        total_interval=wire.interval(message.total, "interval"),
        members=[
            Member(
                _method(one.method),
                one.weight,
                list(one.values),
                one.failure,
                wire.model_ref(one.model) if one.HasField("model") else None,
            )
            for one in message.members
        ],
        combiner=wire.word(pb.Combiner, "COMBINER_", message.combiner),
        measured_coverage=wire.optional(message.calibration, "measured_coverage"),
        masked={
            wire.day(one.date): wire.word(pb.MaskReason, "MASK_REASON_", one.reason)
            for one in message.masked_days
        },
        level_shifts={
            wire.day(one.date): wire.word(change_pb2.ChangeType, "CHANGE_TYPE_", one.change_type)
            for one in message.level_shifts
        },
        answered_by=wire.answered_by(message.answered_by),
        degradations=wire.degradations(message.degradations),
        warnings=list(message.warnings),
    )


def _result(message: pb.BatchForecastResult) -> Forecast | CallError:
    if message.WhichOneof("result") == "error":
        return error_of_status(message.error)
    return forecast(message.forecast)


def _report(message: pb.BacktestReport) -> BacktestReport:
    return BacktestReport(
        methods=[
            Scores(
                method=_method(one.method),
                wmape=wire.optional(one.wmape, "value"),
                smape=wire.optional(one.smape, "value"),
                mase=wire.optional(one.mase, "value"),
                coverage=wire.optional(one.coverage, "value"),
                failures=one.failures,
                seconds=one.seconds,
            )
            for one in message.methods
        ],
        series=message.series,
        skipped=[(wire.entity(one.entity), one.reason) for one in message.skipped],
        degradations=wire.degradations(message.degradations),
    )


def _options(options: Options | None) -> pb.ForecastOptions | None:
    if options is None:
        return None
    return pb.ForecastOptions(
        horizon_days=options.horizon_days,
        cutoff=None if options.cutoff is None else wire.day_message(options.cutoff),
        interval_level=options.interval_level,
        drop_last_days=options.drop_last_days,
        planned_budgets=[
            pb.PlannedBudget(date=wire.day_message(day), budget=budget)
            for day, budget in (options.planned_budgets or {}).items()
        ],
        changes=[wire.change_message(one) for one in options.changes],
        peers=pb.PeerOptions(
            mask_anomalies=options.mask_anomalies,
            use_change_events=options.use_change_events,
            use_tiers=options.use_tiers,
        ),
        cpl_mode=wire.number(pb.CplMode, "CPL_MODE_", options.cpl_mode),
    )


def _method(value: int) -> str:
    return wire.word(pb.ForecastMethod, "FORECAST_METHOD_", value)


def _method_number(method: str) -> Any:
    return wire.number(pb.ForecastMethod, "FORECAST_METHOD_", method)
