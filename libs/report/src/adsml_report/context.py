"""What a family is given to report on: one account, its tree and days."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np
import pandas as pd
from adsml_common.database import Database
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.domain.errors import NotFound
from adsml_common.registry.registry import ModelRegistry
from adsml_common.store.accounts import AccountStatus, AccountStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore

from adsml_report.wording import money

SUMS: Final = ["spend", "impressions", "clicks", "leads"]


class AccountTree:
    """Names of an account's entities, and the campaign each belongs to."""

    def __init__(self, entities: Iterable[Entity]) -> None:
        self._by_ref = {one.ref: one for one in entities}

    def __len__(self) -> int:
        return len(self._by_ref)

    def label(self, ref: EntityRef) -> str:
        """Its name, or its id where it has none."""
        found = self._by_ref.get(ref)
        return (found.name if found is not None else None) or ref.entity_id

    def campaign(self, ref: EntityRef) -> str | None:
        """Id of the campaign it belongs to; None where a parent is not known."""
        level: EntityRef | None = ref
        while level is not None and level.entity_type is not EntityType.CAMPAIGN:
            known, above = self._by_ref.get(level), level.entity_type.parent_type
            if known is None or known.parent_id is None or above is None:
                return None
            level = EntityRef(ref.config_id, above, known.parent_id)
        return level.entity_id if level is not None else None

    def refs(self, level: EntityType | None = None) -> list[EntityRef]:
        """Every entity, or those of a level, by level and id."""
        order = list(EntityType)
        found = [ref for ref in self._by_ref if level is None or ref.entity_type is level]
        return sorted(found, key=lambda ref: (order.index(ref.entity_type), ref.entity_id))

    def campaigns(self) -> list[tuple[str, str]]:
        """Id and name of every campaign, by name."""
        found = [(ref.entity_id, self.label(ref)) for ref in self.refs(EntityType.CAMPAIGN)]
        return sorted(found, key=lambda one: one[1].casefold())


@dataclass(frozen=True, slots=True)
class ReportContext:
    """One account as of its last stored day; database and registry are open."""

    config_id: int
    account: AccountStatus  # its name, currency and last sync
    tree: AccountTree
    daily: pd.DataFrame  # rows of its entities in the window, as in `adsml_common.domain.daily`
    first_day: date  # of the window that is reported on
    last_day: date  # the same, included
    today: date  # when the report is made, by which data are old
    most: int  # entities that get a picture of their own in a section; those that spent most come first
    database: Database
    registry: ModelRegistry
    progress: Callable[[str], None]  # called with what is being worked on

    @property
    def name(self) -> str:
        """The account's, or its number."""
        return self.account.account.account_name or f"Ad account {self.config_id}"

    @property
    def currency(self) -> str:
        """Of all money; empty where no load said it."""
        return self.account.account.currency_code or ""

    def money(self, value: float | None) -> str:
        """An amount in the account's currency."""
        return money(value, self.currency)

    def by_spend(self, level: EntityType) -> list[EntityRef]:
        """Entities of a level by what they spent in the last 28 days, the biggest first; those without any left out."""
        since = pd.Timestamp(self.last_day - timedelta(days=27))
        rows = self.daily[(self.daily["date"] >= since) & (self.daily["entity_type"] == level.value)]
        spent = rows.groupby("entity_id", sort=True)["spend"].sum()
        spent = spent[spent > 0].sort_values(ascending=False, kind="stable")
        return [EntityRef(self.config_id, level, str(name)) for name in spent.index]

    def history(self, ref: EntityRef | None = None) -> pd.DataFrame:
        """Sums of an entity, or of the account over the highest level with rows; one row per day of the window.

        A day without delivery has zeros.
        """
        daily = self.daily
        if ref is not None:
            rows = daily[
                (daily["entity_type"] == ref.entity_type.value) & (daily["entity_id"] == ref.entity_id)
            ]
        else:
            highest = next((one.value for one in EntityType if (daily["entity_type"] == one.value).any()), "")
            rows = daily[daily["entity_type"] == highest]
        days = pd.date_range(self.first_day, self.last_day, freq="D")
        return rows.groupby("date")[SUMS].sum().reindex(days, fill_value=0.0)


def open_context(
    database: Database,
    registry: ModelRegistry,
    *,
    config_id: int,
    days: int,
    most: int,
    today: date | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> ReportContext:
    """Read what every section needs, once: the last `days` days up to the last stored one.

    `NotFound` where the account has no daily rows, `Unavailable` where the database does not answer.
    """
    account = next((one for one in AccountStore(database).list() if one.config_id == config_id), None)
    if account is None or account.last_date is None:
        raise NotFound(
            f"account {config_id} has no daily rows; load some with: adsml import FILE --config-id {config_id}"
        )
    first = account.last_date - timedelta(days=days - 1)
    return ReportContext(
        config_id=config_id,
        account=account,
        tree=AccountTree(EntityStore(database).list(config_id)),
        daily=MetricStore(database).daily(config_id, start=first, end=account.last_date),
        first_day=first,
        last_day=account.last_date,
        today=today or datetime.now(UTC).date(),
        most=most,
        database=database,
        registry=registry,
        progress=progress,
    )


def listed(values: "pd.Series[float] | np.ndarray[tuple[int], np.dtype[np.float64]]") -> list[float | None]:
    """Values of a line: None where one is missing."""
    return [None if not np.isfinite(value) else float(value) for value in np.asarray(values, dtype=float)]


def grouped(refs: Iterable[EntityRef]) -> Mapping[EntityType, list[EntityRef]]:
    """Entities by level, in the order of levels."""
    found: dict[EntityType, list[EntityRef]] = {level: [] for level in EntityType}
    for ref in refs:
        found[ref.entity_type].append(ref)
    return {level: those for level, those in found.items() if those}
