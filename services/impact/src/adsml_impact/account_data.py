"""What the store knows of an account, in one query for its days."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from adsml_common.database import Database
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.entities import EntityType
from adsml_common.store.accounts import AccountStore
from adsml_common.store.changes import ChangeStore
from adsml_common.store.completion import CompletionCurves
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore

from adsml_impact.analysis.query import USUAL_BASELINE, USUAL_DAYS, AccountData, Options
from adsml_impact.analysis.tree import Key, Relation, Tree
from adsml_impact.models.design import LOOKBACK


def utc_today() -> date:
    """The day it is, UTC."""
    return datetime.now(UTC).date()


def days_back(options: Options) -> timedelta:
    """How far before a change an analysis can make use of days."""
    baseline, after = options.baseline_days or USUAL_BASELINE, options.after_days or USUAL_DAYS
    return timedelta(days=LOOKBACK + baseline + options.washout_days + after)


class StoredAccounts:
    """Reads accounts for analyses; `today` gives the day it is."""

    def __init__(self, database: Database, *, today: Callable[[], date] = utc_today) -> None:
        self._metrics = MetricStore(database)
        self._entities = EntityStore(database)
        self._changes = ChangeStore(database)
        self._accounts = AccountStore(database)
        self._curves = CompletionCurves(self._metrics)
        self._today = today

    def changes(
        self, config_id: int, first: date | None = None, last: date | None = None
    ) -> list[ChangeEvent]:
        """Recorded changes of an account on some days, oldest first."""
        return self._changes.list(config_id, start=first, end=last)

    def account(self, config_id: int, since: date | None = None) -> AccountData:
        """All but the rows: the account's tree with its changes from a day on, completion, currency, and the day it is.

        An account that is not stored has none of them.
        """
        frame = self._entities.frame(config_id)
        relations: dict[Key, Relation] = {
            (EntityType(level), entity_id): Relation(*known)
            for level, entity_id, *known in frame[
                ["entity_type", "entity_id", "parent_id", "shares_budget", "name"]
            ].itertuples(index=False)
        }
        curve = self._curves.of(config_id)
        return AccountData(
            tree=Tree(relations, self.changes(config_id, since)),
            today=self._today(),
            completion=() if curve is None else curve.leads,
            currency_code=self._accounts.currency(config_id) or "",
        )

    def read(self, config_id: int, entity_type: EntityType, *, since: date | None) -> AccountData:
        """The account with the rows of one level from a day on (None: all), which come in one query.

        Unavailable where the database does not answer.
        """
        # A week more than the analysis looks at: control choice goes by changes of the two weeks before.
        account = self.account(config_id, None if since is None else since - timedelta(days=USUAL_DAYS))
        rows = self._metrics.daily(config_id, entity_type=entity_type, start=since)
        if rows.empty and since is not None:
            # The change lies far outside the data: an answer that says where they are needs them.
            rows = self._metrics.daily(config_id, entity_type=entity_type)
        return replace(account, rows=rows)
