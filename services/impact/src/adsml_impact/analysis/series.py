"""Daily rows as matrices of units by days, and a metric's numerator and denominator in them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

import numpy as np
import pandas as pd
from adsml_common.domain.metrics import RATIOS, STORED, Metric

from adsml_impact.models.arrays import BoolArray, FloatArray
from adsml_impact.models.outliers import replace_outliers

_CLEANED: Final = ("spend", "impressions", "clicks", "leads")
_LEAST_COMPLETE: Final = 0.1
"""A day of which less is known is not scaled by more."""


@dataclass(frozen=True, slots=True)
class Series:
    """Stored columns of several units on consecutive days."""

    names: tuple[str, ...]  # N units
    first: date
    # stored column -> (N, T). A day without a row is a day without delivery: 0; `reach` is NaN where a row does not
    # know it.
    values: dict[str, FloatArray]
    present: BoolArray  # (N, T): whether there was a row

    @property
    def days(self) -> int:
        """T."""
        return int(self.present.shape[1])

    @property
    def last(self) -> date:
        """The last day."""
        return self.first + timedelta(days=self.days - 1)

    def day(self, index: int) -> date:
        """The day at a position."""
        return self.first + timedelta(days=index)

    def index(self, day: date) -> int:
        """The position of a day, also outside the data."""
        return (day - self.first).days

    def rows(self, names: Iterable[str]) -> list[int]:
        """Positions of units; KeyError if one is not there."""
        position = {name: i for i, name in enumerate(self.names)}
        return [position[name] for name in names]

    def cut(self, start: int, end: int) -> "Series":
        """The days from position `start` to before `end`."""
        values = {name: array[:, start:end] for name, array in self.values.items()}
        return Series(self.names, self.day(start), values, self.present[:, start:end])

    def stacked(self, groups: Sequence[tuple[str, list[int]]]) -> "Series":
        """One unit per name and group of units: their sums (reach too, which counts people once per unit and day)."""
        values = {
            name: np.stack([array[rows].sum(axis=0) for _, rows in groups])
            for name, array in self.values.items()
        }
        present = np.stack([self.present[rows].any(axis=0) for _, rows in groups])
        return Series(tuple(name for name, _ in groups), self.first, values, present)

    def completed(self, completion: Sequence[float]) -> "Series":
        """Leads of the last days scaled up to what they will be, by shares known by age (0: the last day)."""
        if not completion:
            return self
        share = np.ones(self.days)
        young = min(len(completion), self.days)
        share[self.days - young :] = np.clip(completion[:young], _LEAST_COMPLETE, 1.0)[::-1]
        return replace(self, values=self.values | {"leads": self.values["leads"] / share})

    def without_outliers(self, change: int) -> tuple["Series", dict[str, BoolArray]]:
        """Single days far out of line replaced, and where they were by column; row 0 is the treated."""
        delivered = (self.values["spend"] > 0) | (self.values["impressions"] > 0)
        values, outliers = dict(self.values), {}
        for name in _CLEANED:
            values[name], far_out = replace_outliers(
                self.values[name], change=change, counts=name != "spend", delivered=delivered
            )
            if far_out.any():
                outliers[name] = far_out
        return replace(self, values=values), outliers

    def parts(self, metric: Metric) -> tuple[FloatArray, FloatArray | None, float]:
        """Numerator (N, T), denominator (None for counts and money) and scale of a metric."""
        ratio = RATIOS.get(metric)
        if ratio is None:
            return self.values[metric.value], None, 1.0
        return self.values[ratio.numerator], self.values[ratio.denominator], ratio.scale


def from_daily(frame: pd.DataFrame, *, days: tuple[date, date] | None = None) -> Series:
    """Matrices from a daily frame of one account and level, units by name; ValueError if there is no row.

    Over its own days, or from the first to the last of `days`.
    """
    if frame.empty:
        raise ValueError("no rows")
    row, names = pd.factorize(frame["entity_id"], sort=True)
    stamps, epoch = frame["date"].to_numpy(dtype="datetime64[D]").astype(np.int64), date(1970, 1, 1)
    first, last = days or (epoch + timedelta(days=int(end)) for end in (stamps.min(), stamps.max()))
    day, shape = stamps - (first - epoch).days, (len(names), (last - first).days + 1)
    inside = (day >= 0) & (day < shape[1])
    at = row[inside], day[inside]
    values = {name: np.zeros(shape) for name in STORED}
    present = np.zeros(shape, dtype=np.bool_)
    present[at] = True
    for name in STORED:
        values[name][at] = frame[name].to_numpy(dtype=np.float64)[inside]
    return Series(tuple(names), first, values, present)
