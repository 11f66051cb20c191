"""Between the contracts' common messages and the domain's words."""

from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

import pandas as pd
from adsml.common.v1 import answer_pb2, change_pb2, entity_pb2, metrics_pb2, tier_pb2
from google.protobuf import timestamp_pb2
from google.type import date_pb2

from adsml_common.domain.changes import ChangeType
from adsml_common.domain.degradation import Degradation, DegradationReason
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_common.domain.metrics import Metric
from adsml_common.domain.tiers import Tier
from adsml_common.serving.rows import FIRST_YEAR, LAST_YEAR, daily_rows

WordT = TypeVar("WordT", bound=StrEnum)


class _WireEnum(Protocol):
    def keys(self) -> Sequence[str]: ...
    def Value(self, name: str) -> int: ...  # noqa: N802 - protobuf's


class Words(Generic[WordT]):
    """A domain's words and the numbers a contract has for them.

    Parameters
    ----------
    domain
        The words.
    wire
        The contract's enum.
    prefix
        What its names begin with, ``"ENTITY_TYPE_"``.

    Raises
    ------
    ValueError
        A word of the domain has no number in the contract.
    """

    def __init__(self, domain: type[WordT], wire: _WireEnum, prefix: str) -> None:
        names = {name.removeprefix(prefix): wire.Value(name) for name in wire.keys()}  # noqa: SIM118 - no mapping
        missing = [word.name for word in domain if word.name not in names]
        if missing:
            raise ValueError(f"{prefix}* lacks {', '.join(missing)}")
        self._numbers = {word: names[word.name] for word in domain}
        self._words = {number: word for word, number in self._numbers.items()}

    def to_wire(self, word: WordT) -> int:
        """The contract's number."""
        return self._numbers[word]

    def from_wire(self, number: int, path: str) -> WordT:
        """The domain's word.

        Raises
        ------
        InvalidInput
            At `path`: not said, or a number the contract does not have.
        """
        word = self._words.get(number)
        if word is None:
            expected = ", ".join(known.name for known in self._words.values())
            said = "is not set" if number == 0 else f"is {number}, which the contract does not have"
            raise InvalidInput.at(path, f"{said}; expected one of {expected}")
        return word

    def find(self, number: int) -> WordT | None:
        """The domain's word, or None where nothing (known) was said."""
        return self._words.get(number)


ENTITY_TYPE: Words[EntityType] = Words(EntityType, entity_pb2.EntityType, "ENTITY_TYPE_")
METRIC: Words[Metric] = Words(Metric, metrics_pb2.Metric, "METRIC_")
TIER: Words[Tier] = Words(Tier, tier_pb2.Tier, "TIER_")
CHANGE_TYPE: Words[ChangeType] = Words(ChangeType, change_pb2.ChangeType, "CHANGE_TYPE_")
DEGRADATION_REASON: Words[DegradationReason] = Words(
    DegradationReason, answer_pb2.DegradationReason, "DEGRADATION_REASON_"
)


def entity_ref(message: entity_pb2.EntityRef, path: str) -> EntityRef:
    """The domain's key of an entity whose message was validated."""
    return EntityRef(
        message.config_id,
        ENTITY_TYPE.from_wire(message.entity_type, f"{path}.entity_type"),
        message.entity_id,
    )


def entity_ref_message(ref: EntityRef) -> entity_pb2.EntityRef:
    """The contract's key of an entity."""
    return entity_pb2.EntityRef(
        config_id=ref.config_id,
        entity_type=ENTITY_TYPE.to_wire(ref.entity_type),  # type: ignore[arg-type]  # an enum's number
        entity_id=ref.entity_id,
    )


def day(message: date_pb2.Date, path: str) -> date:
    """A calendar day.

    Raises
    ------
    InvalidInput
        At `path`: no such day, or a part of it is missing.
    """
    try:
        found = date(message.year, message.month, message.day)
    except (ValueError, OverflowError):
        found = date.min
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise InvalidInput.at(
            path,
            f"is {message.year}-{message.month}-{message.day}; expected a day of the calendar from "
            f"{FIRST_YEAR} to {LAST_YEAR}",
        )
    return found


def optional_day(message: object, field: str, path: str) -> date | None:
    """The day in a field of a message, or None where it is unset."""
    return day(getattr(message, field), path) if message.HasField(field) else None  # type: ignore[attr-defined]


def day_message(value: date) -> date_pb2.Date:
    """The contract's calendar day."""
    return date_pb2.Date(year=value.year, month=value.month, day=value.day)


def instant_message(value: datetime) -> timestamp_pb2.Timestamp:
    """The contract's instant.

    Raises
    ------
    ValueError
        If the time has no zone, and so is no instant.
    """
    if value.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    out = timestamp_pb2.Timestamp()
    out.FromDatetime(value)
    return out


def model_ref_message(name: str, *, version: int, trained: datetime | None) -> answer_pb2.ModelRef:
    """The contract's name of a model's version."""
    return answer_pb2.ModelRef(
        name=name, version=version, trained_time=None if trained is None else instant_message(trained)
    )


def degradation_message(one: Degradation) -> answer_pb2.Degradation:
    """The contract's word of what an answer had to do without."""
    return answer_pb2.Degradation(
        dependency=one.dependency,
        reason=DEGRADATION_REASON.to_wire(one.reason),  # type: ignore[arg-type]  # an enum's number
        detail=one.detail,
    )


def series_frame(series: entity_pb2.InlineSeries, path: str, *, account: bool = False) -> pd.DataFrame:
    """An inline series as a daily frame, for one series; for many see `rows.daily_rows`.

    Parameters
    ----------
    series
        Its level, where unspecified, counts as campaign, as the contract says.
    path
        Dotted path of the series, e.g. ``subject.inline``.
    account
        Its account's rows in place of its own. Those carry the level and id of the series too.

    Raises
    ------
    InvalidInput
        With every violation (at most 50).
    """
    name = "account_rows" if account else "rows"
    rows = daily_rows([series], name)
    if found := rows.violations(lambda _: f"{path}.{name}"):
        raise InvalidInput(found[0])
    kind = ENTITY_TYPE.find(series.entity_type) or EntityType.CAMPAIGN
    return rows.frame([(kind, series.entity_id)])
