"""Accounts and panels for the impact tests, with known truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.daily import normalise
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.metrics import Metric
from adsml_common.serving.messages import METRIC
from adsml_impact.analysis.change import analyse
from adsml_impact.analysis.query import AccountData, ImpactQuery, Options
from adsml_impact.analysis.tree import Key, Relation, Tree
from adsml_impact.encoding import change_message

FloatArray = npt.NDArray[np.float64]

FIRST = date(2024, 3, 4)
"""A Monday."""


def make_panel(
    seed: int, *, units: int = 20, days: int = 90, noise: float = 0.1, memory: float = 0.5
) -> FloatArray:
    """Positive daily values with a common market, weekdays and noise of the given autocorrelation."""
    rng = np.random.default_rng(seed)
    level = 100 * np.exp(rng.normal(0, 1, units))
    market = np.cumsum(rng.normal(0, 0.02, days))
    weekday = rng.normal(0, 0.15, 7)[np.arange(days) % 7]
    own = np.zeros((units, days))
    for t in range(1, days):
        own[:, t] = memory * own[:, t - 1] + rng.normal(0, noise, units)
    return level[:, None] * np.exp(market + weekday + own)


@dataclass
class Account:
    """Daily values of ad sets, to be changed by hand before they are asked about.

    Attributes
    ----------
    spend, impressions, clicks, leads
        (units, days).
    names
        Ids.
    """

    spend: FloatArray
    impressions: FloatArray
    clicks: FloatArray
    leads: FloatArray
    names: tuple[str, ...]

    @property
    def days(self) -> int:
        """Number of days."""
        return int(self.spend.shape[1])

    def rows(self, *, keep: npt.NDArray[np.bool_] | None = None) -> pd.DataFrame:
        """The daily frame; `keep` says which cells have a row."""
        units, days = self.spend.shape
        frame = pd.DataFrame(
            {
                "entity_type": EntityType.ADSET.value,
                "entity_id": np.repeat(np.array(self.names, dtype=object), days),
                "date": np.tile(pd.date_range(FIRST, periods=days), units),
                "spend": self.spend.ravel(),
                "impressions": self.impressions.ravel(),
                "clicks": self.clicks.ravel(),
                "leads": self.leads.ravel(),
            }
        )
        return normalise(frame if keep is None else frame[keep.ravel()])


def make_account(
    seed: int = 1, *, units: int = 12, days: int = 90, noise: float = 0.03, daily_leads: float = 400.0
) -> Account:
    """Ad sets of one account: a common market, weekdays, independent noise, nothing that happens.

    Parameters
    ----------
    noise
        Standard deviation in logs of each ad set's own daily spend, click rate and conversion rate.
    daily_leads
        Typical leads a day; few of them make CPL unsteady by themselves.
    """
    rng = np.random.default_rng(seed)
    level = np.exp(rng.normal(0, 0.4, units))[:, None]
    shape = (units, days)
    market = np.cumsum(rng.normal(0, 0.01, days))
    weekday = np.tile([0.08, 0.06, 0.04, 0.0, -0.05, -0.08, -0.05], days // 7 + 1)[:days]
    spend = 2000 * level * np.exp(0.3 * market + rng.normal(0, noise, shape))
    impressions = np.rint(spend * 60 * np.exp(rng.normal(0, noise, shape)))
    ctr = 0.02 * np.exp(rng.normal(0, 0.2, (units, 1)) + rng.normal(0, noise, shape))
    clicks = rng.binomial(impressions.astype(int), ctr).astype(float)
    rate = daily_leads / (2000 * 60 * 0.02)
    conversion = rate * np.exp(
        0.5 * market + weekday + rng.normal(0, 0.2, (units, 1)) + rng.normal(0, noise, shape)
    )
    leads = rng.poisson(clicks * conversion).astype(float)
    names = tuple(f"{k:03d}" for k in range(units))
    return Account(spend=spend, impressions=impressions, clicks=clicks, leads=leads, names=names)


def ask(
    *,
    treated: Sequence[str] = ("000",),
    change_type: ChangeType = ChangeType.AUDIENCE_CHANGE,
    at: int | None = 77,
    controls: Sequence[str] = (),
    options: Options | None = None,
    value_before: float | None = None,
    value_after: float | None = None,
) -> ImpactQuery:
    """A question about ad sets; `at` is the day's position from `FIRST`."""
    day = None if at is None else FIRST + timedelta(days=at)
    event = ChangeEvent(EntityRef(1, EntityType.ADSET, "000"), change_type, day or FIRST)
    change = change_message(event)
    if day is None:
        change.ClearField("date")
    if value_before is not None and value_after is not None:
        change.value_before, change.value_after = value_before, value_after
    return ImpactQuery(
        treated=tuple(treated),
        entity_type=EntityType.ADSET,
        change_type=change_type,
        day=day,
        change=change,
        controls=tuple(controls),
        options=options or Options(),
        config_id=1,
    )


def report_of(query: ImpactQuery, data: AccountData) -> pb.ImpactReport:
    """The report on a change."""
    return analyse(query, data).report


def effect_of(report: pb.ImpactReport, metric: Metric) -> pb.MetricEffect:
    """What a report says of one metric."""
    return next(one for one in report.effects if one.metric == METRIC.to_wire(metric))


def known(
    account: Account,
    *,
    relations: Mapping[Key, Relation] | None = None,
    events: Sequence[ChangeEvent] = (),
    **more: object,
) -> AccountData:
    """What an analysis is told of an account."""
    return AccountData(rows=account.rows(), tree=Tree(relations or {}, events), **more)  # type: ignore[arg-type]
