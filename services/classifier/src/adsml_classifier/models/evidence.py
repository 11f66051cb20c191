"""The sums behind an answer, for its metrics and its reasons."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from adsml_common.domain.metrics import divide

from adsml_classifier.models.panel import FloatArray, IntArray, Panel

_ENTITY: Final = (
    ("spend", 7), ("impressions", 7), ("clicks", 7), ("leads", 7), ("reach", 7), ("reach_known", 7),
    ("delivery_days", 7), ("lead_days", 7), ("spend", 3), ("leads", 3), ("spend", 28), ("leads", 28),
)  # fmt: skip
_ACCOUNT: Final = (
    ("spend", 7), ("impressions", 7), ("clicks", 7), ("leads", 7), ("spend", 3), ("leads", 3), ("spend", 28),
    ("leads", 28),
)  # fmt: skip
_BEFORE: Final = ("spend", "clicks", "leads")


@dataclass(frozen=True, eq=False)
class Evidence:
    """Sums over windows that end on the as-of day, named like ``spend_7``; money in the account's currency.

    ``spend_before`` and its like are of the 7 days before the last 7; ``siblings_spend_28`` and ``siblings_leads_28``
    are the parent's without the entity's own, NaN where no parent is known.
    """

    entity: Mapping[str, FloatArray]  # of shape (entities,)
    account: Mapping[str, float]

    def __getitem__(self, name: str) -> FloatArray:
        """One of the entities' sums."""
        return self.entity[name]

    @classmethod
    def of(cls, panel: Panel, day: IntArray) -> "Evidence":
        """The sums as of one column of a panel, shape (1,)."""
        running = panel.running
        entity = {f"{name}_{window}": running[name].last(window, day)[:, 0] for name, window in _ENTITY}
        account = {
            f"{name}_{window}": float(panel.account[name].last(window, day)[0]) for name, window in _ACCOUNT
        }
        for name in _BEFORE:
            entity[f"{name}_before"] = running[name].last(7, day, back=7)[:, 0]
            account[f"{name}_before"] = float(panel.account[name].last(7, day, back=7)[0])
        known = panel.parent >= 0
        above = np.maximum(panel.parent, 0)
        for name in ("spend", "leads"):
            own = entity[f"{name}_28"]
            entity[f"siblings_{name}_28"] = np.where(known, np.maximum(own[above] - own, 0.0), np.nan)
        return cls(entity, account)

    def expected_leads(self, window: int) -> FloatArray:
        """Leads that a window's spend would have bought at the account's CPL of that window; NaN without one."""
        return self[f"spend_{window}"] * self.account_ratio(f"leads_{window}", f"spend_{window}")

    def ratio(self, top: str, bottom: str, *, scale: float = 1.0) -> FloatArray:
        """An entity's ratio of two sums; NaN where the lower is 0."""
        return divide(self[top], self[bottom], scale=scale)

    def account_ratio(self, top: str, bottom: str, *, scale: float = 1.0) -> float:
        """The account's; NaN where the lower or the upper is 0: nothing can be held against it."""
        above, below = self.account[top], self.account[bottom]
        return scale * above / below if above > 0 and below > 0 else float("nan")
