"""`adsml evaluate anomaly`: series and labelled windows on file, scored by NAB's rule."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml_common.domain.errors import InsufficientHistory, InvalidInput, NotFound

from adsml_anomaly.evaluation import nab
from adsml_anomaly.models import points
from adsml_anomaly.models.arrays import FloatArray

FIXED_THRESHOLD: Final = 3.5
"""Score above which a point is an alarm without tuning: mean absolute z of the three speeds."""


def evaluate(data: Path, windows: Path) -> dict[str, Any]:
    """Score the point detector on every file that has windows.

    `data` is a directory of CSV files with columns ``timestamp, value``, also in sub-directories; `windows` NAB's
    ``{FILE: [[first, last], ...]}``, where a file is found by its path below `data`, or else by its name.

    Returns
    -------
    dict
        ``nab_standard``: all files at the one threshold that is best over them, as NAB scores a detector;
        ``threshold``; ``fixed_threshold`` {threshold, nab_standard}: the same at a threshold set beforehand;
        ``per_file`` {FILE: ...}; ``not_found``: labelled files without data; ``skipped`` {FILE: reason}: those
        with too little in them to be scored; ``unlabelled``: CSV files below `data` that the windows do not name.
    """
    labelled = _windows(windows)
    prepared: dict[str, nab.Scored] = {}
    missing: list[str] = []
    skipped: dict[str, str] = {}
    used: set[Path] = set()
    for name, spans in labelled.items():
        direct = data / name
        path = direct if direct.is_file() else min(data.rglob(direct.name), default=None)
        if path is None:
            missing.append(name)
            continue
        used.add(path)
        try:
            times, values = read_series(path)
        except InsufficientHistory as error:
            skipped[name] = error.message
            continue
        position, step = points.positions(times.astype("datetime64[ms]").astype(np.int64) / 1000.0)
        season = points.season_of(step)
        scores = points.alarms(points.judge(values, position, season).score, season.short)
        prepared[name] = nab.prepare(scores, _rows(name, times, spans))
    if not prepared:
        why = "; ".join(skipped.values()) or f"none of them is below {data}"
        raise NotFound(f"none of the {len(labelled)} files in {windows.name} can be scored: {why}")
    best = nab.best_threshold(prepared)
    standard, files = nab.score_corpus(prepared, best)
    fixed, _ = nab.score_corpus(prepared, FIXED_THRESHOLD)
    return {
        "nab_standard": standard,
        "threshold": best,
        "fixed_threshold": {"threshold": FIXED_THRESHOLD, "nab_standard": fixed},
        "per_file": {name: asdict(score) for name, score in files.items()},
        "not_found": missing,
        "skipped": skipped,
        "unlabelled": sorted(str(one.relative_to(data)) for one in {*data.rglob("*.csv")} - used),
    }


def read_series(path: Path) -> tuple[npt.NDArray[np.datetime64], FloatArray]:
    """Times and values of one CSV file, in order of time; a value may be missing.

    An InvalidInput names file and line; an InsufficientHistory where all rows are at one time, or fewer than two.
    """
    try:
        frame = pd.read_csv(path, dtype=str)
    except pd.errors.EmptyDataError:
        raise InsufficientHistory(str(path), had=0, needed=2, unit="points") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InvalidInput.at(str(path), f"is not a CSV file: {error}") from None
    for column in ("timestamp", "value"):
        if column not in frame.columns:
            raise InvalidInput.at(str(path), f"has no column {column}; expected timestamp, value")
    times = pd.to_datetime(frame["timestamp"], errors="coerce", format="ISO8601")
    values = pd.to_numeric(frame["value"], errors="coerce")
    for column, parsed in (("timestamp", times), ("value", values)):
        if (bad := np.flatnonzero(parsed.isna() & frame[column].notna())).size:
            text = f"{column} {frame[column].iloc[bad[0]]!r} can't be read"
            raise InvalidInput.at(f"{path}:{bad[0] + 2}", text)
    if (bad := np.flatnonzero(times.isna())).size:
        raise InvalidInput.at(f"{path}:{bad[0] + 2}", "has no timestamp")
    if times.nunique() < 2:
        raise InsufficientHistory(str(path), had=1, needed=2, unit="points")
    order = times.argsort(kind="stable").to_numpy()
    times, values = times.iloc[order], values.iloc[order]
    return times.to_numpy(dtype="datetime64[ns]"), values.to_numpy(dtype=np.float64)


def _windows(path: Path) -> dict[str, list[tuple[pd.Timestamp, pd.Timestamp]]]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(name): [(pd.Timestamp(first), pd.Timestamp(last)) for first, last in spans]
            for name, spans in body.items()
        }
    except OSError as error:
        raise NotFound(f"can't read {path}: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInput.at(
            str(path), f'is not NAB\'s windows JSON, {{"FILE": [["first", "last"]]}}: {error}'
        ) from None


def _rows(
    name: str, times: npt.NDArray[np.datetime64], spans: list[tuple[pd.Timestamp, pd.Timestamp]]
) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        left = int(np.searchsorted(times, first.to_datetime64(), side="left"))
        right = int(np.searchsorted(times, last.to_datetime64(), side="right")) - 1
        if left > right:
            raise InvalidInput.at(name, f"has no row in the window {first} to {last}")
        if out and left <= out[-1][1]:
            raise InvalidInput.at(name, f"has windows that overlap: {first} to {last} and the one before it")
        out.append((left, right))
    return out
