"""Reads a long CSV: ``series_id, ds, y`` and perhaps ``part``."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from adsml_common.domain.errors import InvalidInput, Violations

from adsml_forecasting.models.series import DailySeries

_COLUMNS: Final = ("series_id", "ds", "y")
_SHOWN: Final = 20
# Every day between the first and the last is one of the series: a mistyped year would make a hundred thousand.
_LONGEST_GAP: Final = 3_660
_ZONE: Final = re.compile(r"(:\d{2}(?:\.\d+)?) ?(?:Z|[+-]\d{2}(?::?\d{2})?)$")


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """One series: so many training rows, then test days; missing days are NaN."""

    series: DailySeries
    rows: int


def read_long(path: Path) -> pd.DataFrame:
    """The file with its columns typed; `InvalidInput` names file, line and column of what is wrong (twenty at most)."""
    try:
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise InvalidInput.at(str(path), "there is no such file") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise InvalidInput.at(str(path), f"can't be read as CSV: {error}") from error
    absent = [name for name in _COLUMNS if name not in raw.columns]
    if absent:
        raise InvalidInput.at(
            str(path),
            f"has no column {', '.join(absent)} (it has {', '.join(raw.columns)}); expected series_id, ds, y",
        )
    found = Violations()
    days = _days(raw["ds"])
    values = pd.to_numeric(raw["y"].replace({"": "nan", "NA": "nan"}), errors="coerce")
    empty = raw["y"].str.strip().str.lower().isin(["", "na", "nan", "null"])

    def report(mask: "pd.Series[bool]", column: str, what: str) -> None:
        for row in np.flatnonzero(mask.to_numpy())[: _SHOWN - len(found.found)]:
            found.add(f"{path} line {row + 2}", f"{column} {raw[column].iloc[row]!r} {what}")

    report(days.isna(), "ds", "is not a date; expected YYYY-MM-DD")
    report(values.isna() & ~empty, "y", "is not a number; leave it empty where it is missing")
    report(np.isinf(values.fillna(0.0)), "y", "is infinite; leave it empty where it is missing")
    report(
        raw.duplicated(["series_id", "ds"]), "ds", "is there twice for this series; expected one row a day"
    )
    found.raise_if_any()
    if raw.empty:
        raise InvalidInput.at(str(path), "has no rows")
    out = pd.DataFrame({"series_id": raw["series_id"], "ds": days, "y": values})
    gap = out.sort_values("ds").groupby("series_id")["ds"].diff().reindex(out.index)
    report(
        gap > pd.Timedelta(days=_LONGEST_GAP),
        "ds",
        f"is more than {_LONGEST_GAP} days after the last one of this series; is the year right?",
    )
    found.raise_if_any()
    if "part" in raw.columns:
        odd = ~raw["part"].isin(["train", "test"])
        report(odd, "part", "is neither 'train' nor 'test'")
        found.raise_if_any()
        out["part"] = raw["part"]
    return out


def _days(written: "pd.Series[str]") -> "pd.Series[pd.Timestamp]":
    """Dates as written; NaT where there is none. A zone is dropped: midnights of summer and winter differ in it."""
    return pd.to_datetime(written.str.replace(_ZONE, r"\1", regex=True), errors="coerce", format="ISO8601")


def held_out(frame: pd.DataFrame, test: pd.DataFrame | None, *, horizon: int) -> list[HeldOut]:
    """Series with their test days: those of `test`, those the column ``part`` marks, else the last ones.

    Series whose values are all missing are left out. `InvalidInput` where test days don't follow the training days.
    """
    if test is not None:
        known = set(frame["series_id"])
        strangers = sorted(set(test["series_id"]) - known)
        if strangers:
            raise InvalidInput.at("test", f"series {strangers[0]!r} is not in the data file")
        frame = pd.concat([frame.assign(part="train"), test.assign(part="test")], ignore_index=True)
    out: list[HeldOut] = []
    for name, group in frame.groupby("series_id", sort=True):
        if "part" in group.columns:
            train, rest = group[group["part"] == "train"], group[group["part"] == "test"]
            if train["y"].notna().sum() == 0:
                continue
            if len(rest) and rest["ds"].min() <= train["ds"].max():
                raise InvalidInput.at(
                    f"series {name}", f"has a test day {rest['ds'].min():%Y-%m-%d} before its training ends"
                )
        if group["y"].notna().sum() == 0:
            continue
        series = DailySeries.read(group, name=str(name))
        if "part" in group.columns:
            last = int(train["ds"].max().to_datetime64().astype("datetime64[D]").astype(np.int64))
            rows = last - series.first_day + 1
        else:
            rows = len(series) - horizon
        if rows >= 1 and np.isfinite(series.values[:rows]).any():
            out.append(HeldOut(series, rows))
    if not out:
        raise InvalidInput.at(
            "data", f"no series has a value before its last {horizon} days; expected longer series"
        )
    return out
