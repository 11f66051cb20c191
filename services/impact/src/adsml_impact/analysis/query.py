"""The query, and the data it is asked of."""

from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

import pandas as pd
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.degradation import Degradation
from adsml_common.domain.entities import EntityType
from adsml_common.domain.metrics import Metric

from adsml_impact.analysis.series import Series, from_daily
from adsml_impact.analysis.tree import Tree
from adsml_impact.models.estimators import Estimator

FEWEST_DAYS = 3
"""Days a side below which nothing is compared."""
USUAL_DAYS = 7
USUAL_BASELINE = 56


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What may be asked for beside the change; ranges and defaults as in the contract.

    Attributes
    ----------
    before_days, after_days
        Days compared; None: 7, of the days after as many as there are.
    washout_days
        Days left out after the change.
    baseline_days
        Days the counterfactual is fitted on; None: 56 or as many as there are.
    metrics, primary_metric
        Empty and None: by change type.
    estimator
        None: the pooled regression, or structural with fewer than three controls.
    alpha
        Level of tests.
    equivalence_margin
        Relative effects within plus and minus this do not matter.
    max_placebos
        Dates times entities.
    attribution_lag_days
        Trailing days of the data left out; not where `as_of` is set.
    as_of
        The last day to look at; None: the last one there is.
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
    equivalence_margin: float = 0.2
    max_placebos: int = 1000
    attribution_lag_days: int = 0
    as_of: date | None = None
    with_series: bool = True


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
        Who belongs where and shares whose budget, and every recorded change.
    today
        The day it is; None: not known (inline rows).
    completion
        Shares of a day's leads that are known by age, age 0 (the last loaded day) first; older days are complete.
        Empty: not known.
    degradations
        What could not be read.
    currency_code
        Of all money, as ISO 4217; empty: not known.
    """

    rows: pd.DataFrame
    account: pd.DataFrame | None = None
    account_known: bool = True
    tree: Tree = field(default_factory=Tree)
    today: date | None = None
    completion: tuple[float, ...] = ()
    degradations: tuple[Degradation, ...] = ()
    currency_code: str = ""

    @cached_property
    def series(self) -> Series:
        """The rows as matrices; worked out once, however many changes are asked about.

        Raises
        ------
        ValueError
            If there is no row.
        """
        return from_daily(self.rows).completed(self.completion)
