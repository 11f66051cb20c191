"""Plain values that go into requests and come out of answers."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from adsml_client.errors import CallError

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EntityRef:
    """Names a stored entity: account, level (``"campaign"``, ``"adset"``, ``"ad"``) and id."""

    config_id: int
    entity_type: str
    entity_id: str


@dataclass(frozen=True, slots=True)
class DailyRow:
    """One day: money in the account's currency; `reach` None where it is not known."""

    date: dt.date
    spend: float
    impressions: int
    clicks: int
    leads: float
    reach: int | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Daily history that is sent along instead of read from the service's store.

    Attributes
    ----------
    rows
        Its days, in any order.
    entity_type, entity_id
        Level and a name, repeated in the answer.
    config_id
        The account whose models may answer.
    account_rows
        The whole account's days, as a baseline.
    """

    rows: Sequence[DailyRow]
    entity_type: str | None = None
    entity_id: str = ""
    config_id: int | None = None
    account_rows: Sequence[DailyRow] = ()


Subject: TypeAlias = EntityRef | Series
"""What a question is about."""


@dataclass(frozen=True, slots=True)
class Change:
    """An edit to an entity, in force from a day on.

    Attributes
    ----------
    date
        That day.
    change_type
        ``"budget_change"``, ``"creative_change"``, ``"audience_change"``, ``"pause"`` or ``"reactivate"``.
    value_before, value_after
        Daily budgets in the account's currency, where they are what changed.
    description
        For a person.
    """

    date: dt.date
    change_type: str
    value_before: float | None = None
    value_after: float | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class ModelRef:
    """One version of a registered model."""

    name: str
    version: int
    trained: dt.datetime | None


@dataclass(frozen=True, slots=True)
class AnsweredBy:
    """What gave an answer.

    Attributes
    ----------
    source
        ``"model"``, ``"rules"``, ``"transfer"``, ``"defaults"``, ``"pooled"``, ``"method"``, ``"fallback"``.
    model
        The registered model, if one did.
    method
        The rule or method, or how the model was used.
    reason
        Why it was not the first choice.
    """

    source: str
    model: ModelRef | None
    method: str
    reason: str


@dataclass(frozen=True, slots=True)
class Degradation:
    """What an answer had to do without, and why."""

    dependency: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Interval:
    """A range that should hold the true value with probability `level`."""

    lower: float
    upper: float
    level: float


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """One result per entry of a batch, in its order: an answer or the error it failed with.

    Attributes
    ----------
    results
        The answers and errors.
    degradations
        What the batch as a whole had to do without.
    """

    results: list[T | CallError]
    degradations: list[Degradation] = field(default_factory=list)

    def __iter__(self) -> Iterator[T | CallError]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def answers(self) -> list[T]:
        """Those that did not fail."""
        return [one for one in self.results if not isinstance(one, CallError)]

    def errors(self) -> dict[int, CallError]:
        """Those that did, by their place in the batch."""
        return {at: one for at, one in enumerate(self.results) if isinstance(one, CallError)}


def rows_of(frame: "pd.DataFrame") -> list[DailyRow]:
    """Daily rows of a frame with columns date, spend, impressions, clicks, leads and perhaps reach.

    Raises
    ------
    ValueError
        A column is missing.
    """
    wanted = ["date", "spend", "impressions", "clicks", "leads"]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise ValueError(f"the frame has no column {', '.join(missing)}")
    reach = frame["reach"].tolist() if "reach" in frame.columns else [None] * len(frame)
    columns = [frame[name].tolist() for name in wanted[1:]]
    days = [_day_of(value) for value in frame["date"].tolist()]
    return [
        DailyRow(day, float(spend), int(impressions), int(clicks), float(leads), _whole_or_none(known))
        for day, spend, impressions, clicks, leads, known in zip(days, *columns, reach, strict=True)
    ]


def _day_of(value: Any) -> dt.date:
    if isinstance(value, dt.datetime):
        return value.date()
    return value if isinstance(value, dt.date) else dt.date.fromisoformat(str(value))


def _whole_or_none(value: Any) -> int | None:
    return None if value is None or value != value else int(value)  # noqa: PLR0124 - NaN differs from itself
