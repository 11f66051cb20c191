"""Between the plain values and the contracts' messages."""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from adsml.common.v1 import answer_pb2, change_pb2, entity_pb2, metrics_pb2
from google.type import date_pb2

from adsml_client.values import (
    AnsweredBy,
    Batch,
    Change,
    DailyRow,
    Degradation,
    EntityRef,
    Interval,
    ModelRef,
    Series,
    Subject,
)

T = TypeVar("T")

MAX_BATCH: Final = 1_000
"""Entries that the services take at once; helpers split longer batches."""


def number(kind: Any, prefix: str, word: str | None) -> Any:
    """The contract's number of a word; 0 for None.

    Raises
    ------
    ValueError
        The contract has no such word.
    """
    if word is None:
        return 0
    name = prefix + word.upper()
    if name not in kind.keys():  # noqa: SIM118 - no mapping
        known = ", ".join(one.removeprefix(prefix).lower() for one in list(kind.keys())[1:])
        raise ValueError(f"{word!r} is none of {known}")
    return kind.Value(name)


def word(kind: Any, prefix: str, value: int) -> str:
    """The word of a contract's number, in lower case; ``""`` where nothing was said."""
    found = kind.DESCRIPTOR.values_by_number.get(value)
    if found is None:
        return str(value)  # newer than this client
    return "" if value == 0 else str(found.name.removeprefix(prefix).lower())


def day_message(value: dt.date) -> date_pb2.Date:
    """The contract's day."""
    return date_pb2.Date(year=value.year, month=value.month, day=value.day)


def metric_number(metric: str | None) -> Any:
    """The contract's number of a metric such as ``"cpl"``."""
    return number(metrics_pb2.Metric, "METRIC_", metric)


def entity_message(ref: EntityRef) -> entity_pb2.EntityRef:
    """The contract's key of an entity."""
    return entity_pb2.EntityRef(
        config_id=ref.config_id,
        entity_type=number(entity_pb2.EntityType, "ENTITY_TYPE_", ref.entity_type),
        entity_id=ref.entity_id,
    )


def series_message(series: Series) -> entity_pb2.InlineSeries:
    """The contract's inline series."""
    return entity_pb2.InlineSeries(
        config_id=series.config_id,
        entity_type=number(entity_pb2.EntityType, "ENTITY_TYPE_", series.entity_type),
        entity_id=series.entity_id,
        rows=[row_message(row) for row in series.rows],
        account_rows=[row_message(row) for row in series.account_rows],
    )


def row_message(row: DailyRow) -> metrics_pb2.DailyMetrics:
    """The contract's day of metrics."""
    return metrics_pb2.DailyMetrics(
        date=day_message(row.date),
        spend=row.spend,
        impressions=row.impressions,
        clicks=row.clicks,
        leads=row.leads,
        reach=row.reach,
    )


def subject_message(subject: Subject) -> entity_pb2.Subject:
    """The contract's subject."""
    if isinstance(subject, EntityRef):
        return entity_pb2.Subject(entity=entity_message(subject))
    return entity_pb2.Subject(inline=series_message(subject))


def change_message(change: Change) -> change_pb2.ChangeEvent:
    """The contract's change."""
    return change_pb2.ChangeEvent(
        date=day_message(change.date),
        change_type=number(change_pb2.ChangeType, "CHANGE_TYPE_", change.change_type),
        value_before=change.value_before,
        value_after=change.value_after,
        description=change.description,
    )


def optional(message: Any, name: str) -> Any:
    """A field's value, None where it is unset."""
    return getattr(message, name) if message.HasField(name) else None


def day(message: date_pb2.Date) -> dt.date:
    """A calendar day."""
    return dt.date(message.year, message.month, message.day)


def optional_day(message: Any, name: str) -> dt.date | None:
    """The day in a field, None where it is unset."""
    return day(getattr(message, name)) if message.HasField(name) else None


def instant(message: Any, name: str) -> dt.datetime | None:
    """The instant in a field, in UTC; None where it is unset."""
    return getattr(message, name).ToDatetime(tzinfo=dt.UTC) if message.HasField(name) else None


def entity(message: entity_pb2.EntityRef) -> EntityRef:
    """A key of an entity as it came; parts that were not named are 0 or empty."""
    return EntityRef(
        message.config_id,
        word(entity_pb2.EntityType, "ENTITY_TYPE_", message.entity_type),
        message.entity_id,
    )


def metric(value: int) -> str:
    """A metric's word, such as ``"cpl"``."""
    return word(metrics_pb2.Metric, "METRIC_", value)


def model_ref(message: answer_pb2.ModelRef) -> ModelRef:
    """One version of a model."""
    return ModelRef(message.name, message.version, instant(message, "trained_time"))


def answered_by(message: answer_pb2.AnsweredBy) -> AnsweredBy:
    """What answered."""
    return AnsweredBy(
        source=word(answer_pb2.AnswerSource, "ANSWER_SOURCE_", message.source),
        model=model_ref(message.model) if message.HasField("model") else None,
        method=message.method,
        reason=message.reason,
    )


def degradations(messages: Sequence[answer_pb2.Degradation]) -> list[Degradation]:
    """What an answer had to do without."""
    return [
        Degradation(
            one.dependency,
            word(answer_pb2.DegradationReason, "DEGRADATION_REASON_", one.reason),
            one.detail,
        )
        for one in messages
    ]


def interval(message: Any, name: str) -> Interval | None:
    """The interval in a field, None where it is unset."""
    if not message.HasField(name):
        return None
    found = getattr(message, name)
    return Interval(found.lower, found.upper, found.level)


def in_chunks(entries: Sequence[Any], send: Callable[[Sequence[Any]], Batch[T]]) -> Batch[T]:
    """Send a batch of any length, at most 1,000 entries at a time, as one."""
    out: Batch[T] = Batch([])
    for at in range(0, max(len(entries), 1), MAX_BATCH):
        part = send(entries[at : at + MAX_BATCH])
        out.results.extend(part.results)
        out.degradations.extend(one for one in part.degradations if one not in out.degradations)
    return out
