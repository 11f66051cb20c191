"""Panels without any change: public ones, and simulated ones whose disturbances are known."""

import os
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml_simulate import clean, simulate_account

FloatArray = npt.NDArray[np.float64]

DATA = Path(
    os.environ.get("ADSML_SHARED_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data")
)


def geolift() -> FloatArray:
    """40 markets x 90 days before anything was tested."""
    frame = pd.read_csv(DATA / "impact" / "geolift_pretest.csv")
    return frame.pivot(index="location", columns="date", values="Y").to_numpy(float)


def nn5() -> FloatArray:
    """56 cash machines x 791 days; the 2% of missing days are interpolated."""
    frame = pd.read_csv(DATA / "forecasting" / "nn5_daily_dev.csv")
    wide = frame.pivot(index="ds", columns="series_id", values="y")
    return wide.interpolate(limit_direction="both").to_numpy(float).T


def account_leads(seed: int) -> FloatArray:
    """Daily leads of 24 ad sets x 120 days of `adsml simulate`: nothing happens but season and chance."""
    return account_columns(seed)["leads"]


def account_columns(seed: int) -> dict[str, FloatArray]:
    """The same account's spend, impressions, clicks and leads."""
    settings = replace(clean(last_day=date(2024, 6, 30)), campaigns=8, adsets=24, ads=60)
    daily = simulate_account(settings, seed=seed).daily
    rows = daily[daily["entity_type"] == "adset"]
    return {
        column: rows.pivot(index="entity_id", columns="date", values=column).fillna(0.0).to_numpy(float)
        for column in ("spend", "impressions", "clicks", "leads")
    }


def autocorrelated(
    seed: int, *, units: int = 25, days: int = 120, shock_at: int | None = None, shock: float = 0.5
) -> FloatArray:
    """Counts with autocorrelated units, weekly season, and a market that units follow unequally.

    Parameters
    ----------
    seed
        Of everything drawn.
    shock_at
        From that day on the whole market moves by `shock` (in logs); units follow it with loadings of mean 1
        and standard deviation 0.3, which no day before has shown.
    """
    rng = np.random.default_rng(seed)
    level = 60 * np.exp(rng.normal(0, 1.0, units))
    loading = np.maximum(0, 1 + rng.normal(0, 0.3, units))
    weekday = rng.normal(0, 0.15, 7)[None, :] + rng.normal(0, 0.05, (units, 7))
    market = _ar(rng, 1, days, phi=0.9, sd=0.15)
    if shock_at is not None:
        market[:, shock_at:] += shock
    phi = np.clip(rng.normal(0.6, 0.15, units), 0, 0.95)
    own = np.concatenate([_ar(rng, 1, days, phi=p, sd=0.25 * np.exp(rng.normal(0, 0.3))) for p in phi])
    log_mean = np.log(level)[:, None] + loading[:, None] * market + weekday[:, np.arange(days) % 7] + own
    return rng.poisson(np.exp(log_mean)).astype(float)


def _ar(rng: np.random.Generator, rows: int, days: int, *, phi: float, sd: float) -> FloatArray:
    steps = rng.normal(0, sd * np.sqrt(1 - phi**2), (rows, days + 50))
    out = np.zeros_like(steps)
    for t in range(1, days + 50):
        out[:, t] = phi * out[:, t - 1] + steps[:, t]
    return out[:, 50:]
