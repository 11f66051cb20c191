"""Accounts with known contents, by hand and by simulation."""

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import pandas as pd
from adsml_classifier.models.panel import Panel
from adsml_common.domain.daily import normalise
from adsml_simulate import SimulatedAccount

START = date(2026, 1, 5)


def days_of(
    entity_id: str,
    *,
    spend: Sequence[float],
    leads: Sequence[float],
    clicks: Sequence[float] | None = None,
    reach: Sequence[float] | None = None,
    entity_type: str = "adset",
    start: date = START,
) -> pd.DataFrame:
    """One entity's days: 100 impressions for each unit spent."""
    return pd.DataFrame(
        {
            "entity_type": entity_type,
            "entity_id": entity_id,
            "date": pd.date_range(start, periods=len(spend)),
            "spend": np.asarray(spend, dtype=float),
            "impressions": 100.0 * np.asarray(spend, dtype=float),
            "clicks": np.asarray(spend if clicks is None else clicks, dtype=float),
            "leads": np.asarray(leads, dtype=float),
            "reach": np.nan if reach is None else np.asarray(reach, dtype=float),
        }
    )


def frame_of(*parts: pd.DataFrame) -> pd.DataFrame:
    """Some entities as one daily frame."""
    return normalise(pd.concat(parts, ignore_index=True))


def week_panel(entities: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Panel:
    """A panel of ad sets from their daily spend and leads."""
    return Panel.of(frame_of(*(days_of(k, spend=s, leads=n) for k, (s, n) in entities.items())))


def tree_of(account: SimulatedAccount) -> pd.DataFrame:
    """The tree of a simulated account."""
    rows = [(one.ref.entity_type.value, one.ref.entity_id, one.parent_id) for one in account.entities]
    return pd.DataFrame(rows, columns=["entity_type", "entity_id", "parent_id"])


def panel_of(account: SimulatedAccount) -> Panel:
    """The panel of a simulated account."""
    return Panel.of(account.daily, entities=tree_of(account))
