"""The query, and the data it is asked of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

import pandas as pd
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import Violations
from adsml_common.domain.metrics import Metric

from adsml_impact.analysis.controls import Tree
from adsml_impact.analysis.series import Series, from_daily
from adsml_impact.models.estimators import Estimator

FEWEST_DAYS = 3
"""Days a side below which nothing is compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What may be asked for beside the change; defaults as documented in the contract.

    Attributes
    ----------
    before_days, after_days
        Days compared, 3 to 90; None: 7, of the days after as many as there are.
    washout_days
        Days left out after the change, 0 to 28.
    baseline_days
        Days the counterfactual is fitted on, 3 to 365; None: 56 or as many as there are.
    metrics, primary_metric
        Empty and None: by change type.
    estimator
        None: synthetic control, or structural with fewer than three controls.
    alpha
        0.001 to 0.2.
    equivalence_margin_percent
        Above 0 to 50.
    max_placebos
        19 to 10,000.
    drop_last_days
        Trailing days of the data left out, 0 to 28.
    with_series
        Whether the daily series are wanted.
    """

    before_days: int | None = None
    after_days: int | None = None
    washout_days: int = 0
    baseline_days: int | None = None
    metrics: tuple[Metric, ...] = ()
    primary_metric: Metric | None = None
    estimator: Estimator | None = None
    alpha: float = 0.05
    equivalence_margin_percent: float = 10.0
    max_placebos: int = 1000
    drop_last_days: int = 0
    with_series: bool = True

    def check(self, found: Violations, *, path: str = "options") -> None:
        """Note everything out of range."""
        for name, low, high in (
            ("before_days", FEWEST_DAYS, 90),
            ("after_days", FEWEST_DAYS, 90),
            ("washout_days", 0, 28),
            ("baseline_days", FEWEST_DAYS, 365),
            ("max_placebos", 19, 10_000),
            ("drop_last_days", 0, 28),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                found.add(f"{path}.{name}", f"is {value}; expected {low} to {high}")
        if not 0.001 <= self.alpha <= 0.2:
            found.add(f"{path}.alpha", f"is {self.alpha:g}; expected 0.001 to 0.2")
        if not 0 < self.equivalence_margin_percent <= 50:
            found.add(
                f"{path}.equivalence_margin_percent",
                f"is {self.equivalence_margin_percent:g}; expected above 0, at most 50",
            )
        for k, metric in enumerate(self.metrics):
            if metric in self.metrics[:k]:
                found.add(f"{path}.metrics[{k}]", f"{metric} is asked for twice")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpactQuery:
    """A query about one change: what did it do.

    Attributes
    ----------
    treated
        Ids of the entities that were changed together.
    entity_type
        Their level.
    change_type, day
        The change; `day` is the first in force, in the account's time zone. None (only for a planned
        change): the day after the data.
    value_before, value_after
        The daily budget, where it was changed and is known.
    controls
        Empty: chosen.
    excluded_controls
        Never chosen.
    options
        See `Options`.
    """

    treated: tuple[str, ...]
    entity_type: EntityType
    change_type: ChangeType
    day: date | None
    value_before: float | None = None
    value_after: float | None = None
    controls: tuple[str, ...] = ()
    excluded_controls: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)


@dataclass(frozen=True, kw_only=True)
class AccountData:
    """What is known of the account.

    Attributes
    ----------
    rows
        Daily frame of the treated's level: the treated, and whoever they may be compared with.
    account
        Daily rows of the whole account, one a day (columns ``date`` and the stored ones). None: the sum over
        `rows`.
    account_known
        Whether `account`, or the sum over `rows`, is really the whole account.
    tree
        Who belongs where and shares whose budget.
    events
        Changes of any entity of the account.
    today
        The day it is; None: not known (inline rows).
    """

    rows: pd.DataFrame
    account: pd.DataFrame | None = None
    account_known: bool = True
    tree: Tree = field(default_factory=dict)
    events: Sequence[ChangeEvent] = ()
    today: date | None = None

    @cached_property
    def series(self) -> Series:
        """The rows as matrices; worked out once, however many changes are asked about.

        Raises
        ------
        ValueError
            If there is no row.
        """
        return from_daily(self.rows)
