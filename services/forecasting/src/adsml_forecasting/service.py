"""Forecasting's use cases, one method per RPC: a request message in, a response message out, or a domain error."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

import pandas as pd
from adsml.common.v1 import entity_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as pb
from adsml_common.domain.degradation import Degradation
from adsml_common.domain.entities import EntityRef
from adsml_common.domain.errors import (
    AdsmlError,
    FailedPrecondition,
    InsufficientHistory,
    InvalidInput,
    NotFound,
    Unavailable,
)
from adsml_common.domain.metrics import RATIOS, Metric
from adsml_common.domain.tiers import Tier
from adsml_common.serving import validation
from adsml_common.serving.context import CallContext
from adsml_common.serving.errors import status_of
from adsml_common.serving.messages import ENTITY_TYPE, METRIC, TIER, entity_ref, series_frame
from adsml_common.store.accounts import AccountStore
from adsml_common.store.changes import ChangeStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore

from adsml_forecasting import decoding, encoding
from adsml_forecasting.accounts import AccountProfiles, Calendars
from adsml_forecasting.batching import BatchRunner
from adsml_forecasting.decoding import METHOD, Options, day_number
from adsml_forecasting.models.answering import Answer, ForecastTask, parts_of
from adsml_forecasting.models.caution import Caution, CautionKind
from adsml_forecasting.models.history import EntityHistory
from adsml_forecasting.models.level_shifts import Change
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.preparation import Surroundings, prepare
from adsml_forecasting.models.prophet.settings import Backend
from adsml_forecasting.models.prophet.stan import require_prophet
from adsml_forecasting.models.series import DailySeries
from adsml_forecasting.models.transfer import DonorSeries, TransferTask, forecast_new
from adsml_forecasting.peers import Insights, PeerQuestion, Peers
from adsml_forecasting.resolver import NO_MODELS, ResolvedModels, SeriesModels
from adsml_forecasting.streaming import stream_backtest
from adsml_forecasting.workers import Workers

_DONORS = 20


@dataclass(frozen=True, slots=True, eq=False)
class _Subject:
    """A subject's rows and what is stored about it.

    Attributes
    ----------
    ref
        The stored entity that it is or names; None for an inline series that names none.
    stored
        Whether its rows come from the store.
    """

    message: entity_pb2.Subject
    entity: entity_pb2.EntityRef
    ref: EntityRef | None
    frame: pd.DataFrame
    stored: bool
    account_last: int | None

    @property
    def label(self) -> str:
        return decoding.label(self.entity)

    @property
    def config_id(self) -> int:
        return self.entity.config_id

    @property
    def last_row(self) -> int:
        return day_number(self.frame["date"].max().date())

    @property
    def clock(self) -> int:
        """The account's last loaded day; of an account that is not known, the last row's."""
        return self.last_row if self.account_last is None else max(self.account_last, self.last_row)


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """One series of a request, before the peers were asked."""

    subject: _Subject
    metric: Metric
    method: Method
    history: EntityHistory
    as_of: int
    changes: tuple[Change, ...]
    incomplete: tuple[int, ...]

    def to_peers(self) -> PeerQuestion:
        return PeerQuestion(
            self.subject.message, self.history.first_day, self.as_of, self.subject.ref, self.changes
        )


class ForecastingService:
    """Forecasts stored entities and inline series.

    Parameters
    ----------
    metrics, entities, changes
        The store.
    models
        Registered models.
    peers
        The other services.
    workers
        The processes for batches and backtests; None: they are worked on here.
    calendars
        Holidays and named days by account.
    currencies
        What accounts' money is in; None: not known.
    attribution_lag_days
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
        models: SeriesModels,
        peers: Peers,
        workers: Workers | None = None,
        calendars: Calendars | None = None,
        currencies: AccountStore | None = None,
        attribution_lag_days: int = 0,
        cached: int = 5000,
    ) -> None:
        self._metrics = metrics
        self._entities = entities
        self._changes = changes
        self._models = models
        self._peers = peers
        self._workers = workers
        self._calendars = calendars or Calendars()
        self._accounts = AccountProfiles(metrics)
        self._currencies = currencies
        self._lag = attribution_lag_days
        self._runner = BatchRunner(workers, cached=cached)

    # -- the contract's methods ------------------------------------------------------------------------------

    def Forecast(self, request: pb.ForecastRequest, context: CallContext) -> pb.ForecastResponse:
        """One method, one series."""
        method = METHOD.from_wire(request.method, "method")
        found = self._forecast(request, method, pb.EnsembleOptions(), context)
        return pb.ForecastResponse(forecast=found)

    def ForecastEnsemble(
        self, request: pb.ForecastEnsembleRequest, context: CallContext
    ) -> pb.ForecastEnsembleResponse:
        """Several methods, one series."""
        found = self._forecast(request, Method.ENSEMBLE, request.ensemble, context)
        return pb.ForecastEnsembleResponse(forecast=found)

    def ForecastNewEntity(
        self, request: pb.ForecastNewEntityRequest, context: CallContext
    ) -> pb.ForecastNewEntityResponse:
        """Parent's shape, own level, donors of the same tier."""
        asked = decoding.options(request.options)
        metric = METRIC.from_wire(request.metric, "metric")
        subject = self._subject(request.subject, metric, context, "subject", empty=True)
        parent_ref, parent_frame, donors = self._relatives(request, subject, metric, context)
        tier = TIER.find(request.tier)
        tiers: dict[int, Tier] = {}
        degradations: tuple[Degradation, ...] = ()
        if tier is None and subject.ref is not None and donors:
            messages = [request.subject, *(one.message for one in donors)]
            tiers, degradations = self._peers.tiers(messages, context, wanted=asked.use_tiers)
            tier = tiers.get(0)
        clocks = [one.clock for one in (subject, *donors) if not one.frame.empty]
        if not parent_frame.empty:
            clocks.append(day_number(parent_frame["date"].max().date()))
        if not clocks:
            raise FailedPrecondition("there is neither a parent nor a donor with history")
        as_of = asked.as_of if asked.as_of is not None else max(clocks) - self._lag_of(asked, subject)
        columns = parts_of(metric)
        resolved = {name: self._resolve(subject.config_id, parent_ref, name) for name in columns}
        series = {
            name: TransferTask(
                own=_usable(subject.frame, name, subject.label, as_of),
                parent=_usable(parent_frame, name, "the parent", as_of),
                donors=tuple(
                    DonorSeries(at, one, tiers.get(at + 1))
                    for at, donor in enumerate(donors)
                    if (one := _usable(donor.frame, name, donor.label, as_of)) is not None
                ),
                learned=resolved[name].learned,
            )
            for name in columns
        }
        found = forecast_new(
            series,
            metric,
            tier=tier,
            spec=decoding.spec(asked, Method.ENSEMBLE, pb.EnsembleOptions()),
            as_of=as_of,
        )
        forecast = encoding.prediction_message(
            found.prediction, entity=subject.entity, metric=metric, level=asked.level
        )
        forecast.currency_code = self._currency(subject.config_id)
        notes = [note for one in resolved.values() for note in one.degradations]
        encoding.add_degradations(forecast, [*degradations, *notes])
        names = [one.entity for one in donors]
        return pb.ForecastNewEntityResponse(
            forecast=forecast, transfer=encoding.transfer_message(found, parent=parent_ref, names=names)
        )

    def BatchForecast(
        self, request: pb.BatchForecastRequest, context: CallContext
    ) -> pb.BatchForecastResponse:
        """Many series; they fail one by one, and what is not done when time is up says so of itself."""
        asked = decoding.options(request.options)
        outcomes = self._load(request.items, asked, context)
        questions = [one for one in outcomes if isinstance(one, _Question)]
        tasks: list[ForecastTask | AdsmlError] = []
        provenances: list[encoding.Provenance | None] = []
        insights = iter(self._insights(questions, asked, context) if questions else [])
        for outcome in outcomes:
            if isinstance(outcome, AdsmlError):
                tasks.append(outcome)
                provenances.append(None)
                continue
            try:
                task, provenance = self._task(outcome, next(insights), asked, request.ensemble)
            except Unavailable:
                raise
            except AdsmlError as error:
                tasks.append(error)
                provenances.append(None)
                continue
            tasks.append(task)
            provenances.append(provenance)
        out = pb.BatchForecastResponse()
        answers = self._runner.run(tasks, context)
        values = request.include_member_values
        for item, outcome, answer, made in zip(request.items, outcomes, answers, provenances, strict=True):
            result = out.results.add(entity=decoding.subject_entity(item.subject), metric=item.metric)
            if isinstance(answer, BaseException):
                result.error.CopyFrom(status_of(answer))
            elif isinstance(outcome, _Question) and made is not None:
                message = self._message(answer, outcome, asked, made, member_values=values)
                result.forecast.CopyFrom(message)
        return out

    def Backtest(self, request: pb.BacktestRequest, context: CallContext) -> Iterator[pb.BacktestResponse]:
        """Methods on the past: progress, then the report."""
        metric = METRIC.from_wire(request.metric, "metric")
        plan = decoding.backtest_spec(request)
        lag = request.attribution_lag_days if request.HasField("attribution_lag_days") else None
        series: list[tuple[DailySeries, ...]] = []
        skipped: list[tuple[entity_pb2.EntityRef, str]] = []
        needed = plan.minimum_days + plan.horizon
        for at, message in enumerate(request.subjects):
            subject = self._subject(message, metric, context, f"subjects[{at}]")
            as_of = subject.clock - (lag if lag is not None else self._lag if subject.stored else 0)
            try:
                history = decoding.history(subject.frame, name=subject.label, until=as_of)
                prepared = [
                    prepare(history, name, as_of=history.last_day, horizon=plan.horizon)
                    for name in parts_of(metric)
                ]
            except (InsufficientHistory, FailedPrecondition) as error:
                skipped.append((subject.entity, error.message))
                continue
            days = min(len(one.series) for one in prepared)
            if plan.rows(days):
                series.append(tuple(one.series for one in prepared))
            else:
                skipped.append(
                    (subject.entity, f"{subject.label} has {days} days of history and needs {needed}")
                )
        if not series:
            reason = skipped[0][1] if skipped else "no series"
            raise FailedPrecondition(
                f"no series is long enough: {reason}", metadata={"days_needed": str(needed)}
            )
        pool = self._workers.get() if self._workers is not None else None
        yield from stream_backtest(series, metric, plan, pool=pool, skipped=skipped, context=context)

    # -- one series ------------------------------------------------------------------------------------------

    def _forecast(
        self,
        request: pb.ForecastRequest | pb.ForecastEnsembleRequest,
        method: Method,
        ensemble: pb.EnsembleOptions,
        context: CallContext,
    ) -> pb.Forecast:
        asked = decoding.options(request.options)
        metric = METRIC.from_wire(request.metric, "metric")
        subject = self._subject(request.subject, metric, context, "subject")
        changes = self._stored_changes(subject, asked)
        question = self._question(subject, metric, method, asked, changes)
        (insights,) = self._insights([question], asked, context)
        task, provenance = self._task(question, insights, asked, ensemble)
        context.check_cancelled()
        return self._message(self._runner.answer(task), question, asked, provenance)

    def _insights(
        self, questions: Sequence[_Question], asked: Options, context: CallContext
    ) -> list[Insights]:
        return self._peers.insights(
            [one.to_peers() for one in questions],
            context,
            mask=asked.mask_anomalies,
            verdicts=asked.use_change_events,
        )

    def _question(
        self,
        subject: _Subject,
        metric: Metric,
        method: Method,
        asked: Options,
        stored: Sequence[Change],
    ) -> _Question:
        lag = self._lag_of(asked, subject)
        as_of = asked.as_of if asked.as_of is not None else subject.clock - lag
        # Days up to the account's last loaded one without a row had no delivery; later ones are not loaded.
        history = decoding.history(subject.frame, name=subject.label, until=min(as_of, subject.clock))
        incomplete = () if asked.as_of is not None else tuple(range(as_of + 1, subject.clock + 1))
        changes = tuple(sorted((*stored, *asked.changes), key=lambda one: one.day))
        return _Question(subject, metric, method, history, as_of, changes, incomplete)

    def _task(
        self, question: _Question, insights: Insights, asked: Options, ensemble: pb.EnsembleOptions
    ) -> tuple[ForecastTask, encoding.Provenance]:
        if asked.backend is Backend.STAN:
            require_prophet()
        subject, metric = question.subject, question.metric
        calendar = self._calendars.calendar(
            subject.config_id,
            country=asked.country,
            named_days=asked.named_days,
            disabled=asked.no_calendar,
            first_day=question.history.first_day,
            last_day=question.as_of + asked.horizon,
        )
        profile = self._accounts.profile(subject.config_id, until=question.as_of, calendar=calendar)
        columns = parts_of(metric)
        resolved = [self._resolve(subject.config_id, subject.ref, name) for name in columns]
        judged = tuple(
            replace(one, verdict=insights.verdicts.get((one.day, one.change_type.value)))
            for one in question.changes
        )
        around = Surroundings(
            changes=judged,
            flagged=insights.flagged,
            calendar=calendar,
            effects=profile.effects,
            plan=asked.plan,
            elasticity=profile.elasticity,
            ratio=profile.rates.get(metric),
            profile=profile.weekdays,
        )
        task = ForecastTask(
            history=question.history,
            metric=metric,
            as_of=question.as_of,
            spec=decoding.spec(asked, question.method, ensemble),
            around=around,
            mode=asked.mode,
            learned=resolved[0].learned,
            exposure=resolved[-1].learned,
            models=";".join(one.versions for one in resolved),
        )
        provenance = encoding.Provenance(
            ensemble=resolved[0].ensemble,
            prophet=resolved[0].prophet,
            degradations=(*insights.degradations, *(n for one in resolved for n in one.degradations)),
            cautions=tuple(self._unused_models(subject, metric)),
            incomplete=question.incomplete,
            account_last=subject.account_last,
            budget_moves=profile.budget_moves,
        )
        return task, provenance

    def _message(
        self,
        answer: Answer,
        question: _Question,
        asked: Options,
        provenance: encoding.Provenance,
        *,
        member_values: bool = True,
    ) -> pb.Forecast:
        return encoding.forecast_message(
            answer,
            entity=question.subject.entity,
            metric=question.metric,
            level=asked.level,
            history=question.history,
            provenance=provenance,
            currency_code=self._currency(question.subject.config_id),
            member_values=member_values,
        )

    def _currency(self, config_id: int) -> str:
        """ISO 4217 code of the account's money; empty where unknown."""
        if self._currencies is None or config_id < 1:
            return ""
        return self._currencies.currency(config_id) or ""

    def _resolve(self, config_id: int, ref: EntityRef | None, column: str) -> ResolvedModels:
        if ref is None:
            return self._models.resolve(config_id, None, None, column) if config_id else NO_MODELS
        return self._models.resolve(config_id, ref.entity_type, ref.entity_id, column)

    def _unused_models(self, subject: _Subject, metric: Metric) -> Iterator[Caution]:
        """Models that were once registered for a ratio itself, which is forecast from its parts."""
        if metric not in RATIOS:
            return
        found = self._resolve(subject.config_id, subject.ref, metric.value)
        for version in (found.ensemble, found.prophet):
            if version is not None:
                yield Caution(
                    CautionKind.OPTION_IGNORED,
                    f"{version} was not used: {metric.value} is forecast from its parts, with their models",
                )

    def _lag_of(self, asked: Options, subject: _Subject) -> int:
        if asked.lag is not None:
            return asked.lag
        return self._lag if subject.stored else 0

    # -- the store -------------------------------------------------------------------------------------------

    def _subject(
        self,
        message: entity_pb2.Subject,
        metric: Metric,
        context: CallContext,
        path: str,
        *,
        empty: bool = False,
    ) -> _Subject:
        named = decoding.subject_entity(message)
        if message.WhichOneof("source") == "inline":
            if named.config_id:
                context.check_config(named.config_id)
            frame = series_frame(message.inline, f"{path}.inline", needed=decoding.needed_columns(metric))
            kind = ENTITY_TYPE.find(named.entity_type)
            whole = named.config_id and named.entity_id and kind is not None
            ref = EntityRef(named.config_id, kind, named.entity_id) if whole and kind else None
            return _Subject(message, named, ref, frame, False, self._account_last(named.config_id))
        ref = entity_ref(message.entity, f"{path}.entity")
        context.check_config(ref.config_id)
        frame = self._metrics.daily(ref.config_id, entity_type=ref.entity_type, entity_ids=[ref.entity_id])
        if frame.empty:
            self._entities.get(ref)
            if not empty:
                raise InsufficientHistory(decoding.label(named), had=0, needed=1)
        return _Subject(message, named, ref, frame, True, self._account_last(ref.config_id))

    def _account_last(self, config_id: int) -> int | None:
        last: date | None = self._metrics.last_date(config_id) if config_id else None
        return None if last is None else day_number(last)

    def _stored_changes(self, subject: _Subject, asked: Options) -> list[Change]:
        if subject.ref is None or not asked.use_change_events:
            return []
        events = self._changes.list(subject.ref.config_id, entity=subject.ref)
        return [decoding.stored_change(event) for event in events]

    def _load(
        self, items: Sequence[pb.BatchForecastItem], asked: Options, context: CallContext
    ) -> list["_Question | AdsmlError"]:
        """The series of a batch, read account by account."""
        out: list[_Question | AdsmlError] = []
        for at, item in enumerate(items):
            try:
                if found := validation.violations(item, f"items[{at}]"):
                    raise InvalidInput(found)
                metric = METRIC.from_wire(item.metric, f"items[{at}].metric")
                subject = self._subject(item.subject, metric, context, f"items[{at}].subject")
                changes = self._stored_changes(subject, asked)
                method = METHOD.find(item.method) or Method.ENSEMBLE
                out.append(self._question(subject, metric, method, asked, changes))
            except Unavailable:
                raise
            except AdsmlError as error:
                out.append(error)
        return out

    def _relatives(
        self,
        request: pb.ForecastNewEntityRequest,
        subject: _Subject,
        metric: Metric,
        context: CallContext,
    ) -> tuple[EntityRef | None, pd.DataFrame, list[_Subject]]:
        """The parent, its rows and the donors: sent along, or stored."""
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
            needed = decoding.needed_columns(metric)
            parent_frame = series_frame(request.parent, "parent", needed=needed)
        elif parent_ref is not None:
            parent_frame = self._metrics.daily(
                parent_ref.config_id, entity_type=parent_ref.entity_type, entity_ids=[parent_ref.entity_id]
            )
        if request.donors:
            donors = [
                self._subject(one, metric, context, f"donors[{at}]", empty=True)
                for at, one in enumerate(request.donors)
            ]
            return parent_ref, parent_frame, donors
        return parent_ref, parent_frame, self._longest(siblings)

    def _longest(self, siblings: Sequence[EntityRef]) -> list[_Subject]:
        """The siblings with most rows, as donors."""
        if not siblings:
            return []
        first = siblings[0]
        rows = self._metrics.daily(
            first.config_id, entity_type=first.entity_type, entity_ids=[one.entity_id for one in siblings]
        )
        sizes = rows.groupby("entity_id").size().sort_values(ascending=False)
        last = self._account_last(first.config_id)
        out = []
        for name in sizes.index[:_DONORS]:
            entity = entity_pb2.EntityRef(
                config_id=first.config_id,
                entity_type=ENTITY_TYPE.to_wire(first.entity_type),  # type: ignore[arg-type]
                entity_id=str(name),
            )
            ref = EntityRef(first.config_id, first.entity_type, str(name))
            frame = rows[rows["entity_id"] == name]
            out.append(_Subject(entity_pb2.Subject(entity=entity), entity, ref, frame, True, last))
        return out


def _usable(frame: pd.DataFrame, column: str, name: str, as_of: int) -> DailySeries | None:
    """One column of a relative's rows up to a day; None where there is no usable day."""
    try:
        history = decoding.history(frame, name=name, until=as_of) if len(frame) else None
        if history is None:
            return None
        # A relative whose rows end earlier has stopped: only what it delivered tells anything.
        last = min(history.last_row, as_of)
        history = decoding.history(frame, name=name, until=last)
        return prepare(history, column, as_of=last, horizon=1).series
    except (InsufficientHistory, FailedPrecondition):
        return None
