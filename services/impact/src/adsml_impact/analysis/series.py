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
        return Series(
            names=self.names,
            first=self.day(start),
            values={name: array[:, start:end] for name, array in self.values.items()},
            present=self.present[:, start:end],
        )

    def stacked(self, groups: Sequence[Sequence[int]], names: Sequence[str]) -> "Series":
        """One unit per group of units: their sums (reach too, which counts people once per unit and day)."""
        return Series(
            names=tuple(names),
            first=self.first,
            values={
                name: np.stack([array[list(group)].sum(axis=0) for group in groups])
                for name, array in self.values.items()
            },
            present=np.stack([self.present[list(group)].any(axis=0) for group in groups]),
        )

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

    def columns(self, metric: Metric) -> tuple[str, ...]:
        """The stored columns that a metric is made of."""
        ratio = RATIOS.get(metric)
        return (metric.value,) if ratio is None else (ratio.numerator, ratio.denominator)

    def parts(self, metric: Metric) -> tuple[FloatArray, FloatArray | None, float]:
        """Numerator (N, T), denominator (None for counts and money) and scale of a metric."""
        ratio = RATIOS.get(metric)
        if ratio is None:
            return self.values[metric.value], None, 1.0
        return self.values[ratio.numerator], self.values[ratio.denominator], ratio.scale


def from_daily(frame: pd.DataFrame) -> Series:
    """Matrices from a daily frame of one account and level, units by name; ValueError if there is no row."""
    if frame.empty:
        raise ValueError("no rows")
    row, names = pd.factorize(frame["entity_id"], sort=True)
    stamps = frame["date"].to_numpy(dtype="datetime64[D]").astype(np.int64)
    first, last = int(stamps.min()), int(stamps.max())
    day, shape = stamps - first, (len(names), last - first + 1)
    values = {name: np.zeros(shape) for name in STORED}
    present = np.zeros(shape, dtype=np.bool_)
    present[row, day] = True
    for name in STORED:
        values[name][row, day] = frame[name].to_numpy(dtype=np.float64)
    return Series(tuple(names), date(1970, 1, 1) + timedelta(days=first), values, present)
