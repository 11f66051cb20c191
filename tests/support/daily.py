"""Daily frames with known contents."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd
from adsml_common.domain.daily import normalise


def daily_frame(
    *,
    entity_type: str = "adset",
    ids: Sequence[str] = ("1",),
    days: int = 3,
    start: date = date(2024, 1, 1),
    seed: int = 0,
) -> pd.DataFrame:
    """A normalised frame of whole numbers, the same for the same arguments; reach is unknown on odd rows."""
    rng = np.random.default_rng(seed)
    rows = len(ids) * days
    return normalise(
        pd.DataFrame(
            {
                "entity_type": np.full(rows, entity_type, dtype=object),
                "entity_id": np.repeat(np.array(ids, dtype=object), days),
                "date": np.tile(pd.date_range(start, periods=days).to_numpy(), len(ids)),
                "spend": rng.integers(1, 10_000, rows) / 100,
                "impressions": rng.integers(1000, 5000, rows),
                "clicks": rng.integers(0, 100, rows),
                "leads": rng.integers(0, 5, rows),
                "reach": np.where(np.arange(rows) % 2, np.nan, rng.integers(500, 900, rows)),
            }
        )
    )
