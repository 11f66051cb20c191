"""An account's daily rows as dense arrays, entity by day, so that windows are sums along an axis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_common.domain.metrics import REQUIRED, STORED

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Number = TypeVar("Number", bound=np.generic)

LEVELS: Final[tuple[str, ...]] = tuple(level.value for level in EntityType)
"""Entity types from the top of the tree down; a `Panel`'s ``level`` is an index into it."""

_MICRO: Final = 1_000_000
# Sums of whole millionths in int64 are exact: a window without spend is 0 and not 1e-17, and no total depends
# on days outside it through rounding. 4e18 leaves room below the type's 9.2e18.
_LARGEST_TOTAL: Final = 4e18 / _MICRO


@dataclass(frozen=True)
class Running:
    """Running totals of daily values along the last axis, exact to a millionth."""

    totals: IntArray  # shape (..., days + 1), in millionths; the first is 0

    @classmethod
    def of(cls, daily: FloatArray) -> "Running":
        """Totals of values of shape (..., days), none missing."""
        totals = np.zeros((*daily.shape[:-1], daily.shape[-1] + 1), dtype=np.int64)
        np.cumsum(np.rint(daily * _MICRO).astype(np.int64), axis=-1, out=totals[..., 1:])
        return cls(totals)

    def last(self, window: int, days: IntArray, *, back: int = 0) -> FloatArray:
        """Sums over the `window` days that end `back` days before each of `days`, shape (..., days).

        Days before the first and after the last count as 0. A negative `back` looks ahead (labels only).
        """
        # Not np.clip: for the few days of one call, its way to the same two ufuncs takes longer than they do.
        most = self.totals.shape[-1] - 1
        end = days + 1 - back
        start = np.minimum(np.maximum(end - window, 0), most)
        end = np.minimum(np.maximum(end, 0), most)
        sums: FloatArray = (self.totals.take(end, axis=-1) - self.totals.take(start, axis=-1)) / _MICRO
        return sums


@dataclass(frozen=True)
class Panel:
    """Daily values of every entity of one account on consecutive days.

    Values are of shape (entities, days); a day without a row is 0. Spend is in the account's currency.
    """

    keys: tuple[tuple[str, str], ...]  # level and id of each entity
    level: IntArray  # shape (entities,): index of the entity type in `LEVELS`
    parent: IntArray  # shape (entities,): row of the entity one level above; -1 where it is unknown or has no rows
    days: pd.DatetimeIndex
    spend: FloatArray
    impressions: FloatArray
    clicks: FloatArray
    leads: FloatArray
    reach: FloatArray  # 0 where unknown
    reach_known: FloatArray  # impressions of the days whose reach is known, for frequency over the same days
    present: FloatArray  # 1 where there is a row, with delivery or without
    account: Mapping[str, Running]  # of shape (days + 1,): spend, impressions, clicks, leads

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        *,
        entities: pd.DataFrame | None = None,
        start: date | None = None,
        end: date | None = None,
    ) -> "Panel":
        """Arrange a daily frame, checked as `adsml_common.domain.daily` says, over its days or from `start` to `end`.

        `entities` have ``entity_type, entity_id, parent_id``; without them no entity has a known parent.
        `InvalidInput` where there are no rows, or sums too large to be money or counts.
        """
        if frame.empty:
            raise InvalidInput.at("rows", "there are none; expected at least one daily row")
        first = pd.Timestamp(start) if start is not None else frame["date"].min()
        last = pd.Timestamp(end) if end is not None else frame["date"].max()
        days = pd.date_range(first, last, freq="D")
        codes, keys = _key_codes(frame)
        column = ((frame["date"].to_numpy() - np.datetime64(first)) // np.timedelta64(1, "D")).astype(
            np.int64
        )
        inside = (column >= 0) & (column < len(days))
        place = codes[inside] * len(days) + column[inside]

        def grid(values: FloatArray, name: str) -> FloatArray:
            if float(values.sum()) > _LARGEST_TOTAL:
                raise InvalidInput.at(
                    "rows", f"{name} adds up to {values.sum():.3g}; expected less than {_LARGEST_TOTAL:.0e}"
                )
            cells = np.zeros(len(keys) * len(days))
            cells[place] = values
            return cells.reshape(len(keys), len(days))

        columns = {name: frame[name].to_numpy(dtype=np.float64)[inside] for name in STORED}
        known = np.isfinite(columns["reach"])
        columns["reach"] = np.where(known, columns["reach"], 0.0)
        columns["reach_known"] = np.where(known, columns["impressions"], 0.0)
        columns["present"] = np.ones(len(known))
        daily = {name: grid(values, name) for name, values in columns.items()}
        level = np.array([LEVELS.index(name) for name, _ in keys], dtype=np.int64)
        return cls(
            keys=keys,
            level=level,
            parent=_parents(keys, entities),
            days=days,
            account=_account(level, daily),
            **daily,
        )

    def __len__(self) -> int:
        return len(self.keys)

    def day(self, index: int) -> date:
        """The calendar day of a column."""
        return self.days[index].date()

    def column(self, day: date) -> int:
        """The column of a calendar day; may lie outside the panel."""
        return (pd.Timestamp(day) - self.days[0]).days

    @cached_property
    def running(self) -> dict[str, Running]:
        """Running totals of every entity: stored columns, ``reach_known``, ``lead_days``, ``delivery_days``."""
        out = {name: Running.of(getattr(self, name)) for name in _DAILY}
        out["lead_days"] = Running.of((self.leads > 0).astype(np.float64))
        out["delivery_days"] = Running.of((self.impressions + self.spend > 0).astype(np.float64))
        return out

    def rows_of(self, keys: Sequence[tuple[str, str]]) -> IntArray:
        """The row of each entity (level, id), -1 where the panel does not have it."""
        places = self.places
        return np.array([places.get(key, -1) for key in keys], dtype=np.int64)

    @cached_property
    def places(self) -> dict[tuple[str, str], int]:
        """The row of each entity."""
        return {key: row for row, key in enumerate(self.keys)}

    def take(self, rows: IntArray) -> "Panel":
        """The same account with some of its entities, which may repeat; ``parent`` still points into this panel."""
        parts = {name: getattr(self, name)[rows] for name in _DAILY}
        keys = tuple(self.keys[row] for row in rows.tolist())
        return replace(self, keys=keys, level=self.level[rows], parent=self.parent[rows], **parts)

    def compared_with(self, account: "Panel | None", own: IntArray | None = None) -> "Panel":
        """The same entities held against an account that they are not taken from.

        It gives the account's totals, 0 on days that it does not have; None: nothing is known of an account, and all
        that is relative to it is missing. `own` is the row of each entity in it, -1 where it has none: an entity's
        siblings are those it has there, so its parent's row of spend and leads is added behind the entities, holding
        the entity's days as they are here.
        """
        totals = dict.fromkeys(self.account, Running(np.zeros(len(self.days) + 1, dtype=np.int64)))
        if account is None:
            return replace(self, account=totals)
        for name in totals:
            daily = self._aligned(account, np.diff(account.account[name].totals))
            totals[name] = Running(np.concatenate([[0], np.cumsum(daily)]))
        compared = replace(self, account=totals)
        if own is None:
            return compared
        parent = np.where(own >= 0, account.parent[own], -1)
        rows = np.flatnonzero(parent >= 0)
        if not rows.size:
            return compared
        parts: dict[str, Any] = {}
        nothing = np.zeros((len(rows), len(self.days)))
        for name in _DAILY:
            mine, added = getattr(self, name), nothing
            if name in _OF_PARENTS:
                theirs = getattr(account, name)
                others = self._aligned(account, theirs[parent[rows]] - theirs[own[rows]])
                added = np.maximum(others, 0.0) + mine[rows]
            parts[name] = np.concatenate([mine, added])
        keys = (*self.keys, *((LEVELS[account.level[parent[row]]], f"parent of {row}") for row in rows))
        place = np.full(len(self), -1, dtype=np.int64)
        place[rows] = len(self) + np.arange(len(rows))
        return replace(
            compared,
            keys=keys,
            level=np.concatenate([self.level, account.level[parent[rows]]]),
            parent=np.concatenate([place, np.full(len(rows), -1, dtype=np.int64)]),
            **parts,
        )

    def _aligned(self, account: "Panel", daily: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Values of an account's days, shape (..., its days), on the days of this panel; 0 where it has none."""
        column = np.arange(len(self.days)) + account.column(self.day(0))
        inside = (column >= 0) & (column < len(account.days))
        out = np.zeros((*daily.shape[:-1], len(self.days)), dtype=daily.dtype)
        out[..., inside] = daily[..., column[inside]]
        return out


_DAILY: Final = (*STORED, "reach_known", "present")
_OF_PARENTS: Final = ("spend", "leads")


def _account(level: IntArray, daily: Mapping[str, FloatArray]) -> dict[str, Running]:
    """Running totals of the account.

    Every level holds the account's spend once. Where levels differ (a part was not imported), each day
    takes the level that saw the most spend that day, the upper one where they agree: a choice made day by day,
    so that no later day changes what an earlier one was.
    """
    by_level = {
        name: np.stack([daily[name][level == code].sum(axis=0) for code in range(len(LEVELS))])
        for name in REQUIRED
    }
    seen = by_level["spend"]
    best = np.argmax(seen >= seen.max(axis=0) * (1 - 1e-6), axis=0)
    return {name: Running.of(values[best, np.arange(values.shape[1])]) for name, values in by_level.items()}


def _key_codes(frame: pd.DataFrame) -> tuple[IntArray, tuple[tuple[str, str], ...]]:
    """Row number of each row's entity, and the entities sorted by level and id."""
    type_code, types = pd.factorize(frame["entity_type"], sort=False)
    id_code, ids = pd.factorize(frame["entity_id"], sort=False)
    pair, pairs = pd.factorize(type_code.astype(np.int64) * len(ids) + id_code, sort=False)
    type_of, id_of = np.asarray(types)[pairs // len(ids)], np.asarray(ids)[pairs % len(ids)]
    rank = np.array([LEVELS.index(t) for t in type_of])
    order = np.lexsort((id_of.astype(str), rank))
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order))
    return position[pair], tuple(zip(type_of[order].tolist(), id_of[order].tolist(), strict=True))


def _parents(keys: Sequence[tuple[str, str]], entities: pd.DataFrame | None) -> IntArray:
    if entities is None or entities.empty:
        return np.full(len(keys), -1, dtype=np.int64)
    known = entities.dropna(subset=["parent_id"])
    parent_of = dict(
        zip(zip(known["entity_type"], known["entity_id"], strict=True), known["parent_id"], strict=True)
    )
    above = {level: LEVELS[max(place - 1, 0)] for place, level in enumerate(LEVELS)}
    places = {key: row for row, key in enumerate(keys)}
    return np.array([places.get((above[key[0]], parent_of.get(key, "")), -1) for key in keys], dtype=np.int64)
