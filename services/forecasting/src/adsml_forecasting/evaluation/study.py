"""Reads a long CSV and measures every method and the ensemble on its held-out days, by the code that the service runs.

Nothing is learnt from the test days: members, combiner, the best single model and the intervals come from
rolling origins inside the training part.
"""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from adsml_common.domain.errors import InvalidInput, Violations

from adsml_forecasting.models.calibration import (
    Calibration,
    Combiner,
    Weights,
    calibrate,
    combine,
    inverse_mape,
)
from adsml_forecasting.models.intervals import total_interval, total_spread
from adsml_forecasting.models.method import CLASSIC, INTERMITTENT, MEMBERS, STATISTICAL, Method
from adsml_forecasting.models.origins import (
    Origin,
    Task,
    as_forecasts,
    forecast_origins,
    newest_rows,
    set_intervals,
)
from adsml_forecasting.models.scores import NAMES, Scores, measure
from adsml_forecasting.models.series import DailySeries, Vector

_COLUMNS: Final = ("series_id", "ds", "y")
_SHOWN: Final = 20
# Every day between the first and the last is one of the series: a mistyped year would make a hundred thousand.
_LONGEST_GAP: Final = 3_660
_ZONE: Final = re.compile(r"(:\d{2}(?:\.\d+)?) ?(?:Z|[+-]\d{2}(?::?\d{2})?)$")
_FOUR: Final = (*STATISTICAL, Method.SEASONAL_NAIVE)
"""The four statistical models whose median is the thing to beat."""
LEVEL: Final = 0.9


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
    if raw.empty:
        raise InvalidInput.at(str(path), "has no rows")
    found = Violations()
    # A zone is dropped: midnights of summer and winter differ in it.
    written = raw["ds"].str.replace(_ZONE, r"\1", regex=True)
    days = pd.to_datetime(written, errors="coerce", format="ISO8601")
    values = pd.to_numeric(raw["y"].replace({"": "nan", "NA": "nan"}), errors="coerce")
    empty = raw["y"].str.strip().str.lower().isin(["", "na", "nan", "null"])

    def report(mask: "pd.Series[bool]", column: str, what: str) -> None:
        for row in np.flatnonzero(mask.to_numpy())[: _SHOWN - len(found.found)]:
            found.add(f"{path} line {row + 2}", f"{column} {raw[column].iloc[row]!r} {what}")

    report(days.isna(), "ds", "is not a date; expected YYYY-MM-DD")
    report(values.isna() & ~empty, "y", "is not a number; leave it empty where it is missing")
    report(np.isinf(values.fillna(0.0)), "y", "is infinite; leave it empty where it is missing")
    out = pd.DataFrame({"series_id": raw["series_id"], "ds": days, "y": values})
    twice = days.notna() & out.assign(ds=days.dt.normalize()).duplicated(["series_id", "ds"])
    report(twice, "ds", "is there twice for this series; expected one row a day")
    gap = out.sort_values("ds").groupby("series_id")["ds"].diff().reindex(out.index)
    far = f"is more than {_LONGEST_GAP} days after the last one of this series; is the year right?"
    report(gap > pd.Timedelta(days=_LONGEST_GAP), "ds", far)
    if "part" in raw.columns:
        report(~raw["part"].isin(["train", "test"]), "part", "is neither 'train' nor 'test'")
        out["part"] = raw["part"]
    found.raise_if_any()
    return out


def held_out(
    frame: pd.DataFrame, test: pd.DataFrame | None, *, horizon: int, season_length: int = 7
) -> list[HeldOut]:
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
        parts = "part" in group.columns
        train = group[group["part"] == "train"] if parts else group
        if train["y"].notna().sum() == 0:
            continue
        series = DailySeries.of(group["ds"], group["y"], name=str(name), season_length=season_length)
        rows = len(series) - horizon
        if parts:
            first, last = group.loc[group["part"] == "test", "ds"].min(), train["ds"].max()
            if first <= last:
                raise InvalidInput.at(
                    f"series {name}", f"has a test day {first:%Y-%m-%d} before its training ends"
                )
            rows = (last.to_datetime64().astype("datetime64[D]").astype(np.int64)) - series.first_day + 1
        if rows >= 1 and np.isfinite(series.values[:rows]).any():
            out.append(HeldOut(series, int(rows)))
    if not out:
        raise InvalidInput.at(
            "data", f"no series has a value before its last {horizon} days; expected longer series"
        )
    return out


def _row(scores: Scores) -> dict[str, Any]:
    row = {name: getattr(scores, name).value for name in NAMES}
    return row | {"coverage_90": row.pop("coverage"), "mape_dropped_share": scores.mape_dropped_share}


def members_for(series: Sequence[HeldOut]) -> tuple[Method, ...]:
    """`MEMBERS`, and the intermittent-demand methods where more than a fifth of all known days are 0."""
    known = np.concatenate([one.series.values[: one.rows] for one in series])
    known = known[np.isfinite(known)]
    return MEMBERS + INTERMITTENT if (known == 0).mean() > 0.2 else MEMBERS


def evaluate(
    series: Sequence[HeldOut],
    *,
    horizon: int,
    methods: Sequence[Method] | None = None,
    origins: int = 3,
    pool: ProcessPoolExecutor | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Forecast the test days of every series and measure: see `summarise`.

    `methods` (None: `members_for` the data) are compared, and members chosen from them, by so many validation
    `origins`. `progress` is called with the number of origins done; `origins` + 1 per series at most.
    """
    chosen = tuple(methods) if methods is not None else members_for(series)
    tasks = [
        Task(one.series, [*newest_rows(one.rows, horizon=horizon, count=origins), one.rows], tidy=True)
        for one in series
    ]
    found = forecast_origins(tasks, methods=chosen, horizon=horizon, pool=pool, progress=progress)
    return summarise(found, methods=chosen)


def summarise(origins: Sequence[Sequence[Origin]], *, methods: Sequence[Method]) -> dict[str, Any]:
    """Learn from each series' validation origins and measure on its last one: the object of `adsml evaluate --json`.

    ``combinations`` are others for comparison: the asked-for one, the median of four statistical models.
    ``validation`` is the scaled absolute error of each method on the validation cutoffs, by which the best single one
    is chosen; ``totals`` are of the ensemble's sums over the horizon: wMAPE, and coverage and mean relative width of
    the intervals. Weights are none where histories are too short to learn them.
    """
    validation, test = [one[:-1] for one in origins], [one[-1] for one in origins]
    horizon = len(test[0].actual)
    gone = np.full(horizon, np.nan)

    def learnt(members: Sequence[Method], weights: Weights | None = None) -> Calibration | None:
        return calibrate(validation, members=members, level=LEVEL, weights=weights)

    def scored(points: Sequence[Vector], calibration: Calibration | None) -> Scores:
        found = as_forecasts(test, points)
        if calibration is not None:
            set_intervals(found, test, calibration.quantiles.reach(LEVEL, horizon))
        return measure(found, level=LEVEL)

    def combined(weights: Weights, members: Sequence[Method]) -> list[Vector]:
        return [combine(weights, have)[0] if (have := o.only(members)) else gone for o in test]

    calibration = learnt(methods)
    own = {method: learnt([method], Weights.equal(Combiner.MEAN, [method])) for method in methods}
    scores = {m: scored([o.forecasts.get(m, gone) for o in test], own[m]) for m in methods}
    weights = Weights.equal(Combiner.MEDIAN, methods) if calibration is None else calibration.weights
    ensemble = combined(weights, methods)
    combinations: dict[str, Scores] = {}
    if set(CLASSIC) <= set(methods):
        points = _classic(validation, test, gone)
        combinations["PROPHET_EMA_LINEAR_INVERSE_MAPE"] = scored(points, None)
    if set(_FOUR) <= set(methods):
        four = Weights.equal(Combiner.MEDIAN, _FOUR)
        combinations["MEDIAN_OF_FOUR"] = scored(combined(four, _FOUR), learnt(_FOUR, four))
    losses = {m: float("inf") if c is None else c.losses.get(m.value, float("inf")) for m, c in own.items()}
    best = min(losses, key=lambda m: losses[m])
    every = [o for one in origins for o in one]
    return {
        "methods": {m.value: _row(scores[m]) for m in methods},
        "ensemble": _row(scored(ensemble, calibration))
        | {
            "combiner": calibration and calibration.weights.combiner,
            "weights": dict(calibration.weights.weights) if calibration else {},
            "validation_coverage": calibration and calibration.coverage,
            "totals": _totals(test, ensemble, calibration),
        },
        "combinations": {name: _row(one) for name, one in combinations.items()},
        "best_single_on_validation": {"name": best.value}
        | {name: getattr(scores[best], name).value for name in ("wmape", "smape", "mase")},
        "validation": {m.value: error for m, error in losses.items()},
        "failures": {m.value: sum(m in o.failures for o in every) for m in methods},
        "series": len(test),
        "method_seconds": {m.value: round(sum(o.seconds.get(m, 0.0) for o in every), 2) for m in methods},
    }


def _totals(
    test: Sequence[Origin], points: Sequence[Vector], calibration: Calibration | None
) -> dict[str, float | None]:
    """How the sums over the horizon did; series with a day missing in it are left out."""
    inside: list[bool] = []
    widths: list[float] = []
    miss = actual = 0.0
    for origin, point in zip(test, points, strict=True):
        if not (np.isfinite(origin.actual).all() and np.isfinite(point).all()):
            continue
        total, expected = float(origin.actual.sum()), float(point.sum())
        miss, actual = miss + abs(total - expected), actual + abs(total)
        spread = total_spread(origin.history.values, horizon=len(point))
        reach = spread.reach(LEVEL, None if calibration is None else calibration.totals)
        lower, upper = total_interval(expected, spread, reach=reach)
        inside.append(lower <= total <= upper)
        widths.append(upper - lower)
    if not inside or not actual:
        return {"wmape": None, "coverage_90": None, "relative_width": None}
    return {
        "wmape": miss / actual,
        "coverage_90": float(np.mean(inside)),
        "relative_width": float(np.sum(widths)) / actual,
    }


def _classic(validation: Sequence[Sequence[Origin]], test: Sequence[Origin], gone: Vector) -> list[Vector]:
    """The asked-for ensemble, weighed per series on the newest validation cutoff."""
    out = []
    for before, now in zip(validation, test, strict=True):
        have = now.only(CLASSIC)
        if not have:
            out.append(gone)
            continue
        weights = Weights.equal(Combiner.INVERSE_MAPE, list(have))
        if before and set(have) <= set(before[-1].forecasts):
            weights = inverse_mape(before[-1].actual, before[-1].only(list(have)))
        out.append(combine(weights, have)[0])
    return out
