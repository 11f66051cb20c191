"""From forecasts to the forecasting contract's messages, as mappings of its fields' names."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from adsml.common.v1 import answer_pb2, entity_pb2, transfer_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as pb
from adsml_common.domain.degradation import Degradation, DegradationReason, Dependency
from adsml_common.domain.entities import EntityRef
from adsml_common.domain.metrics import Metric
from adsml_common.registry.models import ModelVersion
from adsml_common.serving.messages import (
    day_message,
    degradation_message,
    entity_ref_message,
    model_ref_message,
)
from google.type import date_pb2

from adsml_forecasting.decoding import day_of
from adsml_forecasting.models.answering import Answer, ForecastTask
from adsml_forecasting.models.backtest import Report
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.prediction import Prediction, Source
from adsml_forecasting.models.prepared import Caution, MaskReason, Prepared
from adsml_forecasting.models.ratios import parts_of, ratio_of
from adsml_forecasting.models.scores import NAMES, Score
from adsml_forecasting.models.series import EntityHistory
from adsml_forecasting.models.transfer import Transferred


@dataclass(frozen=True, slots=True)
class Provenance:
    """What an answer is about and rests on beside its rows.

    `entity` is as the request names it; `ensemble` and `prophet` are registered models that were looked up.
    `incomplete` are days after the last used one that are still filling up, `account_last` is the account's last
    loaded day (days since 1970-01-01); `budget_moves` counts the entities that the response to spend was learnt from.
    """

    entity: entity_pb2.EntityRef
    currency_code: str
    ensemble: ModelVersion | None = None
    prophet: ModelVersion | None = None
    degradations: tuple[Degradation, ...] = ()
    cautions: tuple[Caution, ...] = ()
    incomplete: tuple[int, ...] = ()
    account_last: int | None = None
    budget_moves: int = 0


def forecast_message(
    answer: Answer, task: ForecastTask, by: Provenance, *, member_values: bool = True
) -> pb.Forecast:
    """The contract's forecast of a stored entity or sent rows."""
    first = answer.prepared[0]
    fields: dict[str, Any] = {
        "ratio_mode": f"RATIO_MODE_{task.mode}" if task.metric.is_ratio else None,
        **_history(answer.prepared, by.incomplete),
        "spend_response": {
            "elasticity": first.elasticity.value,
            "budget_moves": by.budget_moves,
            "highest_daily_spend": _finite(first.highest_spend),
        }
        if np.isfinite(first.planned).any()
        else None,
        "calendar_effects": [
            {
                "name": name,
                "date": _day(day),
                "factor": math.exp(effect.log_ratio),
                "occurrences": effect.occurrences,
            }
            for name, (day, effect) in first.effects.items()
        ],
        "freshness": _freshness(task.history, task.as_of, by.account_last),
        "last_week_total": _finite(_last_week(task.history, task.metric, task.as_of)),
    }
    return prediction_message(
        answer.prediction, task.metric, task.spec.level, by, member_values=member_values, **fields
    )


def prediction_message(
    found: Prediction,
    metric: Metric,
    level: float,
    by: Provenance,
    *,
    member_values: bool = True,
    **others: Any,
) -> pb.Forecast:
    """Days, total, members and what answered, with `others` of the contract's fields."""
    model = by.prophet if found.method is Method.PROPHET else by.ensemble
    failed = [
        Degradation(Dependency.MEMBER, DegradationReason.FAILED, member.failure, member.method.value)
        for member in found.members
        if member.failure
    ]
    ends = zip(found.point.tolist(), found.lower.tolist(), found.upper.tolist(), strict=True)
    fields: dict[str, Any] = {
        "entity": by.entity,
        "metric": f"METRIC_{metric.name}",
        "method": f"FORECAST_METHOD_{found.method}",
        "as_of_date": _day(found.as_of),
        "days": [
            {"date": _day(found.as_of + ahead), **_value(*one, level)}
            for ahead, one in enumerate(ends, start=1)
        ],
        "total": _value(found.total, found.total_lower, found.total_upper, level),
        "members": [
            {
                "method": f"FORECAST_METHOD_{member.method}",
                "weight": member.weight,
                "values": member.values.tolist() if member_values else (),
                "failure": member.failure,
                "model": _model_ref(by.prophet) if member.method is Method.PROPHET else None,
            }
            for member in found.members
        ],
        "combiner": None if found.combiner is None else f"COMBINER_{found.combiner}",
        "calibration": {
            "method": found.interval_method,
            "residuals": found.residuals,
            "measured_coverage": found.coverage,
            "coverage_samples": found.coverage_samples,
        },
        "history_days": found.history_days,
        "answered_by": {
            "source": f"ANSWER_SOURCE_{found.source}",
            "method": found.method.lower(),
            "reason": found.reason,
            "model": _model_ref(model) if found.source is Source.MODEL else None,
        },
        "degradations": [degradation_message(one) for one in (*by.degradations, *failed)],
        "warnings": [
            {"type": f"WARNING_TYPE_{one.kind}", "message": one.text}
            for one in (*found.warnings, *by.cautions)
        ],
        "currency_code": by.currency_code,
    }
    return pb.Forecast(**fields, **others)


def _day(number: int) -> date_pb2.Date:
    return day_message(day_of(number))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _model_ref(version: ModelVersion | None) -> answer_pb2.ModelRef | None:
    if version is None:
        return None
    return model_ref_message(version.name, version=version.version, trained=version.created_at)


def _value(value: float, lower: float, upper: float, level: float) -> dict[str, Any]:
    """Of a day or a total, where there is one."""
    if not math.isfinite(value):
        return {}
    fine = math.isfinite(lower) and math.isfinite(upper)
    return {
        "value": value,
        "interval": {"lower": lower, "upper": upper, "level": level} if fine else None,
    }


def _history(prepared: Sequence[Prepared], incomplete: Sequence[int]) -> dict[str, Any]:
    """What was left out of the history, and which changes moved its level; of a ratio's parts what either says."""
    first_last = prepared[::-1]
    masked = {day: reason for one in first_last for day, reason in one.masked.items()}
    masked |= dict.fromkeys(incomplete, MaskReason.INCOMPLETE)
    shifts = {(shift.day, shift.change): shift for one in first_last for shift in one.shifts}
    ignored = {
        (change.day, change.change_type): (change, why) for one in first_last for change, why in one.ignored
    }
    return {
        "masked_days": [
            {"date": _day(day), "reason": f"MASK_REASON_{reason}"} for day, reason in sorted(masked.items())
        ],
        "level_shifts": [
            {
                "date": _day(shift.day),
                "lasting_probability": shift.lasting if shift.change is None else None,
                "change_type": shift.change and f"CHANGE_TYPE_{shift.change.change_type.name}",
                "verdict": shift.change and shift.change.verdict and f"VERDICT_{shift.change.verdict.name}",
            }
            for shift in sorted(shifts.values(), key=lambda shift: shift.day)
        ],
        "ignored_changes": [
            {
                "change": {
                    "date": _day(change.day),
                    "change_type": f"CHANGE_TYPE_{change.change_type.name}",
                    "value_before": change.budget_before,
                    "value_after": change.budget_after,
                },
                "reason": why,
            }
            for change, why in sorted(ignored.values(), key=lambda one: one[0].day)
        ],
    }


def _freshness(history: EntityHistory, as_of: int, account_last: int | None) -> dict[str, Any]:
    out = {
        "last_row_date": _day(history.last_row),
        "account_last_date": None if account_last is None else _day(account_last),
    }
    on = np.flatnonzero(history.delivering)
    if not len(on):
        return out
    last = history.first_day + int(on[-1])
    days = max(min(as_of, history.last_day) - last, 0)
    stopped = account_last is not None and days >= 7
    return out | {"last_delivery_date": _day(last), "days_without_delivery": days, "stopped": stopped}


def _last_week(history: EntityHistory, metric: Metric, as_of: int) -> float:
    """What came in the seven days up to `as_of`; NaN where one of them is not known."""
    end = as_of - history.first_day + 1
    if end < 7 or end > len(history):
        return float("nan")
    sums = [history.column(name)[end - 7 : end].sum(keepdims=True) for name in parts_of(metric)]
    return float(ratio_of(metric, *sums)[0] if metric.is_ratio else sums[0][0])


def transfer_message(
    found: Transferred, parent: EntityRef | None, entities: Sequence[entity_pb2.EntityRef]
) -> transfer_pb2.TransferDetail:
    """How it was carried over; `entities` are the donors' as handed in."""
    names = ("own_days", "own_weight", "shrinkage_days", "interval_factor")
    fields: dict[str, Any] = {
        **{name: getattr(found, name) for name in names},
        "parent": entity_ref_message(parent) if found.parent_used and parent is not None else None,
        "donors": [
            {
                "entity": entities[donor.key],
                "weight": weight,
                "tier": donor.tier and f"TIER_{donor.tier.name}",
            }
            for donor, weight in found.donors
        ],
    }
    return transfer_pb2.TransferDetail(**fields)


def _score(score: Score) -> dict[str, Any]:
    ends = {"lower": score.lower, "upper": score.upper, "level": 0.95}
    return {"value": score.value, "interval": None if score.lower is None else ends}


def report_message(
    report: Report, *, skipped: Sequence[tuple[entity_pb2.EntityRef, str]]
) -> pb.BacktestReport:
    """The contract's report, the lowest wMAPE first."""
    order = sorted(report.scores, key=lambda m: np.nan_to_num(report.scores[m].wmape.value or np.inf))
    fields: dict[str, Any] = {
        "methods": [
            {
                "method": f"FORECAST_METHOD_{method}",
                "mape_dropped_share": report.scores[method].mape_dropped_share,
                "paired_wmape_difference": _score(report.paired[method]),
                "failures": report.failures.get(method, 0),
                "compute_time": timedelta(seconds=report.seconds.get(method, 0.0)),
                "by_horizon": [asdict(one) for one in report.scores[method].by_horizon],
                **{name: _score(getattr(report.scores[method], name)) for name in NAMES},
            }
            for method in order
        ],
        "series": report.series,
        "skipped": [{"entity": entity, "reason": reason} for entity, reason in skipped],
        "samples": report.samples,
        "reference": f"FORECAST_METHOD_{report.reference}",
        "answered_by": {"source": "ANSWER_SOURCE_METHOD", "method": "rolling_origin"},
    }
    return pb.BacktestReport(**fields)
