"""From forecasts to the forecasting contract's messages."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from adsml.common.v1 import answer_pb2, change_pb2, entity_pb2, metrics_pb2, transfer_pb2, warning_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as pb
from adsml_common.domain.degradation import Degradation, DegradationReason, Dependency
from adsml_common.domain.entities import EntityRef
from adsml_common.domain.metrics import Metric
from adsml_common.registry.models import ModelVersion
from adsml_common.serving.messages import (
    CHANGE_TYPE,
    METRIC,
    TIER,
    day_message,
    degradation_message,
    entity_ref_message,
    model_ref_message,
)

from adsml_forecasting.decoding import COMBINER, METHOD, MODE, day_of
from adsml_forecasting.models.answering import Answer
from adsml_forecasting.models.backtest import Report
from adsml_forecasting.models.caution import Caution
from adsml_forecasting.models.history import EntityHistory
from adsml_forecasting.models.level_shifts import AppliedShift, Change
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.prediction import Prediction, Source
from adsml_forecasting.models.prepared import MaskReason, Prepared
from adsml_forecasting.models.ratios import parts_of, ratio_of
from adsml_forecasting.models.scores import NAMES, Score
from adsml_forecasting.models.transfer import Transferred


@dataclass(frozen=True, slots=True)
class Provenance:
    """What an answer rests on beside its rows.

    `ensemble` and `prophet` are registered models that were looked up. `incomplete` are days after the last
    used one that are still filling up, `account_last` is the account's last loaded day (days since 1970-01-01);
    `budget_moves` counts the entities of the account that its response to spend was learnt from.
    """

    ensemble: ModelVersion | None = None
    prophet: ModelVersion | None = None
    degradations: tuple[Degradation, ...] = ()
    cautions: tuple[Caution, ...] = ()
    incomplete: tuple[int, ...] = ()
    account_last: int | None = None
    budget_moves: int = 0


def forecast_message(
    answer: Answer,
    *,
    entity: entity_pb2.EntityRef,
    metric: Metric,
    level: float,
    history: EntityHistory,
    provenance: Provenance,
    member_values: bool = True,
) -> pb.Forecast:
    """The contract's forecast of a stored entity or sent rows."""
    found = answer.prediction
    failed = [
        Degradation(Dependency.MEMBER, DegradationReason.FAILED, member.failure, member.method.value)
        for member in found.members
        if member.failure
    ]
    model = provenance.prophet if found.method is Method.PROPHET else provenance.ensemble
    out = prediction_message(
        found,
        entity=entity,
        metric=metric,
        level=level,
        model=model if found.source is Source.MODEL else None,
        prophet=provenance.prophet,
        member_values=member_values,
    )
    add_degradations(out, [*provenance.degradations, *failed])
    out.warnings.extend(_warning(one) for one in provenance.cautions)
    if answer.mode is not None:
        out.ratio_mode = MODE.to_wire(answer.mode)  # type: ignore[assignment]
    _add_history(out, answer.prepared, provenance.incomplete)
    _add_ahead(out, answer.prepared[0], provenance.budget_moves)
    out.freshness.CopyFrom(_freshness(history, found.as_of, provenance.account_last))
    if math.isfinite(week := _last_week(history, metric, found.as_of)):
        out.last_week_total = week
    return out


def prediction_message(
    found: Prediction,
    *,
    entity: entity_pb2.EntityRef,
    metric: Metric,
    level: float,
    model: ModelVersion | None = None,
    prophet: ModelVersion | None = None,
    member_values: bool = True,
) -> pb.Forecast:
    """Days, total, members and what answered."""
    out = pb.Forecast(
        entity=entity,
        metric=METRIC.to_wire(metric),  # type: ignore[arg-type]
        method=METHOD.to_wire(found.method),  # type: ignore[arg-type]
        as_of_date=day_message(day_of(found.as_of)),
        history_days=found.history_days,
        warnings=[_warning(one) for one in found.warnings],
    )
    for step, (value, lower, upper) in enumerate(zip(found.point, found.lower, found.upper, strict=True)):
        one = out.days.add(date=day_message(day_of(found.as_of + step + 1)))
        _set_value(one, float(value), float(lower), float(upper), level)
    out.total.SetInParent()
    _set_value(out.total, found.total, found.total_lower, found.total_upper, level)
    for member in found.members:
        part = out.members.add(
            method=METHOD.to_wire(member.method),
            weight=member.weight,
            values=member.values.tolist() if member_values else (),
            failure=member.failure,
        )
        if member.method is Method.PROPHET and prophet is not None:
            part.model.CopyFrom(_model_ref(prophet))
    if found.combiner is not None:
        out.combiner = COMBINER.to_wire(found.combiner)  # type: ignore[assignment]
    out.calibration.method = found.interval_method
    out.calibration.residuals = found.residuals
    if found.coverage is not None:
        out.calibration.measured_coverage = found.coverage
        out.calibration.coverage_samples = found.coverage_samples
    out.answered_by.source = answer_pb2.AnswerSource.Value(f"ANSWER_SOURCE_{found.source.name}")
    out.answered_by.method = found.method.value.lower()
    out.answered_by.reason = found.reason
    if model is not None:
        out.answered_by.model.CopyFrom(_model_ref(model))
    return out


def add_degradations(out: pb.Forecast, degradations: Sequence[Degradation]) -> None:
    """What the forecast did without."""
    out.degradations.extend(degradation_message(one) for one in degradations)


def _warning(caution: Caution) -> warning_pb2.Warning:
    kind = warning_pb2.WarningType.Value(f"WARNING_TYPE_{caution.kind.name}")
    return warning_pb2.Warning(type=kind, message=caution.text)


def _set_value(
    out: pb.ForecastDay | pb.ForecastTotal, value: float, lower: float, upper: float, level: float
) -> None:
    if math.isfinite(value):
        out.value = value
        if math.isfinite(lower) and math.isfinite(upper):
            out.interval.CopyFrom(metrics_pb2.Interval(lower=lower, upper=upper, level=level))


def _add_history(out: pb.Forecast, prepared: Sequence[Prepared], incomplete: Sequence[int]) -> None:
    """What was left out of the history, and which changes moved its level; of a ratio's parts what either says."""
    masked: dict[int, MaskReason] = {}
    shifts: dict[tuple[int, Change | None], AppliedShift] = {}
    ignored: dict[tuple[int, str], tuple[Change, str]] = {}
    for one in prepared:
        for day, reason in one.masked.items():
            masked.setdefault(day, reason)
        for shift in one.shifts:
            shifts.setdefault((shift.day, shift.change), shift)
        for change, why in one.ignored:
            ignored.setdefault((change.day, change.change_type.value), (change, why))
    masked |= dict.fromkeys(incomplete, MaskReason.INCOMPLETE)
    for day, reason in sorted(masked.items()):
        named = pb.MaskReason.Value(f"MASK_REASON_{reason.name}")
        out.masked_days.add(date=day_message(day_of(day)), reason=named)
    for shift in sorted(shifts.values(), key=lambda shift: shift.day):
        made = out.level_shifts.add(date=day_message(day_of(shift.day)))
        if shift.change is None:
            made.lasting_probability = shift.lasting
            continue
        made.change_type = CHANGE_TYPE.to_wire(shift.change.change_type)  # type: ignore[assignment]
        if shift.change.verdict is not None:
            made.verdict = change_pb2.Verdict.Value(f"VERDICT_{shift.change.verdict.name}")
    for change, why in ignored.values():
        event = change_pb2.ChangeEvent(
            date=day_message(day_of(change.day)),
            change_type=CHANGE_TYPE.to_wire(change.change_type),  # type: ignore[arg-type]
            value_before=change.budget_before,
            value_after=change.budget_after,
        )
        out.ignored_changes.add(change=event, reason=why)


def _add_ahead(out: pb.Forecast, prepared: Prepared, budget_moves: int) -> None:
    """What a plan and named days do to the days to come."""
    if np.isfinite(prepared.planned).any():
        out.spend_response.elasticity = prepared.elasticity.value
        out.spend_response.budget_moves = budget_moves
        if math.isfinite(prepared.highest_spend):
            out.spend_response.highest_daily_spend = prepared.highest_spend
    for name, (day, effect) in prepared.effects.items():
        out.calendar_effects.add(
            name=name,
            date=day_message(day_of(day)),
            factor=math.exp(effect.log_ratio),
            occurrences=effect.occurrences,
        )


def _freshness(history: EntityHistory, as_of: int, account_last: int | None) -> answer_pb2.DataFreshness:
    out = answer_pb2.DataFreshness(last_row_date=day_message(day_of(history.last_row)))
    if account_last is not None:
        out.account_last_date.CopyFrom(day_message(day_of(account_last)))
    on = np.flatnonzero(history.delivering)
    if len(on):
        last = history.first_day + int(on[-1])
        out.last_delivery_date.CopyFrom(day_message(day_of(last)))
        out.days_without_delivery = max(min(as_of, history.last_day) - last, 0)
        out.stopped = account_last is not None and out.days_without_delivery >= 7
    return out


def _last_week(history: EntityHistory, metric: Metric, as_of: int) -> float:
    """What came in the seven days up to `as_of`; NaN where one of them is not known."""
    end = as_of - history.first_day + 1
    if end < 7 or end > len(history):
        return float("nan")
    sums = [history.column(name)[end - 7 : end].sum(keepdims=True) for name in parts_of(metric)]
    return float(ratio_of(metric, *sums)[0] if metric.is_ratio else sums[0][0])


def _model_ref(version: ModelVersion) -> answer_pb2.ModelRef:
    return model_ref_message(version.name, version=version.version, trained=version.created_at)


def transfer_message(
    found: Transferred, *, parent: EntityRef | None, names: Sequence[entity_pb2.EntityRef]
) -> transfer_pb2.TransferDetail:
    """How it was carried over; `names` are the donors' as handed in."""
    out = transfer_pb2.TransferDetail(
        own_days=found.own_days,
        own_weight=found.own_weight,
        shrinkage_days=found.shrinkage_days,
        interval_factor=found.interval_factor,
    )
    if found.parent_used and parent is not None:
        out.parent.CopyFrom(entity_ref_message(parent))
    for donor, weight in found.donors:
        made = out.donors.add(entity=names[donor.key], weight=weight)
        if donor.tier is not None:
            made.tier = TIER.to_wire(donor.tier)  # type: ignore[assignment]
    return out


def _score(score: Score) -> pb.Score:
    out = pb.Score()
    if score.value is not None:
        out.value = score.value
    if score.lower is not None and score.upper is not None:
        out.interval.CopyFrom(metrics_pb2.Interval(lower=score.lower, upper=score.upper, level=0.95))
    return out


def _scores(method: Method, report: Report) -> pb.MethodScores:
    found = report.scores[method]
    out = pb.MethodScores(
        method=METHOD.to_wire(method),  # type: ignore[arg-type]
        mape_dropped_share=found.mape_dropped_share,
        paired_wmape_difference=_score(report.paired[method]),
        failures=report.failures.get(method, 0),
        **{name: _score(getattr(found, name)) for name in NAMES},  # type: ignore[arg-type]
    )
    out.compute_time.FromNanoseconds(int(1e9 * report.seconds.get(method, 0.0)))
    for one in found.by_horizon:
        out.by_horizon.add(
            days_ahead=one.days_ahead,
            coverage=one.coverage,
            mean_width=one.mean_width,
            samples=one.samples,
        )
    return out


def report_message(
    report: Report, *, skipped: Sequence[tuple[entity_pb2.EntityRef, str]]
) -> pb.BacktestReport:
    """The contract's report, the lowest wMAPE first."""
    order = sorted(report.scores, key=lambda m: np.nan_to_num(report.scores[m].wmape.value or np.inf))
    return pb.BacktestReport(
        methods=[_scores(method, report) for method in order],
        series=report.series,
        skipped=[pb.SkippedSeries(entity=entity, reason=reason) for entity, reason in skipped],
        samples=report.samples,
        reference=METHOD.to_wire(report.reference),  # type: ignore[arg-type]
        answered_by=answer_pb2.AnsweredBy(source=answer_pb2.ANSWER_SOURCE_METHOD, method="rolling_origin"),
    )
