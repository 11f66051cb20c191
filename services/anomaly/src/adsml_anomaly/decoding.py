"""Requests as the domain takes them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml.common.v1 import change_pb2, entity_pb2
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput, Violations
from adsml_common.serving import messages

from adsml_anomaly.models.arrays import FloatArray
from adsml_anomaly.models.assessment import Options
from adsml_anomaly.models.channels import COLUMNS, Days, calendar_of
from adsml_anomaly.models.thresholds import Judgement, of_contamination

JUDGEMENT: messages.EnumCodec[Judgement] = messages.EnumCodec(
    Judgement, pb.AlarmJudgement, "ALARM_JUDGEMENT_"
)
_MOST_NAMED: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Options):
    """The options of a request; those of the calendar are added to `named_days` once the account is known."""

    lag_days: int | None = None  # Days that are still filling up; None: what is known of the account
    country: str | None = None  # Whose calendar counts; None: the account's, else the setting's
    calendar_off: bool = False
    min_stake: float | None = None  # None: the setting


def options(message: pb.DetectionOptions, ref: EntityRef | None = None) -> Asked:
    """The options of a validated request; its changes are of `ref`, what a single series is called."""
    of = ref or EntityRef(1, EntityType.CAMPAIGN, "")
    calendar = message.calendar
    named_days = {
        messages.day(one.date, f"options.calendar.named_days[{i}].date"): one.name
        for i, one in enumerate(calendar.named_days)
    }
    return Asked(
        first_date=messages.optional_day(message, "first_date", "options.first_date"),
        last_date=messages.optional_day(message, "as_of_date", "options.as_of_date"),
        false_alarms_per_month=sensitivity(message),
        metrics=tuple(
            messages.METRIC.from_wire(m, f"options.metrics[{i}]") for i, m in enumerate(message.metrics)
        ),
        excluded_dates=frozenset(
            messages.day(one, f"options.excluded_dates[{i}]") for i, one in enumerate(message.excluded_dates)
        ),
        changes=tuple(_change(one, of, f"options.changes[{i}]") for i, one in enumerate(message.changes)),
        exclude_explained_by_change=message.exclude_explained_by_change,
        anomalous_only=message.anomalous_only,
        lag_days=message.attribution_lag_days if message.HasField("attribution_lag_days") else None,
        country=calendar.country_code or None,
        named_days={} if calendar.disabled else named_days,
        calendar_off=calendar.disabled,
        min_stake=message.min_stake_per_day if message.HasField("min_stake_per_day") else None,
    )


def sensitivity(message: pb.DetectionOptions) -> float | None:
    """False alarms per month as asked for, in either of the two ways; None where not."""
    if message.HasField("contamination"):
        return of_contamination(message.contamination)
    return message.false_alarms_per_month if message.HasField("false_alarms_per_month") else None


def _change(message: change_pb2.ChangeEvent, ref: EntityRef, path: str) -> ChangeEvent:
    detail: dict[str, float | str] = {"description": message.description} if message.description else {}
    if message.HasField("value_before"):
        detail["budget_before"] = message.value_before
    if message.HasField("value_after"):
        detail["budget_after"] = message.value_after
    kind = messages.CHANGE_TYPE.from_wire(message.change_type, f"{path}.change_type")
    return ChangeEvent(ref, kind, messages.day(message.date, f"{path}.date"), detail)


def inline_series(series: entity_pb2.InlineSeries, path: str) -> tuple[EntityRef, Days]:
    """A series sent along with its level and name, account 0 where none was named; errors name every wrong row."""
    frame = messages.series_frame(series, path)
    level = messages.ENTITY_TYPE.from_wire(series.entity_type, f"{path}.entity_type")
    values = frame[list(COLUMNS)].to_numpy(dtype=np.float64)
    days = calendar_of(frame["date"].to_numpy(dtype="datetime64[D]"), values)
    return EntityRef(series.config_id, level, series.entity_id), days


def points(message: pb.PointSeries, path: str) -> tuple[FloatArray, FloatArray]:
    """Times (seconds since 1970) and values of a series of points; errors name every wrong one."""
    wrong = Violations()
    n = len(message.points)
    seconds, values = np.empty(n), np.full(n, np.nan)
    for i, one in enumerate(message.points):
        if not one.HasField("time"):
            wrong.add(f"{path}.points[{i}].time", "is not set")
            continue
        seconds[i] = one.time.seconds + one.time.nanos / 1e9
        if not 0 <= one.time.seconds < 4_102_444_800:
            wrong.add(f"{path}.points[{i}].time", "is not between the years 1970 and 2100")
        if one.HasField("value"):
            values[i] = one.value
            if not np.isfinite(one.value):
                wrong.add(f"{path}.points[{i}].value", f"is {one.value}; expected a finite number")
    wrong.raise_if_any()
    for i in np.flatnonzero(np.diff(seconds) <= 0)[:_MOST_NAMED]:
        same = seconds[i + 1] == seconds[i]
        what = "is the time of the point before it" if same else "is before the last one's"
        wrong.add(f"{path}.points[{i + 1}].time", f"{what}; expected rising times")
    wrong.raise_if_any()
    if not np.isfinite(values).any():
        raise InvalidInput.at(f"{path}.points", "holds no value")
    return seconds, values


def subject_ref(subject: pb.DetectionSubject) -> entity_pb2.EntityRef:
    """The series as the answer names it: as the caller wrote it, right or wrong."""
    if subject.HasField("entity"):
        return subject.entity
    if subject.HasField("points"):
        return entity_pb2.EntityRef(entity_id=subject.points.name)
    one = subject.inline
    return entity_pb2.EntityRef(config_id=one.config_id, entity_type=one.entity_type, entity_id=one.entity_id)
