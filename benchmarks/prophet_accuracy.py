"""Held-out error of tuned Prophet beside default Prophet, seasonal naive and AutoETS."""

import time
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import prophet_series
from adsml_forecasting.models.prophet.design import History, make_features
from adsml_forecasting.models.prophet.settings import DEFAULTS, GRID, Combination, Seasons
from adsml_forecasting.models.prophet.tuning import (
    FoldForecasts,
    TuningOutcome,
    TuningResult,
    forecast_folds,
    tune_many,
)
from adsml_forecasting.training.jobs import HELD_OUT_WEEKS, prophet_gate
from adsml_simulate import small_accounts
from prophet_series import daily
from rich.console import Console
from rich.table import Table
from statsforecast.models import AutoETS

Array = npt.NDArray[np.float64]


def simulated(metric: str, *, days: int, accounts: int) -> dict[str, pd.DataFrame]:
    """Daily leads or CPL of campaigns and ad sets with a lead a day on average; CPL is missing without leads."""
    out = {}
    for account in small_accounts(accounts, last_day=date(2026, 3, 31), seed=5, days=days):
        above = account.daily[account.daily["entity_type"] != "ad"]
        for key, rows in above.groupby(["entity_type", "entity_id"]):
            if len(rows) < days or rows["leads"].mean() < 1:
                continue
            leads = rows["leads"].to_numpy(float)
            y = (
                leads
                if metric == "leads"
                else rows["spend"].to_numpy(float) / np.where(leads > 0, leads, np.nan)
            )
            name = f"{account.settings.config_id}-{'-'.join(key)}"
            out[name] = pd.DataFrame({"ds": rows["date"].to_numpy(), "y": y})
    return out


def _filled(frame: pd.DataFrame) -> Array:
    """Every day a value: a missing one is that of a week before, or the first known."""
    y = frame["y"].to_numpy(float).copy()
    for at in np.flatnonzero(np.isnan(y)):
        y[at] = y[at - 7] if at >= 7 else np.nan
    return pd.Series(y).ffill().bfill().to_numpy(float)


def _others(frame: pd.DataFrame, rows: int, horizon: int, weeks: int) -> dict[str, Array]:
    """Seasonal naive and AutoETS, week by week, over the held-out rows."""
    y = _filled(frame)
    naive, ets = [], []
    for week in range(weeks):
        seen = y[: rows + week * horizon]
        naive.append(np.resize(seen[-7:], horizon))
        ets.append(AutoETS(season_length=7).forecast(y=seen, h=horizon)["mean"])
    return {"seasonal naive": np.concatenate(naive), "AutoETS": np.concatenate(ets)}


def _wmape(actual: Array, forecast: Array) -> float:
    return float(np.abs(actual - forecast).sum() / np.abs(actual).sum())


def _gate(frame: pd.DataFrame, combination: Combination) -> bool:
    """Whether training would let parameters serve that were chosen on all of the frame but its last two weeks."""
    history = History.of(daily(frame))
    held = 7 * HELD_OUT_WEEKS
    last = int(np.datetime64(frame["ds"].iloc[-1], "D").astype(int))
    cutoffs = last - held + 7 * np.arange(HELD_OUT_WEEKS)
    found = forecast_folds(
        history,
        make_features(history.days, Seasons.of(history.days)),
        (combination, DEFAULTS),
        cutoffs,
        horizon=7,
    )
    if not np.abs(found.actual).sum() > 0:
        return False
    tuned, default = (_wmape(found.actual, forecast) for forecast in found.forecasts)
    known = frame["y"].notna().to_numpy()[-held:]
    naive = _wmape(found.actual, _filled(frame)[-held - 7 : -7][known])
    return prophet_gate(100 * tuned, 100 * default, 100 * naive).passed


def case(
    series: dict[str, pd.DataFrame], tuned: dict[str, TuningResult], *, rows: int, horizon: int, weeks: int
) -> dict[str, Any]:
    """Forecast so many horizons after the first `rows` rows, with a refit before each.

    Parameters
    ----------
    tuned
        By the first `rows` rows but two weeks, which the gate judges by, as `adsml train prophet` does.

    Returns
    -------
    The mean over series of wMAPE over the held-out rows, by method. ``best of the grid`` is the combination
    that is best *on the held-out rows*: what no choice among the 40 can beat. ``Prophet as served`` is tuned
    where the gate lets it, default elsewhere; ``let_in`` is about the former alone.
    """
    errors: dict[str, list[float]] = {}
    let_in: list[bool] = []
    for name, frame in series.items():
        known = frame["y"].notna().to_numpy()
        actual_all = frame["y"].to_numpy(float)[rows : rows + horizon * weeks]
        present = ~np.isnan(actual_all)
        actual = actual_all[present]
        if known[:rows].sum() < 2 or np.abs(actual).sum() == 0:
            continue
        history = History.of(daily(frame))
        last = int(np.datetime64(frame["ds"].iloc[rows - 1], "D").astype(int))
        cutoffs = last + horizon * np.arange(weeks)
        # Seasons by what is known at the first cutoff, as when it was tuned.
        seasons = Seasons.of(History.of(daily(frame.iloc[:rows])).days)
        found: FoldForecasts = forecast_folds(
            history, make_features(history.days, seasons), GRID, cutoffs, horizon=horizon
        )
        if len(found.actual) != len(actual):
            continue
        for method, row in (("default Prophet", DEFAULTS), ("tuned Prophet", tuned[name].combination)):
            errors.setdefault(method, []).append(_wmape(actual, found.forecasts[GRID.index(row)]))
        chosen = tuned[name]
        let_in.append(chosen.outcome is TuningOutcome.TUNED and _gate(frame.iloc[:rows], chosen.combination))
        served = errors["tuned Prophet" if let_in[-1] else "default Prophet"][-1]
        errors.setdefault("Prophet as served", []).append(served)
        best = min(_wmape(actual, forecast) for forecast in found.forecasts)
        errors.setdefault("best of the grid, in hindsight", []).append(best)
        for method, forecast in _others(frame, rows, horizon, weeks).items():
            errors.setdefault(method, []).append(_wmape(actual, forecast[present]))
    means = {method: float(np.mean(values)) for method, values in errors.items()}
    default, by_tuning = (np.array(errors[method]) for method in ("default Prophet", "tuned Prophet"))
    draws = np.random.default_rng(0).integers(len(default), size=(2000, len(default)))
    gains = 1 - by_tuning[draws].mean(axis=1) / default[draws].mean(axis=1)
    inside = np.array(let_in)
    return {
        "series": len(default),
        "rows": rows,
        "horizon": horizon,
        "origins": weeks,
        "tuned": sum(result.outcome is TuningOutcome.TUNED for result in tuned.values()),
        "wmape": means,
        "lower_than_default": 1 - means["tuned Prophet"] / means["default Prophet"],
        "lower_than_default_95": [float(value) for value in np.quantile(gains, [0.025, 0.975])],
        "let_in": int(inside.sum()),
        "let_in_lower_than_default": float(1 - by_tuning[inside].sum() / default[inside].sum())
        if inside.any()
        else None,
        "hindsight_lower_than_default": 1
        - means["best of the grid, in hindsight"] / means["default Prophet"],
    }


def accuracy(console: Console, *, every: int) -> dict[str, Any]:
    """Every n-th series of all cases, cheapest first, as a table and as figures."""
    # One tuning for both ways of holding out.
    plans: list[tuple[str, dict[str, pd.DataFrame], int, int, int]] = [
        (f"simulated {metric}", simulated(metric, days=148, accounts=12), 120, 4, 28)
        for metric in ("leads", "cpl")
    ]
    for days in (120, 735):
        recent = {
            name: y.iloc[735 - days :].reset_index(drop=True) for name, y in prophet_series.nn5().items()
        }
        if recent:
            plans.append(("NN5", recent, days, 8, 56))
    cases: dict[str, dict[str, Any]] = {}
    for name, found, rows, weeks, ahead in plans:
        began = time.perf_counter()
        series = dict(list(found.items())[::every])
        tuned = tune_many(
            {key: daily(frame.iloc[: rows - 7 * HELD_OUT_WEEKS]) for key, frame in series.items()}
        )
        cases[f"{name}, {rows} days, {weeks} weeks"] = case(series, tuned, rows=rows, horizon=7, weeks=weeks)
        at_once = case(series, tuned, rows=rows, horizon=ahead, weeks=1)
        cases[f"{name}, {rows} days, {ahead} days at once"] = at_once
        console.print(f"[dim]{name}, {rows} days: {time.perf_counter() - began:.0f} s[/]")
    table = Table(title="wMAPE on held-out days, mean over series")
    methods = list(next(iter(cases.values()))["wmape"])
    for heading in ("", "series", *methods, "tuned below default (95%)", "let in", "those below default"):
        table.add_column(heading, justify="right")
    for name, row in cases.items():
        low, high = row["lower_than_default_95"]
        table.add_row(
            name,
            str(row["series"]),
            *(f"{row['wmape'][method]:.4f}" for method in methods),
            f"{row['lower_than_default']:.1%} ({low:.1%} to {high:.1%})",
            str(row["let_in"]),
            "-" if row["let_in_lower_than_default"] is None else f"{row['let_in_lower_than_default']:.1%}",
        )
    console.print(table)
    return {"accuracy": cases}
