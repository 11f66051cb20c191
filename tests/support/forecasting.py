"""Series with known courses for tests of forecasting."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml_common.domain.daily import normalise
from adsml_forecasting.models.series import DailySeries

MONDAY = 19_723  # 2024-01-01
WEEK = np.array([1.3, 1.2, 1.1, 1.0, 0.9, 0.7, 0.8])


def weekly(days: int, *, level: float = 100.0, noise: float = 0.0, seed: int = 0) -> npt.NDArray[np.float64]:
    """A level times a weekday factor, with relative noise."""
    rng = np.random.default_rng(seed)
    season = WEEK[np.arange(days) % 7]
    return level * season * (1 + noise * rng.standard_normal(days))


def series(values: npt.ArrayLike, *, first_day: int = MONDAY) -> DailySeries:
    """Values from 2024-01-01 on."""
    return DailySeries(first_day, np.asarray(values, dtype=np.float64), True, "campaign 7")


def account(entities: dict[str, int], *, seed: int = 0, level: str = "campaign") -> pd.DataFrame:
    """A daily frame: campaigns with Poisson leads of so many days each, ending on the same day."""
    rng = np.random.default_rng(seed)
    longest = max(entities.values())
    frames = []
    for name, days in entities.items():
        at = np.arange(longest - days, longest)
        leads = rng.poisson(20 * WEEK[at % 7])
        clicks = leads * 12 + rng.poisson(30, days)
        frames.append(
            pd.DataFrame(
                {
                    "entity_type": level,
                    "entity_id": name,
                    "date": pd.Timestamp("2024-01-01") + pd.to_timedelta(at, unit="D"),
                    "spend": np.round(200 * WEEK[at % 7] + rng.normal(0, 5, days), 2),
                    "impressions": clicks * 80,
                    "clicks": clicks,
                    "leads": leads,
                    "reach": clicks * 50,
                }
            )
        )
    return normalise(pd.concat(frames))
