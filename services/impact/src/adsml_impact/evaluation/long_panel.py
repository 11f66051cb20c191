"""Any long table (unit, time, outcome) as a panel; what is wrong with it, said where."""

import contextlib
import csv
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from adsml_common.domain.errors import (
    FailedPrecondition,
    InsufficientHistory,
    InvalidInput,
    NotFound,
    Violations,
)

from adsml_impact.models.panel import Panel

_FEWEST_PERIODS = 3
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class LongPanel:
    """A panel from a file."""

    panel: Panel  # treated units first, then controls, both in the file's order of first appearance
    daily: bool  # whether times are consecutive days: then levels differ by size and weekdays matter
    dropped: tuple[str, ...]  # controls left out because they have no value at some time


def read_long_panel(
    path: Path,
    *,
    unit_column: str,
    time_column: str,
    outcome_column: str,
    treated: tuple[str, ...],
    start: str,
) -> LongPanel:
    """Read a delimited file (comma, semicolon, tab or space): one row per unit and time, with a header.

    Times are whole numbers (years, periods) or ISO dates; `start` is the first treated one, as the file writes it.

    Raises
    ------
    NotFound
        No such file.
    InvalidInput
        A column is missing, a value is not a number or a time, a unit has two rows for one time, a treated
        unit is unknown, or the start is not one of the times; all at once.
    FailedPrecondition, InsufficientHistory
        A treated unit has gaps, no control is without, or there are fewer than 3 times before or none after.
    """
    if not path.is_file():
        raise NotFound(f"there is no file {path}")
    frame, violations = _read(path, (unit_column, time_column, outcome_column)), Violations()
    times = [_time(str(text).strip()) for text in frame[time_column]]
    for row in [row for row, time in enumerate(times) if time is None][:20]:
        violations.add(
            f"row {row + 2}.{time_column}",
            f"is {frame[time_column].iloc[row]!r}; expected a whole number or an ISO date",
        )
    if len({type(time) for time in times if time is not None}) > 1:
        violations.add(time_column, "mixes whole numbers and dates")
    outcome = pd.to_numeric(frame[outcome_column], errors="coerce")
    blank = frame[outcome_column].isna() | (frame[outcome_column].astype(str).str.strip() == "")
    for row in np.flatnonzero(~np.isfinite(outcome) & ~blank)[:20]:
        violations.add(
            f"row {row + 2}.{outcome_column}", f"is {frame[outcome_column].iloc[row]!r}; expected a number"
        )
    violations.raise_if_any()
    table = pd.DataFrame({"unit": frame[unit_column].astype(str), "time": times, "outcome": outcome})
    for row in np.flatnonzero(table[["unit", "time"]].duplicated())[:20]:
        violations.add(f"row {row + 2}", f"is a second one for {table['unit'].iloc[row]} at {times[row]}")
    units, labels = list(dict.fromkeys(table["unit"])), sorted(set(times))  # type: ignore[type-var]  # of one type
    for k, name in enumerate(treated):
        if name in treated[:k]:
            violations.add("treated", f"{name!r} is given twice")
        elif name not in units:
            violations.add("treated", f"{name!r} is not among the {len(units)} units of {unit_column}")
    if not treated:
        violations.add("treated", "is empty; name the treated units, separated by commas")
    first = _time(start)
    if first not in labels:
        violations.add("start", f"is {start!r}; expected one of the times from {labels[0]} to {labels[-1]}")
    violations.raise_if_any()
    wide = table.pivot(index="unit", columns="time", values="outcome").reindex(index=units, columns=labels)
    return _panel(wide, treated=treated, T_pre=labels.index(first))


def _time(text: str) -> int | date | None:
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(text).date()
    return None


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """The table as text; InvalidInput where it is none, or lacks a column."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
    except UnicodeDecodeError as error:
        raise InvalidInput.at(str(path), f"is not text in UTF-8: {error}") from error
    try:
        delimiter = csv.Sniffer().sniff(header, delimiters=",;\t ").delimiter
    except csv.Error:
        delimiter = ","
    try:
        frame = pd.read_csv(path, sep=delimiter, dtype=str, encoding="utf-8-sig")
    except (pd.errors.ParserError, UnicodeDecodeError, pd.errors.EmptyDataError) as error:
        raise InvalidInput.at(str(path), f"can't be read as a table: {error}") from error
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        there = ", ".join(map(str, frame.columns))
        raise InvalidInput.at(str(path), f"has no column {', '.join(missing)}; its columns are {there}")
    if frame.empty:
        raise InvalidInput.at(str(path), "has no rows below its header")
    return frame


def _panel(wide: pd.DataFrame, *, treated: tuple[str, ...], T_pre: int) -> LongPanel:
    if T_pre < _FEWEST_PERIODS:
        raise InsufficientHistory(
            "the panel before the start", had=T_pre, needed=_FEWEST_PERIODS, unit="times"
        )
    gaps = wide.isna().sum(axis=1)
    with_gaps = [f"{name} at {int(gaps[name])} times" for name in treated if gaps[name]]
    if with_gaps:
        raise FailedPrecondition("treated units have no value: " + ", ".join(with_gaps))
    others = [name for name in wide.index if name not in treated]
    controls, dropped = [name for name in others if not gaps[name]], [name for name in others if gaps[name]]
    if not controls:
        raise FailedPrecondition(
            f"there is no control: each of the {len(dropped)} other units lacks a value at some time; fill the gaps, "
            "or leave out the times at which values are missing"
            if dropped
            else "there is no control: the treated are the only units, and an effect needs others to compare with"
        )
    units, times = (*treated, *controls), tuple[Any, ...](wide.columns)
    daily = all(isinstance(time, date) for time in times) and all(b - a == _DAY for a, b in pairwise(times))
    panel = Panel(
        Y=wide.loc[list(units)].to_numpy(float), N_tr=len(treated), T_pre=T_pre, units=units, times=times
    )
    return LongPanel(panel=panel, daily=daily, dropped=tuple(dropped))
