"""What a daily frame looks like in a few figures, to hold a simulated account against a real one."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml_common.domain.metrics import divide

FloatArray = npt.NDArray[np.float64]

_SERIES: Final = ("spend", "impressions", "clicks", "leads", "cpl", "ctr", "cpm", "conversion_rate")
_LEAST_DAYS, _LEAST_LEADS = 45, 100
"""An entity's own series are looked at from this many days with leads, and leads in all."""


def moments(daily: pd.DataFrame) -> pd.DataFrame:
    """Figures by level.

    Parameters
    ----------
    daily
        A daily frame.

    Returns
    -------
    frame indexed by entity_type
        ``entities``; ``log_spend_sd`` and ``top_tenth_spend_share`` of entities' total spend; ``ctr`` and
        ``conversion_rate`` (percent), ``cpl``, ``cpm`` of the level as a whole; ``zero_lead_days`` (share of
        rows); ``log_cpl_sd`` over entities with 20 leads or more; and for ``spend``, ``leads``, ``cpl``, ...
        medians over entities with 45 days and 100 leads or more, of the daily log's standard deviation with
        weekday means taken out (``..._sd``), of its lag-1 autocorrelation (``..._lag1``), and of the share
        of variance that weekdays explain (``..._weekday``). Missing where no entity has enough.
    """
    return pd.DataFrame(
        {str(level): _of_level(rows) for level, rows in daily.groupby("entity_type", sort=True)}
    ).T.rename_axis("entity_type")


def _of_level(rows: pd.DataFrame) -> dict[str, float]:
    total = rows.groupby("entity_id")[["spend", "impressions", "clicks", "leads"]].sum()
    whole = total.sum()
    spend = np.sort(total["spend"].to_numpy(dtype=np.float64))
    tenth = max(1, spend.size // 10)
    enough = total[total["leads"] >= 20]
    out = {
        "entities": float(len(total)),
        "log_spend_sd": _sd(np.log(spend[spend > 0])),
        "top_tenth_spend_share": float(spend[-tenth:].sum() / spend.sum()),
        "ctr": float(divide(whole["clicks"], whole["impressions"], scale=100.0)),
        "conversion_rate": float(divide(whole["leads"], whole["clicks"], scale=100.0)),
        "cpl": float(divide(whole["spend"], whole["leads"])),
        "cpm": float(divide(whole["spend"], whole["impressions"], scale=1000.0)),
        "zero_lead_days": float((rows["leads"] == 0).mean()),
        "log_cpl_sd": _sd(np.log(divide(enough["spend"], enough["leads"]))),
    }
    shapes: dict[str, list[tuple[float, float, float]]] = {name: [] for name in _SERIES}
    for _, own in rows.groupby("entity_id"):
        if len(own) >= _LEAST_DAYS and own["leads"].sum() >= _LEAST_LEADS:
            for name, values in _logs(own).items():
                shapes[name].append(_shape(values))
    for name, found in shapes.items():
        for what, figures in zip(("sd", "lag1", "weekday"), np.array(found).reshape(-1, 3).T, strict=True):
            present = figures[~np.isnan(figures)]
            out[f"{name}_{what}"] = float(np.median(present)) if present.size else float("nan")
    return out


def _sd(values: FloatArray) -> float:
    return float(values.std(ddof=1)) if values.size > 1 else float("nan")


def _logs(own: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """Log series of one entity by day; counts as log(1 + x), ratios missing where they are 0 or missing."""
    by_day = own.set_index("date")
    ratios = {
        "cpl": divide(by_day["spend"], by_day["leads"]),
        "ctr": divide(by_day["clicks"], by_day["impressions"]),
        "cpm": divide(by_day["spend"], by_day["impressions"]),
        "conversion_rate": divide(by_day["leads"], by_day["clicks"]),
    }
    out = {name: np.log1p(by_day[name]) for name in ("spend", "impressions", "clicks", "leads")}
    for name, values in ratios.items():
        positive = np.where(values > 0, values, np.nan)
        out[name] = pd.Series(np.log(positive), index=by_day.index)
    return out


def _shape(values: "pd.Series[float]") -> tuple[float, float, float]:
    present = values.dropna()
    if len(present) < _LEAST_DAYS or present.var() == 0:
        return (float("nan"),) * 3
    weekday = pd.DatetimeIndex(present.index).dayofweek
    residual = present - present.groupby(weekday).transform("mean")
    # By calendar, so that a gap does not pair a day with one that is not its neighbour.
    every_day = residual.asfreq("D").to_numpy()
    today, tomorrow = every_day[:-1], every_day[1:]
    pairs = ~np.isnan(today) & ~np.isnan(tomorrow)
    both = np.stack([today[pairs], tomorrow[pairs]])
    still = (np.ptp(both, axis=1) < 1e-9).any() if pairs.sum() > 1 else True
    lag1 = float("nan") if still else float(np.corrcoef(both)[0, 1])
    return float(residual.std()), lag1, float(1 - residual.var() / present.var())
