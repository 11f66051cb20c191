"""The query, and the data it is asked of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

import pandas as pd
from adsml.common.v1 import change_pb2, entity_pb2
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.degradation import Degradation
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.metrics import Metric
from adsml_common.serving.messages import entity_ref_message

from adsml_impact.analysis.series import Series, from_daily
from adsml_impact.analysis.tree import Tree
from adsml_impact.models.estimators import Estimator

FEWEST_DAYS = 3
"""Days a side below which nothing is compared."""
USUAL_DAYS = 7
USUAL_BASELINE = 56


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What may be asked for beside the change; ranges and defaults as in the contract."""

    # days compared; None: 7, of the days after as many as there are
    before_days: int | None = None
    after_days: int | None = None
    washout_days: int = 0  # days left out after the change
    baseline_days: int | None = None  # days the counterfactual is fitted on; None: 56 or as many as there are
    # empty and None: by change type
    metrics: tuple[Metric, ...] = ()
    primary_metric: Metric | None = None
    # None: the pooled regression, or structural with fewer than three controls
    estimator: Estimator | None = None
    alpha: float = 0.05  # level of tests
    equivalence_margin: float = 0.2  # relative effects within plus and minus this do not matter
    max_placebos: int = 1000  # dates times entities
    attribution_lag_days: int = 0  # trailing days of the data left out; not where `as_of` is set
    as_of: date | None = None  # the last day to look at; None: the last one there is
    with_series: bool = True  # whether the daily series are wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpactQuery:
    """A query about one change: what did it do."""

    treated: tuple[str, ...]  # ids of the entities that were changed together
    entity_type: EntityType  # their level
    # the change; `day` is the first in force, in the account's time zone. None (only for a planned change): the day
    # after the data.
    change_type: ChangeType
    day: date | None
    # the same as the answer repeats it; its amounts are the daily budget, where that was changed and is known
    change: change_pb2.ChangeEvent = field(default_factory=change_pb2.ChangeEvent)
    controls: tuple[str, ...] = ()  # empty: chosen
    excluded_controls: tuple[str, ...] = ()  # never chosen
    options: Options = field(default_factory=Options)  # see `Options`
    config_id: int = 0  # the account; 0: not known
    refs: Mapping[str, entity_pb2.EntityRef] = field(default_factory=dict)  # of entities whose rows were sent

    def ref(self, name: str) -> entity_pb2.EntityRef:
        """What the caller knows an entity by."""
        return self.refs.get(name) or entity_ref_message(EntityRef(self.config_id, self.entity_type, name))


@dataclass(frozen=True, kw_only=True)
class AccountData:
    """What is known of the account."""

    # Daily frame of the treated's level: the treated, and whoever they may be compared with
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    # Daily rows of the whole account, one a day (columns `date` and the stored ones). None: the sum over `rows`.
    account: pd.DataFrame | None = None
    account_known: bool = True  # whether `account`, or the sum over `rows`, is really the whole account
    # who belongs where and shares whose budget, and every recorded change
    tree: Tree = field(default_factory=Tree)
    today: date | None = None  # the day it is; None: not known (inline rows)
    # shares of a day's leads that are known by age, age 0 (the last loaded day) first; older days are complete.
    # Empty: not known.
    completion: tuple[float, ...] = ()
    degradations: tuple[Degradation, ...] = ()  # what could not be read
    currency_code: str = ""  # of all money, as ISO 4217; empty: not known

    @cached_property
    def series(self) -> Series:
        """The rows as matrices; worked out once, however many changes are asked about. ValueError without rows."""
        return from_daily(self.rows).completed(self.completion)
