"""Forecasting's use cases, one method per RPC: a request message in, a response message out, or a domain error."""

from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import ParamSpec, TypeVar

import pandas as pd
from adsml.common.v1 import entity_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as pb
from adsml_common.database import Database
from adsml_common.domain.degradation import Degradation
from adsml_common.domain.errors import (
    AdsmlError,
    FailedPrecondition,
    InsufficientHistory,
    InvalidInput,
    Unavailable,
)
from adsml_common.domain.metrics import Metric
from adsml_common.domain.tiers import Tier
from adsml_common.serving import validation
from adsml_common.serving.context import CallContext
from adsml_common.serving.errors import status_of
from adsml_common.serving.messages import METRIC, TIER
from adsml_common.store.accounts import Account, AccountStore
from adsml_common.store.changes import ChangeStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore

from adsml_forecasting import decoding, encoding
from adsml_forecasting.accounts import AccountProfiles, account_calendar
from adsml_forecasting.decoding import METHOD, MODE, day_number, day_of
from adsml_forecasting.models.answering import ForecastTask
from adsml_forecasting.models.backtest import Report, backtest
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.preparation import prepare
from adsml_forecasting.models.prepared import Caution, CautionKind, Surroundings
from adsml_forecasting.models.prophet.member import require_prophet
from adsml_forecasting.models.ratios import RatioMode, parts_of
from adsml_forecasting.models.series import DailySeries
from adsml_forecasting.models.transfer import DonorSeries, TransferTask, forecast_new
from adsml_forecasting.peers import Insights, Peers
from adsml_forecasting.registered import SeriesModels
from adsml_forecasting.settings import ForecastingSettings
from adsml_forecasting.subjects import Question, Subject, SubjectReader
from adsml_forecasting.workers import BatchRunner, Workers

_P = ParamSpec("_P")
_T = TypeVar("_T")


class ForecastingService:
    """Forecasts stored entities and inline series; without `workers` batches and backtests are worked on here."""

    def __init__(
        self,
        settings: ForecastingSettings,
        database: Database,
        models: SeriesModels,
        peers: Peers,
        workers: Workers | None = None,
    ) -> None:
        metrics = MetricStore(database)
        self._subjects = SubjectReader(metrics, EntityStore(database), ChangeStore(database))
        self._models = models
        self._peers = peers
        self._workers = workers
        self._settings = settings
        self._profiles = AccountProfiles(metrics)
        self._accounts = AccountStore(database)
        self._runner = BatchRunner(workers, cached=settings.cached_forecasts)

    # -- the contract's methods ------------------------------------------------------------------------------

    def Forecast(self, request: pb.ForecastRequest, context: CallContext) -> pb.ForecastResponse:
        """One method, one series."""
        method = METHOD.from_wire(request.method, "method")
        return pb.ForecastResponse(forecast=self._forecast(request, method, pb.EnsembleOptions(), context))

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
        subject = self._subjects.read(request.subject, metric, context, "subject", empty=True)
        parent_ref, parent_frame, donors = self._subjects.relatives(request, subject, metric, context)
        tier = TIER.find(request.tier)
        tiers: dict[int, Tier] = {}
        degradations: tuple[Degradation, ...] = ()
        if tier is None and subject.ref is not None and donors:
            messages = [request.subject, *(one.message for one in donors)]
            tiers, degradations = self._peers.tiers(messages, context, wanted=asked.peers.use_tiers)
            tier = tiers.get(0)
        clocks = [one.clock for one in (subject, *donors) if not one.frame.empty]
        if not parent_frame.empty:
            clocks.append(day_number(parent_frame["date"].max().date()))
        if not clocks:
            raise FailedPrecondition("there is neither a parent nor a donor with history")
        as_of = decoding.as_of(asked)
        if as_of is None:
            as_of = max(clocks) - self._lag_of(asked, subject)
        resolved = {
            name: self._models.resolve(subject.config_id, parent_ref, name) for name in parts_of(metric)
        }
        series = {
            name: TransferTask(
                own=_usable(subject.frame, name, subject.label, as_of),
                parent=_usable(parent_frame, name, "the parent", as_of),
                donors=tuple(
                    DonorSeries(at, one, tiers.get(at + 1))
                    for at, donor in enumerate(donors)
                    if (one := _usable(donor.frame, name, donor.label, as_of)) is not None
                ),
                learned=models.learned,
            )
            for name, models in resolved.items()
        }
        spec = decoding.spec(asked, Method.ENSEMBLE, pb.EnsembleOptions())
        found = forecast_new(series, metric, tier=tier, spec=spec, as_of=as_of)
        notes = (note for one in resolved.values() for note in one.degradations)
        currency = self._account(subject.config_id).currency_code or ""
        provenance = encoding.Provenance(subject.entity, currency, degradations=(*degradations, *notes))
        return pb.ForecastNewEntityResponse(
            forecast=encoding.prediction_message(found.prediction, metric, spec.level, provenance),
            transfer=encoding.transfer_message(found, parent_ref, [one.entity for one in donors]),
        )

    def BatchForecast(
        self, request: pb.BatchForecastRequest, context: CallContext
    ) -> pb.BatchForecastResponse:
        """Many series; they fail one by one, and what is not done when time is up says so of itself."""
        asked = decoding.options(request.options)
        questions = [
            _or_error(self._item, item, f"items[{at}]", asked, context)
            for at, item in enumerate(request.items)
        ]
        fine = [one for one in questions if isinstance(one, Question)]
        insights = iter(self._peers.insights(fine, asked.peers, context) if fine else [])
        tasks = [
            one
            if isinstance(one, AdsmlError)
            else _or_error(self._task, one, next(insights), asked, request.ensemble)
            for one in questions
        ]
        answers = self._runner.run([one[0] if isinstance(one, tuple) else one for one in tasks], context)
        out = pb.BatchForecastResponse()
        for item, task, answer in zip(request.items, tasks, answers, strict=True):
            result = out.results.add(entity=decoding.subject_entity(item.subject), metric=item.metric)
            if isinstance(answer, BaseException):
                result.error.CopyFrom(status_of(answer))
            elif isinstance(task, tuple):
                values = request.include_member_values
                result.forecast.CopyFrom(encoding.forecast_message(answer, *task, member_values=values))
        return out

    def Backtest(self, request: pb.BacktestRequest, context: CallContext) -> Iterator[pb.BacktestResponse]:
        """Methods on the past: progress, then the report."""
        metric = METRIC.from_wire(request.metric, "metric")
        plan = decoding.backtest_spec(request)
        series: list[tuple[DailySeries, ...]] = []
        skipped: list[tuple[entity_pb2.EntityRef, str]] = []
        needed = plan.min_history_days + plan.horizon_days
        for at, message in enumerate(request.subjects):
            subject = self._subjects.read(message, metric, context, f"subjects[{at}]")
            as_of = subject.clock - self._lag_of(request, subject)
            try:
                history = decoding.history(subject.frame, name=subject.label, until=as_of)
                prepared = [
                    prepare(history, name, as_of=history.last_day, horizon=plan.horizon_days)
                    for name in parts_of(metric)
                ]
            except (InsufficientHistory, FailedPrecondition) as error:
                skipped.append((subject.entity, error.message))
                continue
            days = min(len(one.series) for one in prepared)
            if plan.rows(days):
                series.append(tuple(one.series for one in prepared))
            else:
                why = f"{subject.label} has {days} days of history and needs {needed}"
                skipped.append((subject.entity, why))
        if not series:
            reason = skipped[0][1] if skipped else "no series"
            raise FailedPrecondition(
                f"no series is long enough: {reason}", metadata={"days_needed": str(needed)}
            )
        pool = self._workers.get() if self._workers is not None else None
        try:
            for event in backtest(series, metric, plan, pool=pool):
                context.check_cancelled()
                if isinstance(event, Report):
                    yield pb.BacktestResponse(report=encoding.report_message(event, skipped=skipped))
                else:
                    done, total = event
                    progress = pb.BacktestProgress(
                        done=done, total=total, message=f"{done} of {total} fits done"
                    )
                    yield pb.BacktestResponse(progress=progress)
        except BrokenProcessPool:
            raise Unavailable("a worker process died; try again") from None

    # -- one series ------------------------------------------------------------------------------------------

    def _forecast(
        self,
        request: pb.ForecastRequest | pb.ForecastEnsembleRequest,
        method: Method,
        ensemble: pb.EnsembleOptions,
        context: CallContext,
    ) -> pb.Forecast:
        asked = decoding.options(request.options)
        question = self._question(request, method, asked, context)
        (insights,) = self._peers.insights([question], asked.peers, context)
        task, provenance = self._task(question, insights, asked, ensemble)
        context.check_cancelled()
        return encoding.forecast_message(self._runner.answer(task), task, provenance)

    def _item(
        self, item: pb.BatchForecastItem, path: str, asked: pb.ForecastOptions, context: CallContext
    ) -> Question:
        if found := validation.violations(item, path):
            raise InvalidInput(found)
        return self._question(item, METHOD.find(item.method) or Method.ENSEMBLE, asked, context, f"{path}.")

    def _question(
        self,
        request: pb.ForecastRequest | pb.ForecastEnsembleRequest | pb.BatchForecastItem,
        method: Method,
        asked: pb.ForecastOptions,
        context: CallContext,
        path: str = "",
    ) -> Question:
        metric = METRIC.from_wire(request.metric, f"{path}metric")
        subject = self._subjects.read(request.subject, metric, context, f"{path}subject")
        as_of = decoding.as_of(asked)
        incomplete: tuple[int, ...] = ()
        if as_of is None:
            as_of = subject.clock - self._lag_of(asked, subject)
            incomplete = tuple(range(as_of + 1, subject.clock + 1))
        # Days up to the account's last loaded one without a row had no delivery; later ones are not loaded.
        history = decoding.history(subject.frame, name=subject.label, until=min(as_of, subject.clock))
        stored = self._subjects.changes(subject) if asked.peers.use_change_events else []
        changes = tuple(sorted((*stored, *decoding.changes(asked)), key=lambda one: one.day))
        return Question(subject, metric, method, history, as_of, changes, incomplete)

    def _task(
        self, question: Question, insights: Insights, asked: pb.ForecastOptions, ensemble: pb.EnsembleOptions
    ) -> tuple[ForecastTask, encoding.Provenance]:
        if asked.prophet_backend == pb.PROPHET_BACKEND_STAN:
            require_prophet()
        subject, metric = question.subject, question.metric
        account = self._account(subject.config_id)
        calendar = account_calendar(
            self._settings,
            subject.config_id,
            asked.calendar,
            time_zone=account.time_zone,
            first_day=question.history.first_day,
            last_day=question.as_of + asked.horizon_days,
        )
        profile = self._profiles.profile(subject.config_id, until=question.as_of, calendar=calendar)
        resolved = [self._models.resolve(subject.config_id, subject.ref, name) for name in parts_of(metric)]
        judged = tuple(replace(one, verdict=insights.verdicts.get(one)) for one in question.changes)
        task = ForecastTask(
            history=question.history,
            metric=metric,
            as_of=question.as_of,
            spec=decoding.spec(asked, question.method, ensemble),
            around=Surroundings(judged, insights.flagged, calendar, decoding.plan(asked), profile),
            mode=MODE.find(asked.ratio_mode) or RatioMode.PARTS,
            learned=tuple(one.learned for one in resolved),
            models=";".join(one.versions for one in resolved),
        )
        provenance = encoding.Provenance(
            subject.entity,
            account.currency_code or "",
            ensemble=resolved[0].ensemble,
            prophet=resolved[0].prophet,
            degradations=(*insights.degradations, *(n for one in resolved for n in one.degradations)),
            cautions=tuple(self._unused_models(subject, metric)),
            incomplete=question.incomplete,
            account_last=subject.account_last,
            budget_moves=profile.budget_moves,
        )
        return task, provenance

    def _account(self, config_id: int) -> Account:
        return Account() if config_id < 1 else self._accounts.get(config_id)

    def _unused_models(self, subject: Subject, metric: Metric) -> Iterator[Caution]:
        """Models that were once registered for a ratio itself, which is forecast from its parts."""
        if metric.is_ratio:
            found = self._models.resolve(subject.config_id, subject.ref, metric.value)
            for version in (found.ensemble, found.prophet):
                if version is not None:
                    text = f"{version} was not used: {metric.value} is forecast from its parts, with their models"
                    yield Caution(CautionKind.OPTION_IGNORED, text)

    def _lag_of(self, asked: pb.ForecastOptions | pb.BacktestRequest, subject: Subject) -> int:
        if asked.HasField("attribution_lag_days"):
            return asked.attribution_lag_days
        return self._settings.attribution_lag_days if subject.message.HasField("entity") else 0


def _or_error(make: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T | AdsmlError:
    """What a function gives, or its domain error; what concerns all items alike is raised."""
    try:
        return make(*args, **kwargs)
    except Unavailable:
        raise
    except AdsmlError as error:
        return error


def _usable(frame: pd.DataFrame, column: str, name: str, as_of: int) -> DailySeries | None:
    """One column of a relative's rows up to a day; None where there is no usable day."""
    try:
        # A relative whose rows end earlier has stopped: only what it delivered tells anything.
        rows = frame[frame["date"] <= pd.Timestamp(day_of(as_of))]
        history = decoding.history(rows, name=name, until=None)
        return prepare(history, column, as_of=history.last_day, horizon=1).series
    except (InsufficientHistory, FailedPrecondition):
        return None
