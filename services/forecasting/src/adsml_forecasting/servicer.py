"""Answers the forecasting contract: converts, calls, converts."""

import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from datetime import date

import pandas as pd
from adsml.common.v1 import entity_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as pb
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.degradation import Degradation, DegradationReason
from adsml_common.domain.entities import EntityRef
from adsml_common.domain.errors import (
    AdsmlError,
    FailedPrecondition,
    InsufficientHistory,
    InvalidInput,
    NotFound,
    Unavailable,
)
from adsml_common.domain.metrics import Metric
from adsml_common.serving import validation
from adsml_common.serving.context import CallContext
from adsml_common.serving.errors import status_of
from adsml_common.serving.messages import (
    ENTITY_TYPE,
    METRIC,
    TIER,
    degradation_message,
    entity_ref,
    series_frame,
)
from adsml_common.store.changes import ChangeStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore

from adsml_forecasting import converters as convert
from adsml_forecasting.converters import COMBINER, METHOD, Options
from adsml_forecasting.models.answering import Answer, Cache, Question, answer
from adsml_forecasting.models.backtest import DEFAULT_METHODS, Plan, Report, backtest
from adsml_forecasting.models.level_shifts import LevelShift
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.prediction import Source
from adsml_forecasting.models.preparation import Prepared, prepare
from adsml_forecasting.models.ratios import RatioSeries
from adsml_forecasting.models.series import DailySeries
from adsml_forecasting.models.transfer import DonorSeries, forecast_new
from adsml_forecasting.peers import Insights, Peers
from adsml_forecasting.resolver import Knowledge, Known
from adsml_forecasting.workers import Workers

_DONORS = 20
_POLL_SECONDS = 0.2
_DIED = "a worker process died; try again"


@dataclass(frozen=True, slots=True)
class _Subject:
    """A subject's rows and what is stored about it."""

    entity: entity_pb2.EntityRef
    ref: EntityRef | None
    frame: pd.DataFrame

    @property
    def label(self) -> str:
        return convert.label(self.entity)


class ForecastingServicer:
    """Forecasts stored entities and inline series.

    Parameters
    ----------
    metrics, entities, changes
        The store.
    knowledge
        Registered models.
    peers
        The other services.
    workers
        The processes for batches and backtests; None: they are worked on here.
    drop_last_days
        Trailing days of stored entities to leave out unless the request says otherwise.
    cached
        Forecasts to keep.
    """

    def __init__(
        self,
        *,
        metrics: MetricStore,
        entities: EntityStore,
        changes: ChangeStore,
        knowledge: Knowledge,
        peers: Peers,
        workers: Workers | None,
        drop_last_days: int = 0,
        cached: int = 5000,
    ) -> None:
        self._metrics = metrics
        self._entities = entities
        self._changes = changes
        self._knowledge = knowledge
        self._peers = peers
        self._workers = workers
        self._drop_last_days = drop_last_days
        self._cache = Cache(cached)

    # -- the contract's methods ------------------------------------------------------------------------------

    def Forecast(self, request: pb.ForecastRequest, context: CallContext) -> pb.ForecastResponse:
        """One method, one series."""
        method = METHOD.from_wire(request.method, "method")
        found = self._forecast(request.subject, request.metric, method, request.options, None, context)
        return pb.ForecastResponse(forecast=found)

    def ForecastEnsemble(
        self, request: pb.ForecastEnsembleRequest, context: CallContext
    ) -> pb.ForecastEnsembleResponse:
        """Several methods, one series."""
        found = self._forecast(
            request.subject, request.metric, Method.ENSEMBLE, request.options, request.ensemble, context
        )
        return pb.ForecastEnsembleResponse(forecast=found)

    def ForecastNewEntity(
        self, request: pb.ForecastNewEntityRequest, context: CallContext
    ) -> pb.ForecastNewEntityResponse:
        """Parent's shape, own level, donors of the same tier."""
        asked = convert.options(request.options)
        metric = METRIC.from_wire(request.metric, "metric")
        subject = self._subject(request.subject, context, "subject", empty=True)
        parent_ref, parent_frame, donors = self._family_of(request, subject, context)
        tier = TIER.find(request.tier)
        messages = [
            request.subject,
            *(_stored(ref) for ref in (d.entity for d in donors)),
        ]
        ask_tiers = tier is None and subject.ref is not None and bool(donors)
        insights = self._peers.ask(
            context, tier_subjects=messages, tiers=asked.use_tiers if ask_tiers else None
        )
        tier = tier or insights.tiers.get(0)
        ends = [frame["date"].max().date() for frame in (subject.frame, parent_frame) if not frame.empty]
        ends += [d.frame["date"].max().date() for d in donors if not d.frame.empty]
        if not ends:
            raise FailedPrecondition("there is neither a parent nor a donor with history")
        drop = self._drop(asked, subject)
        cutoff = asked.cutoff or max(ends) - pd.Timedelta(days=drop)

        def ready(frame: pd.DataFrame, label: str) -> DailySeries | None:
            try:
                found = prepare(frame, metric, label=label, cutoff=cutoff).series
                return found.daily if isinstance(found, RatioSeries) else found
            except InsufficientHistory:
                return None

        usable = [
            DonorSeries(at, series, insights.tiers.get(at + 1))
            for at, series in ((at, ready(d.frame, d.label)) for at, d in enumerate(donors))
            if series is not None
        ]
        known = self._known(parent_ref.config_id, parent_ref, metric) if parent_ref is not None else Known()
        found = forecast_new(
            ready(subject.frame, subject.label),
            parent=ready(parent_frame, "the parent"),
            donors=usable,
            tier=tier,
            wanted=convert.wanted(asked, Method.ENSEMBLE, pb.EnsembleOptions()),
            cutoff=(cutoff - date(1970, 1, 1)).days,
            learned=known.learned,
        )
        forecast = convert.forecast_message(
            found.prediction,
            entity=subject.entity,
            metric=metric,
            level=asked.level,
            prepared=None,
            mode=None,
            model=None,
            prophet_model=None,
            degradations=[*insights.degradations, *known.degradations],
        )
        return pb.ForecastNewEntityResponse(
            forecast=forecast,
            transfer=convert.transfer_message(found, parent=parent_ref, names=[d.entity for d in donors]),
        )

    def BatchForecast(
        self, request: pb.BatchForecastRequest, context: CallContext
    ) -> pb.BatchForecastResponse:
        """Many series; they fail one by one. Peers are not asked: a batch says so once."""
        asked = convert.options(request.options)
        out = pb.BatchForecastResponse()
        outcomes: list[tuple[_Subject, Metric, Known, Prepared, Question] | AdsmlError] = []
        for at, item in enumerate(request.items):
            try:
                outcomes.append(self._question(item, at, asked, request.ensemble, context))
            except (Unavailable, NotImplementedError):
                raise
            except AdsmlError as error:
                outcomes.append(error)
        answers = self._answer_all([one[4] for one in outcomes if not isinstance(one, AdsmlError)], context)
        for item, outcome in zip(request.items, outcomes, strict=True):
            result = out.results.add(entity=convert.subject_entity(item.subject), metric=item.metric)
            if isinstance(outcome, AdsmlError):
                result.error.CopyFrom(status_of(outcome))
                continue
            found = next(answers)
            if isinstance(found, BaseException):
                result.error.CopyFrom(status_of(found))
                continue
            subject, metric, known, prepared, _ = outcome
            result.forecast.CopyFrom(
                self._message(
                    found,
                    subject,
                    metric,
                    asked,
                    prepared,
                    known,
                    Insights(),
                    member_values=request.include_member_values,
                )
            )
        if asked.mask_anomalies:
            out.degradations.append(
                degradation_message(
                    Degradation(
                        "anomaly service",
                        DegradationReason.NOT_CONFIGURED,
                        "batches do not ask the anomaly service: no day was masked",
                    )
                )
            )
        return out

    def Backtest(self, request: pb.BacktestRequest, context: CallContext) -> Iterator[pb.BacktestResponse]:
        """Methods on the past: progress, then the report."""
        metric = METRIC.from_wire(request.metric, "metric")
        plan = _plan(request)
        drop = request.drop_last_days if request.HasField("drop_last_days") else None
        series: list[DailySeries] = []
        skipped: list[tuple[entity_pb2.EntityRef, str]] = []
        for at, message in enumerate(request.subjects):
            subject = self._subject(message, context, f"subjects[{at}]")
            lag = drop if drop is not None else (self._drop_last_days if subject.ref else 0)
            try:
                found = prepare(subject.frame, metric, label=subject.label, drop_last_days=lag).series
            except InsufficientHistory as error:
                skipped.append((subject.entity, error.message))
                continue
            one = found.daily if isinstance(found, RatioSeries) else found
            if plan.rows(len(one)):
                series.append(one)
            else:
                needed = plan.minimum_days + plan.horizon
                skipped.append(
                    (subject.entity, f"{subject.label} has {len(one)} days of history and needs {needed}")
                )
        if not series:
            raise (
                InsufficientHistory("every series", had=0, needed=plan.minimum_days + plan.horizon)
                if not skipped
                else FailedPrecondition(
                    f"no series is long enough: {skipped[0][1]}",
                    metadata={"days_needed": str(plan.minimum_days + plan.horizon)},
                )
            )
        yield from _streamed(
            series, plan, self._workers.get() if self._workers is not None else None, skipped, context
        )

    # -- parts -----------------------------------------------------------------------------------------------

    def _forecast(
        self,
        message: entity_pb2.Subject,
        metric_number: int,
        method: Method,
        options: pb.ForecastOptions,
        ensemble: pb.EnsembleOptions | None,
        context: CallContext,
    ) -> pb.Forecast:
        asked = convert.options(options)
        metric = METRIC.from_wire(metric_number, "metric")
        subject = self._subject(message, context, "subject")
        events = self._events(subject, asked)
        insights = self._peers.ask(
            context,
            subject=message,
            mask=asked.mask_anomalies,
            changes=events,
            entity=subject.ref,
            verdicts=asked.use_change_events,
        )
        shifts = [
            replace(convert.change_shift(event), verdict=insights.verdicts.get(at))
            for at, event in enumerate(events)
        ]
        known = self._known(subject.entity.config_id, subject.ref, metric)
        prepared = self._prepare(subject, metric, asked, insights.anomalous, shifts)
        question = self._ask(
            subject, metric, method, asked, ensemble or pb.EnsembleOptions(), known, prepared
        )
        context.check_cancelled()
        return self._message(self._cache.answer(question), subject, metric, asked, prepared, known, insights)

    def _question(
        self,
        item: pb.BatchForecastItem,
        at: int,
        asked: Options,
        ensemble: pb.EnsembleOptions,
        context: CallContext,
    ) -> tuple[_Subject, Metric, Known, Prepared, Question]:
        if found := validation.violations(item, f"items[{at}]"):
            raise InvalidInput(found)
        metric = METRIC.from_wire(item.metric, f"items[{at}].metric")
        subject = self._subject(item.subject, context, f"items[{at}].subject")
        shifts = [convert.change_shift(event) for event in self._events(subject, asked)]
        known = self._known(subject.entity.config_id, subject.ref, metric)
        prepared = self._prepare(subject, metric, asked, (), shifts)
        method = METHOD.find(item.method) or Method.ENSEMBLE
        return (
            subject,
            metric,
            known,
            prepared,
            self._ask(subject, metric, method, asked, ensemble, known, prepared),
        )

    def _ask(
        self,
        subject: _Subject,
        metric: Metric,
        method: Method,
        asked: Options,
        ensemble: pb.EnsembleOptions,
        known: Known,
        prepared: Prepared,
    ) -> Question:
        ref = subject.ref
        kind, name = (None, None) if ref is None else (ref.entity_type, ref.entity_id)
        parts = self._knowledge.parts(subject.entity.config_id, kind, name, metric)
        versions = [
            str(version) for one in (known, *parts) for version in (one.ensemble, one.prophet) if version
        ]
        return Question(
            series=prepared.series,
            wanted=convert.wanted(asked, method, ensemble),
            mode=asked.mode,
            learned=known.learned,
            numerator=parts[0].learned if parts else known.learned,
            denominator=parts[1].learned if parts else known.learned,
            models=",".join(versions),
        )

    def _answer_all(
        self, questions: Sequence[Question], context: CallContext
    ) -> Iterator[Answer | BaseException]:
        """Answers in order: from the cache, the rest over all cores, here until there are warm processes."""
        keys = [question.key() for question in questions]
        held = [self._cache.get(key) for key in keys]
        rest = [at for at, found in enumerate(held) if found is None]
        futures: dict[int, Future[Answer]] = {}
        for at, question in enumerate(questions):
            found = held[at]
            if found is None:
                try:
                    context.check_cancelled()
                    if self._workers is not None and len(rest) > 1 and not futures:
                        pool = self._workers.ready()
                        futures = (
                            {other: pool.submit(answer, questions[other]) for other in rest} if pool else {}
                        )
                    rest.remove(at)
                    found = futures[at].result() if at in futures else answer(question)
                except BrokenProcessPool:
                    yield Unavailable(_DIED)
                    continue
                except AdsmlError as error:
                    if context.cancelled():
                        for future in futures.values():
                            future.cancel()
                        raise
                    yield error
                    continue
                self._cache.put(keys[at], found)
            yield found

    def _message(
        self,
        found: Answer,
        subject: _Subject,
        metric: Metric,
        asked: Options,
        prepared: Prepared,
        known: Known,
        insights: Insights,
        *,
        member_values: bool = True,
    ) -> pb.Forecast:
        single = found.prediction.method is Method.PROPHET
        members = [
            Degradation(f"member {m.method}", DegradationReason.FAILED, m.failure)
            for m in found.prediction.members
            if m.failure
        ]
        model = known.prophet if single else known.ensemble
        source = found.prediction.source
        return convert.forecast_message(
            found.prediction,
            entity=subject.entity,
            metric=metric,
            level=asked.level,
            prepared=prepared,
            mode=found.mode,
            model=model if source is Source.MODEL else None,
            prophet_model=known.prophet,
            degradations=[*insights.degradations, *known.degradations, *members],
            anomalous=insights.anomalous,
            member_values=member_values,
        )

    def _known(self, config_id: int, ref: EntityRef | None, metric: Metric) -> Known:
        kind = ref.entity_type if ref is not None else None
        return self._knowledge.of(config_id, kind, ref.entity_id if ref is not None else None, metric)

    def _drop(self, asked: Options, subject: _Subject) -> int:
        if asked.drop_last_days is not None:
            return asked.drop_last_days
        return self._drop_last_days if subject.ref is not None else 0

    def _prepare(
        self,
        subject: _Subject,
        metric: Metric,
        asked: Options,
        masked: Sequence[date],
        shifts: Sequence[LevelShift],
    ) -> Prepared:
        return prepare(
            subject.frame,
            metric,
            label=subject.label,
            cutoff=asked.cutoff,
            drop_last_days=self._drop(asked, subject),
            masked=masked,
            shifts=[*asked.changes, *shifts],
            budgets=asked.budgets,
            horizon=asked.horizon,
        )

    def _subject(
        self, message: entity_pb2.Subject, context: CallContext, path: str, *, empty: bool = False
    ) -> _Subject:
        named = convert.subject_entity(message)
        if message.WhichOneof("source") == "inline":
            if named.config_id:
                context.check_config(named.config_id)
            return _Subject(named, None, series_frame(message.inline, f"{path}.inline"))
        ref = entity_ref(message.entity, f"{path}.entity")
        context.check_config(ref.config_id)
        frame = self._metrics.daily(ref.config_id, entity_type=ref.entity_type, entity_ids=[ref.entity_id])
        if frame.empty:
            self._entities.get(ref)
            if not empty:
                raise InsufficientHistory(convert.label(named), had=0, needed=1)
        return _Subject(named, ref, frame)

    def _events(self, subject: _Subject, asked: Options) -> list[ChangeEvent]:
        if subject.ref is None or not asked.use_change_events:
            return []
        return self._changes.list(subject.ref.config_id, entity=subject.ref)

    def _family_of(
        self, request: pb.ForecastNewEntityRequest, subject: _Subject, context: CallContext
    ) -> tuple[EntityRef | None, pd.DataFrame, list[_Subject]]:
        """The parent's and the donors' rows: sent along, or stored."""
        nothing = subject.frame.iloc[:0]
        parent_ref: EntityRef | None = None
        parent_frame = nothing
        siblings: list[EntityRef] = []
        if subject.ref is not None:
            try:
                entity = self._entities.get(subject.ref)
            except NotFound:
                entity = None
            kind = subject.ref.entity_type.parent_type
            if entity is not None and entity.parent_id is not None and kind is not None:
                parent_ref = EntityRef(subject.ref.config_id, kind, entity.parent_id)
            siblings = [
                one.ref
                for one in self._entities.list(
                    subject.ref.config_id,
                    entity_type=subject.ref.entity_type,
                    parent_id=None if entity is None else entity.parent_id,
                )
                if one.ref != subject.ref
            ]
        if request.HasField("parent"):
            parent_ref = None
            parent_frame = series_frame(request.parent, "parent")
        elif parent_ref is not None:
            parent_frame = self._metrics.daily(
                parent_ref.config_id, entity_type=parent_ref.entity_type, entity_ids=[parent_ref.entity_id]
            )
        if request.donors:
            return (
                parent_ref,
                parent_frame,
                [
                    self._subject(one, context, f"donors[{at}]", empty=True)
                    for at, one in enumerate(request.donors)
                ],
            )
        if not siblings:
            return parent_ref, parent_frame, []
        first = siblings[0]
        rows = self._metrics.daily(
            first.config_id, entity_type=first.entity_type, entity_ids=[one.entity_id for one in siblings]
        )
        sizes = rows.groupby("entity_id").size().sort_values(ascending=False)
        donors = [
            _Subject(
                entity_pb2.EntityRef(
                    config_id=first.config_id,
                    entity_type=ENTITY_TYPE.to_wire(first.entity_type),  # type: ignore[arg-type]
                    entity_id=str(name),
                ),
                EntityRef(first.config_id, first.entity_type, str(name)),
                rows[rows["entity_id"] == name],
            )
            for name in sizes.index[:_DONORS]
        ]
        return parent_ref, parent_frame, donors


def _stored(ref: entity_pb2.EntityRef) -> entity_pb2.Subject:
    return entity_pb2.Subject(entity=ref)


def _plan(request: pb.BacktestRequest) -> Plan:
    methods = tuple(METHOD.from_wire(one, f"methods[{at}]") for at, one in enumerate(request.methods))
    return Plan(
        methods=methods or DEFAULT_METHODS,
        horizon=request.horizon_days if request.HasField("horizon_days") else 7,
        cutoffs=request.cutoffs if request.HasField("cutoffs") else 4,
        step=int(request.step_days) if request.HasField("step_days") else None,
        minimum_days=request.min_history_days if request.HasField("min_history_days") else 30,
        level=request.interval_level if request.HasField("interval_level") else 0.9,
        members=tuple(
            METHOD.from_wire(one, f"ensemble.members[{at}]")
            for at, one in enumerate(request.ensemble.members)
        ),
        combiner=COMBINER.find(request.ensemble.combiner),
        bootstrap_samples=request.bootstrap_samples if request.HasField("bootstrap_samples") else 1000,
        seed=request.seed if request.HasField("seed") else 0,
    )


def _streamed(
    series: Sequence[DailySeries],
    plan: Plan,
    pool: ProcessPoolExecutor | None,
    skipped: Sequence[tuple[entity_pb2.EntityRef, str]],
    context: CallContext,
) -> Iterator[pb.BacktestResponse]:
    """Progress while a thread works, then the report."""
    said: queue.Queue[tuple[int, int] | Report | BaseException] = queue.Queue()

    def tell(done: int, total: int) -> None:
        context.check_cancelled()
        said.put((done, total))

    def work() -> None:
        try:
            said.put(backtest(series, plan, pool=pool, progress=tell))
        except BrokenProcessPool:
            said.put(Unavailable(_DIED))
        except BaseException as error:
            said.put(error)

    thread = threading.Thread(target=work, name="backtest", daemon=True)
    thread.start()
    while True:
        try:
            one = said.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            context.check_cancelled()
            continue
        if isinstance(one, BaseException):
            raise one
        if isinstance(one, Report):
            yield pb.BacktestResponse(report=convert.report_message(one, skipped=skipped))
            return
        done, total = one
        yield pb.BacktestResponse(
            progress=pb.BacktestProgress(done=done, total=total, message=f"{done} of {total} fits done")
        )
