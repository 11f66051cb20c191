"""Between the forecasting contract's messages and the domain."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
from adsml.common.v1 import answer_pb2, change_pb2, entity_pb2, metrics_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as pb
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.degradation import Degradation
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.metrics import Metric
from adsml_common.registry.models import ModelVersion
from adsml_common.serving.messages import (
    CHANGE_TYPE,
    ENTITY_TYPE,
    METRIC,
    TIER,
    EnumCodec,
    day,
    day_message,
    degradation_message,
    entity_ref_message,
    model_ref_message,
    optional_day,
)

from adsml_forecasting.models.backtest import Report
from adsml_forecasting.models.combining import Combiner
from adsml_forecasting.models.level_shifts import LevelShift
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.prediction import Prediction, Wanted
from adsml_forecasting.models.preparation import Prepared
from adsml_forecasting.models.ratios import RatioMode
from adsml_forecasting.models.scores import Score, Scores
from adsml_forecasting.models.transfer import Transferred

METHOD: Final[EnumCodec[Method]] = EnumCodec(Method, pb.ForecastMethod, "FORECAST_METHOD_")
COMBINER: Final[EnumCodec[Combiner]] = EnumCodec(Combiner, pb.Combiner, "COMBINER_")
MODE: Final[EnumCodec[RatioMode]] = EnumCodec(RatioMode, pb.CplMode, "CPL_MODE_")


@dataclass(frozen=True, slots=True)
class Options:
    """`ForecastOptions` with its defaults."""

    horizon: int
    cutoff: date | None
    level: float
    drop_last_days: int | None
    budgets: dict[date, float]
    changes: tuple[LevelShift, ...]
    mode: RatioMode | None
    mask_anomalies: bool
    use_change_events: bool
    use_tiers: bool


def options(message: pb.ForecastOptions, path: str = "options") -> Options:
    """What was asked, or the contract's defaults."""
    peers = message.peers
    return Options(
        horizon=message.horizon_days if message.HasField("horizon_days") else 7,
        cutoff=optional_day(message, "cutoff", f"{path}.cutoff"),
        level=message.interval_level if message.HasField("interval_level") else 0.9,
        drop_last_days=message.drop_last_days if message.HasField("drop_last_days") else None,
        budgets={
            day(one.date, f"{path}.planned_budgets[{at}].date"): one.budget
            for at, one in enumerate(message.planned_budgets)
        },
        changes=tuple(
            LevelShift(
                day(one.date, f"{path}.changes[{at}].date"),
                CHANGE_TYPE.from_wire(one.change_type, f"{path}.changes[{at}].change_type"),
            )
            for at, one in enumerate(message.changes)
        ),
        mode=MODE.find(message.cpl_mode),
        mask_anomalies=peers.mask_anomalies if peers.HasField("mask_anomalies") else True,
        use_change_events=peers.use_change_events if peers.HasField("use_change_events") else True,
        use_tiers=peers.use_tiers if peers.HasField("use_tiers") else True,
    )


def wanted(asked: Options, method: Method, ensemble: pb.EnsembleOptions) -> Wanted:
    """What to forecast by."""
    return Wanted(
        method=method,
        horizon=asked.horizon,
        level=asked.level,
        members=tuple(
            METHOD.from_wire(one, f"ensemble.members[{at}]") for at, one in enumerate(ensemble.members)
        ),
        combiner=COMBINER.find(ensemble.combiner),
    )


def subject_entity(subject: entity_pb2.Subject) -> entity_pb2.EntityRef:
    """The entity as named in the request; ``config_id`` is 0 for an inline series without one."""
    if subject.WhichOneof("source") == "entity":
        return subject.entity
    return entity_pb2.EntityRef(
        config_id=subject.inline.config_id,
        entity_type=subject.inline.entity_type,
        entity_id=subject.inline.entity_id,
    )


def label(entity: entity_pb2.EntityRef) -> str:
    """What to call an entity in a message."""
    kind = (ENTITY_TYPE.find(entity.entity_type) or EntityType.CAMPAIGN).value
    return f"{kind} {entity.entity_id}" if entity.entity_id else "the series"


def change_shift(event: ChangeEvent) -> LevelShift:
    """A stored change as a level shift nobody has judged yet."""
    return LevelShift(event.date, event.change_type)


def _interval(lower: float, upper: float, level: float) -> metrics_pb2.Interval | None:
    if not (math.isfinite(lower) and math.isfinite(upper)):
        return None
    return metrics_pb2.Interval(lower=lower, upper=upper, level=level)


def forecast_message(
    found: Prediction,
    *,
    entity: entity_pb2.EntityRef,
    metric: Metric,
    level: float,
    prepared: Prepared | None,
    mode: RatioMode | None,
    model: ModelVersion | None,
    prophet_model: ModelVersion | None,
    degradations: Sequence[Degradation],
    anomalous: Sequence[date] = (),
    member_values: bool = True,
) -> pb.Forecast:
    """The contract's forecast."""
    cutoff = date(1970, 1, 1) + timedelta(days=found.cutoff)
    out = pb.Forecast(
        entity=entity,
        metric=METRIC.to_wire(metric),  # type: ignore[arg-type]
        method=METHOD.to_wire(found.method),  # type: ignore[arg-type]
        cutoff=day_message(cutoff),
        history_days=found.history_days,
        warnings=found.warnings,
        degradations=[degradation_message(one) for one in degradations],
    )
    for step, value in enumerate(found.point):
        one = out.days.add(date=day_message(cutoff + timedelta(days=step + 1)))
        if math.isfinite(value):
            one.value = value
            ends = _interval(found.lower[step], found.upper[step], level)
            if ends is not None:
                one.interval.CopyFrom(ends)
    if math.isfinite(found.total):
        out.total.value = found.total
        ends = _interval(found.total_lower, found.total_upper, level)
        if ends is not None:
            out.total.interval.CopyFrom(ends)
    _add_members(out, found, prophet_model, member_values=member_values)
    if found.combiner is not None:
        out.combiner = COMBINER.to_wire(found.combiner)  # type: ignore[assignment]
    if mode is not None:
        out.cpl_mode = MODE.to_wire(mode)  # type: ignore[assignment]
    out.calibration.method = found.interval_method
    out.calibration.residuals = found.residuals
    if found.coverage is not None:
        out.calibration.measured_coverage = found.coverage
        out.calibration.coverage_samples = found.coverage_samples
    if prepared is not None:
        _add_history(out, prepared, anomalous)
    out.answered_by.CopyFrom(_answered_by(found, model))
    return out


def _add_history(out: pb.Forecast, prepared: Prepared, anomalous: Sequence[date]) -> None:
    """What was left out of the history, and which changes moved its level."""
    flagged = set(anomalous)
    for masked in prepared.masked:
        reason = pb.MASK_REASON_ANOMALY if masked in flagged else pb.MASK_REASON_MISSING
        out.masked_days.add(date=day_message(masked), reason=reason)
    for masked in prepared.incomplete:
        out.masked_days.add(date=day_message(masked), reason=pb.MASK_REASON_INCOMPLETE)
    for masked in prepared.missing:
        out.masked_days.add(date=day_message(masked), reason=pb.MASK_REASON_MISSING)
    for shift in prepared.shifts:
        made = out.level_shifts.add(
            date=day_message(shift.date),
            change_type=CHANGE_TYPE.to_wire(shift.change_type),
        )
        if shift.verdict is not None:
            made.verdict = change_pb2.Verdict.Value(f"VERDICT_{shift.verdict.name}")


def _add_members(
    out: pb.Forecast, found: Prediction, prophet_model: ModelVersion | None, *, member_values: bool
) -> None:
    for member in found.members:
        part = out.members.add(
            method=METHOD.to_wire(member.method),
            weight=member.weight,
            values=member.values.tolist() if member_values else (),
            failure=member.failure,
        )
        if member.method is Method.PROPHET and prophet_model is not None:
            part.model.CopyFrom(_model_ref(prophet_model))


def _model_ref(version: ModelVersion) -> answer_pb2.ModelRef:
    return model_ref_message(version.name, version=version.version, trained=version.created_at)


def _answered_by(found: Prediction, model: ModelVersion | None) -> answer_pb2.AnsweredBy:
    out = answer_pb2.AnsweredBy(
        source=answer_pb2.AnswerSource.Value(f"ANSWER_SOURCE_{found.source.name}"),
        method=found.method.value.lower(),
        reason=found.reason,
    )
    if found.source.name == "MODEL" and model is not None:
        out.model.CopyFrom(_model_ref(model))
    return out


def transfer_message(
    found: Transferred, *, parent: EntityRef | None, names: Sequence[entity_pb2.EntityRef]
) -> pb.TransferDetail:
    """How it was carried over; `names` are the donors' as handed in."""
    out = pb.TransferDetail(
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


def _scores(method: Method, found: Scores, report: Report) -> pb.MethodScores:
    out = pb.MethodScores(
        method=METHOD.to_wire(method),  # type: ignore[arg-type]
        wmape=_score(found.wmape),
        smape=_score(found.smape),
        mase=_score(found.mase),
        rmsse=_score(found.rmsse),
        mape=_score(found.mape),
        pinball=_score(found.pinball),
        coverage=_score(found.coverage),
        mape_dropped_share=found.mape_dropped_share,
        paired_wmape_difference=_score(report.paired[method]),
        failures=report.failures.get(method, 0),
        seconds=report.seconds.get(method, 0.0),
    )
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
        methods=[_scores(method, report.scores[method], report) for method in order],
        series=report.series,
        skipped=[pb.SkippedSeries(entity=entity, reason=reason) for entity, reason in skipped],
        samples=report.samples,
        reference=METHOD.to_wire(report.reference),  # type: ignore[arg-type]
        answered_by=answer_pb2.AnsweredBy(source=answer_pb2.ANSWER_SOURCE_METHOD, method="rolling_origin"),
    )
