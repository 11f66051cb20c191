"""The frame of daily rows that every reader, store and model passes around.

Columns: ``entity_type`` (str), ``entity_id`` (str), ``date`` (datetime64[ns], midnight, no zone), ``spend`` (account
currency), ``impressions``, ``clicks``, ``leads``, ``reach`` (float64; reach NaN where unknown). One row per entity
and day, sorted by entity and day. One account per frame, unless a ``config_id`` column says otherwise. A day without
a row is a day without delivery.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from adsml_common.domain.errors import Violations
from adsml_common.domain.metrics import REQUIRED, STORED

KEYS: Final[tuple[str, ...]] = ("entity_type", "entity_id", "date")
COLUMNS: Final[tuple[str, ...]] = (*KEYS, *STORED)
_MAX_VIOLATIONS = 50


def empty() -> pd.DataFrame:
    """A daily frame without rows, with the right column types."""
    return normalise(pd.DataFrame({name: [] for name in COLUMNS}))


def normalise(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its columns in order, typed and sorted; a missing ``reach`` becomes NaN. Nothing is checked."""
    out = frame.assign(reach=np.nan) if "reach" not in frame.columns else frame
    out = out.loc[:, list(COLUMNS)]
    types: dict[str, object] = {"entity_type": object, "entity_id": object, "date": "datetime64[ns]"}
    types |= dict.fromkeys(STORED, np.float64)
    out = out.astype(types)  # type: ignore[arg-type]  # pandas-stubs does not take a mixed mapping
    return out.sort_values(list(KEYS), kind="stable", ignore_index=True)


def check(frame: pd.DataFrame, *, path: str = "rows") -> None:
    """Raise `InvalidInput` naming every row (by its place in the caller's order) that no model may see.

    That is negative, NaN (but for reach) or infinite values, a missing date, or two rows for one entity and day.
    """
    found = Violations()

    def report(mask: npt.ArrayLike, name: str, what: str) -> None:
        for row in np.flatnonzero(np.asarray(mask))[:_MAX_VIOLATIONS]:
            shown = frame[name].iloc[row] if name in frame.columns else None
            found.add(f"{path}[{row}].{name}", f"is {shown}; {what}")

    for name in STORED:
        if name not in frame.columns:
            if name in REQUIRED:
                found.add(path, f"has no {name}; every daily row needs {', '.join(REQUIRED)}")
            continue
        values = frame[name].to_numpy(dtype=np.float64)
        missing = np.isnan(values)
        if name in REQUIRED:
            report(missing, name, "expected a number; send 0 for a day without any")
        report(~missing & ~np.isfinite(values), name, "expected a finite number")
        report(np.isfinite(values) & (values < 0), name, "expected 0 or more")
    report(frame["date"].isna(), "date", "expected a calendar date")
    report(
        frame.duplicated(list(KEYS), keep="first") & frame["date"].notna(),
        "date",
        "there is an earlier row for this entity and day; send one row per entity and day",
    )
    found.raise_if_any()
