"""Daily frames as series."""

from collections.abc import Iterator
from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
from adsml_common.domain.entities import EntityRef, EntityType

from adsml_anomaly.channels import COLUMNS, Days, calendar_of


def series(frame: pd.DataFrame, config_id: int, *, last_day: date | None = None) -> dict[EntityRef, Days]:
    """The series of a daily frame, sorted by level and id as the store gives it.

    Parameters
    ----------
    frame
        See `adsml_common.domain.daily`.
    config_id
        Its account.
    last_day
        Fill every series up to here: the account's last day.
    """
    return dict(_each(frame, config_id, last_day))


def _each(frame: pd.DataFrame, config_id: int, last_day: date | None) -> Iterator[tuple[EntityRef, Days]]:
    if frame.empty:
        return
    levels, ids = frame["entity_type"].to_numpy(dtype=object), frame["entity_id"].to_numpy(dtype=object)
    days = frame["date"].to_numpy(dtype="datetime64[D]")
    values = frame[list(COLUMNS)].to_numpy(dtype=np.float64)
    new = np.flatnonzero((levels[1:] != levels[:-1]) | (ids[1:] != ids[:-1])) + 1
    bounds = [0, *new.tolist(), len(frame)]
    for a, b in pairwise(bounds):
        ref = EntityRef(config_id, EntityType(levels[a]), ids[a])
        yield ref, calendar_of(days[a:b], values[a:b], last_day=last_day)
