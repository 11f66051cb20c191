"""Series for the Prophet benchmarks: real ones from the shared data, and simulated ones of hard kinds."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml_forecasting.models.prophet.tuning import tune
from adsml_forecasting.models.series import DailySeries

SHARED = (
    Path(os.environ.get("ADSML_SHARED_DATA", Path(__file__).parents[1] / "../shared/data")) / "forecasting"
)
KINDS = ("cpl", "constant", "one differs", "nearly constant", "line", "step")


def shared(name: str) -> dict[str, pd.DataFrame]:
    """Series of a shared file by id, with columns `ds` and `y`; empty where the file is not there."""
    path = SHARED / name
    if not path.exists():
        return {}
    table = pd.read_csv(path, parse_dates=["ds"])
    return {
        str(series): rows[["ds", "y"]].reset_index(drop=True) for series, rows in table.groupby("series_id")
    }


def nn5() -> dict[str, pd.DataFrame]:
    """56 series of daily cash withdrawals, 735 days and 56 more."""
    return shared("nn5_daily_dev.csv")


def m4() -> dict[str, pd.DataFrame]:
    """200 daily series of the M4 competition, without their official test days."""
    return shared("m4_daily_dev_train.csv")


def _values(kind: str, rows: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    day = np.arange(rows)
    if kind == "cpl":  # a random walk, a week, noise, two jumps, and days with no spend
        week = np.exp(0.2 * rng.normal(size=7))[day % 7]
        y = 30 * np.exp(np.cumsum(rng.normal(0, 0.02, rows))) * week * np.exp(rng.normal(0, 0.3, rows))
        for jump in rng.integers(0, rows, 2):
            y[jump:] *= np.exp(rng.normal(0, 0.7))
        y[rng.random(rows) < rng.choice([0.0, 0.1, 0.4])] = 0
        return y
    level = float(rng.choice([0.5, 5.0, 1000.0]))
    y = np.full(rows, level)
    if kind == "one differs":
        y[rng.integers(0, rows)] += level
    if kind == "nearly constant":
        y += 1e-6 * level * rng.normal(size=rows)
    if kind == "line":
        y += 0.02 * level * day
    if kind == "step":
        y[rows // 2 :] *= 1.5
    return y


def simulated(kind: str, count: int, *, rows: int = 120, seed: int = 0) -> dict[str, pd.DataFrame]:
    """So many series of one of `KINDS`."""
    out = {}
    for number in range(count):
        rng = np.random.default_rng([seed, KINDS.index(kind), number])
        dates = pd.date_range("2024-01-01", periods=rows)
        out[f"{kind} {number}"] = pd.DataFrame({"ds": dates, "y": _values(kind, rows, rng)})
    return out


def daily(frame: pd.DataFrame) -> DailySeries:
    """A frame's days, as the models take them."""
    return DailySeries.of(frame["ds"], frame["y"])


def warm() -> None:
    """Compile the kernels, or load them from the cache, by one short tuning."""
    tune(daily(simulated("cpl", 1, rows=45)["cpl 0"]))
