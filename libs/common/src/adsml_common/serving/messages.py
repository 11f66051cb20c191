"""Between the contracts' common messages and the domain."""

from collections.abc import Collection
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

import pandas as pd
from adsml.common.v1 import answer_pb2, change_pb2, entity_pb2, metrics_pb2, tier_pb2
from google.protobuf import timestamp_pb2
from google.type import date_pb2

from adsml_common.domain.changes import ChangeType
from adsml_common.domain.degradation import Degradation, DegradationReason, Dependency
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_common.domain.metrics import REQUIRED, Metric
from adsml_common.domain.tiers import Tier
from adsml_common.serving.rows import FIRST_YEAR, LAST_YEAR, daily_rows

MemberT = TypeVar("MemberT", bound=StrEnum)
_FAMILY: Final = "FAMILY_"


class EnumCodec(Generic[MemberT]):
    """A domain's enum and the numbers that a contract has for its members, matched by name after a `prefix`."""

    def __init__(self, domain: type[MemberT], wire: Any, prefix: str) -> None:
        names = {name.removeprefix(prefix): int(wire.Value(name)) for name in wire.keys()}  # noqa: SIM118 - no mapping
        missing = [member.name for member in domain if member.name not in names]
        if missing:
            raise ValueError(f"{prefix}* lacks {', '.join(missing)}")
        self._numbers = {member: names[member.name] for member in domain}
        self._members = {number: member for member, number in self._numbers.items()}

    def to_wire(self, member: MemberT) -> int:
        return self._numbers[member]

    def from_wire(self, number: int, path: str) -> MemberT:
        """The domain's member; raises `InvalidInput` at `path` where it is not set or unknown."""
        member = self._members.get(number)
        if member is None:
            expected = ", ".join(known.name for known in self._members.values())
            what = "is not set" if number == 0 else f"is {number}, which has no name"
            raise InvalidInput.at(path, f"{what}; expected one of {expected}")
        return member

    def find(self, number: int) -> MemberT | None:
        """The domain's member, or None where the field is not set or the number unknown."""
        return self._members.get(number)


ENTITY_TYPE: EnumCodec[EntityType] = EnumCodec(EntityType, entity_pb2.EntityType, "ENTITY_TYPE_")
METRIC: EnumCodec[Metric] = EnumCodec(Metric, metrics_pb2.Metric, "METRIC_")
TIER: EnumCodec[Tier] = EnumCodec(Tier, tier_pb2.Tier, "TIER_")
CHANGE_TYPE: EnumCodec[ChangeType] = EnumCodec(ChangeType, change_pb2.ChangeType, "CHANGE_TYPE_")
DEPENDENCY: EnumCodec[Dependency] = EnumCodec(Dependency, answer_pb2.Dependency, "DEPENDENCY_")
DEGRADATION_REASON: EnumCodec[DegradationReason] = EnumCodec(
    DegradationReason, answer_pb2.DegradationReason, "DEGRADATION_REASON_"
)


def entity_ref(message: entity_pb2.EntityRef, path: str) -> EntityRef:
    return EntityRef(
        message.config_id,
        ENTITY_TYPE.from_wire(message.entity_type, f"{path}.entity_type"),
        message.entity_id,
    )


def entity_ref_message(ref: EntityRef) -> entity_pb2.EntityRef:
    return entity_pb2.EntityRef(
        config_id=ref.config_id,
        entity_type=ENTITY_TYPE.to_wire(ref.entity_type),  # type: ignore[arg-type]  # an enum's number
        entity_id=ref.entity_id,
    )


def day(message: date_pb2.Date, path: str) -> date:
    """A calendar day; raises `InvalidInput` at `path` where there is no such day, or a part of it is missing."""
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
    return day(getattr(message, field), path) if message.HasField(field) else None  # type: ignore[attr-defined]


def day_message(value: date) -> date_pb2.Date:
    return date_pb2.Date(year=value.year, month=value.month, day=value.day)


def instant_message(value: datetime) -> timestamp_pb2.Timestamp:
    """The contract's instant; raises `ValueError` for a time without zone."""
    if value.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    out = timestamp_pb2.Timestamp()
    out.FromDatetime(value)
    return out


def model_ref_message(name: str, *, version: int, trained: datetime | None) -> answer_pb2.ModelRef:
    return answer_pb2.ModelRef(
        name=name, version=version, train_time=None if trained is None else instant_message(trained)
    )


def degradation_message(one: Degradation) -> answer_pb2.Degradation:
    return answer_pb2.Degradation(
        dependency=DEPENDENCY.to_wire(one.dependency),  # type: ignore[arg-type]  # an enum's number
        reason=DEGRADATION_REASON.to_wire(one.reason),  # type: ignore[arg-type]  # an enum's number
        detail=one.detail,
        name=one.name,
    )


def series_frame(
    series: entity_pb2.InlineSeries,
    path: str,
    *,
    account: bool = False,
    needed: Collection[str] = REQUIRED,
) -> pd.DataFrame:
    """An inline series (its account's rows where `account`) as a daily frame; for many see `rows.daily_rows`.

    Figures that are not `needed` may be unset in all rows, and are NaN. Raises `InvalidInput` with every violation
    (at most 50).
    """
    name = "account_rows" if account else "rows"
    rows = daily_rows([series], name)
    if found := rows.violations(lambda _: f"{path}.{name}", needed=needed):
        raise InvalidInput(found[0])
    kind = ENTITY_TYPE.from_wire(series.entity_type, f"{path}.entity_type")
    return rows.frame([(kind, series.entity_id)])


class FamilyCheck:
    """Refuses requests that name another family than this process' (``"classifier"``); without one, none."""

    def __init__(self, family: str | None) -> None:
        self._family = (family or "").upper()
        self._number = answer_pb2.Family.Value(f"{_FAMILY}{self._family}") if family else None

    def __call__(self, number: int) -> None:
        """Raise `InvalidInput` for the number of another family."""
        if self._number is not None and number != self._number:
            given = answer_pb2.Family.Name(number).removeprefix(_FAMILY)  # type: ignore[arg-type]
            raise InvalidInput.at(
                "family",
                f"is {given}; this process serves {self._family}: call that family's service",
            )
