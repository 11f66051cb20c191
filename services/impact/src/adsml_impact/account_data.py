"""What the store knows of an account, in one query for its days."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime, timedelta

from adsml_common.database import Database
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import NotFound
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


def days_back(options: Options) -> int:
    """Days before a change that an analysis can make use of."""
    return (
        LOOKBACK
        + (options.baseline_days or USUAL_BASELINE)
        + options.washout_days
        + (options.after_days or USUAL_DAYS)
    )


class StoredAccounts:
    """Reads accounts for analyses; `today` gives the day it is."""

    def __init__(self, database: Database, *, today: Callable[[], date] = utc_today) -> None:
        self._metrics = MetricStore(database)
        self._entities = EntityStore(database)
        self._changes = ChangeStore(database)
        self._accounts = AccountStore(database)
        self._curves = CompletionCurves(self._metrics)
        self._today = today

    def changes(self, config_id: int, first: date | None, last: date | None) -> list[ChangeEvent]:
        """Recorded changes of an account on some days, oldest first."""
        return self._changes.list(config_id, start=first, end=last)

    def currency_code(self, config_id: int) -> str:
        """Of the account's money; empty where it is not known."""
        return self._accounts.currency(config_id) or ""

    def completion(self, config_id: int) -> tuple[float, ...]:
        """Shares of a day's leads that are known by age; empty where that is not known."""
        curve = self._curves.of(config_id)
        return () if curve is None else curve.leads

    def tree(self, config_id: int, since: date | None = None) -> Tree:
        """The account's entities and its changes from a day on; empty for an account that is not stored."""
        frame = self._entities.frame(config_id)
        relations: dict[Key, Relation] = {
            (EntityType(level), name): Relation(parent, shares)
            for level, name, parent, shares in zip(
                frame["entity_type"],
                frame["entity_id"],
                frame["parent_id"],
                frame["shares_budget"],
                strict=True,
            )
        }
        return Tree(relations, self._changes.list(config_id, start=since))

    def read(
        self,
        config_id: int,
        entity_type: EntityType,
        *,
        named: Collection[str],
        since: date | None,
    ) -> AccountData:
        """One level of an account from a day on (None: all), its tree and changes; the rows come in one query.

        Raises
        ------
        NotFound
            If one of the ids `named` is not an entity of the account.
        Unavailable
            The database does not answer.
        """
        # A week more than the analysis looks at: control choice goes by changes of the two weeks before.
        tree = self.tree(config_id, None if since is None else since - timedelta(days=USUAL_DAYS))
        require(tree.relations, config_id, entity_type, named)
        rows = self._metrics.daily(config_id, entity_type=entity_type, start=since)
        if rows.empty and since is not None:
            # The change lies far outside the data: an answer that says where they are needs them.
            rows = self._metrics.daily(config_id, entity_type=entity_type)
        return AccountData(
            rows=rows,
            tree=tree,
            today=self._today(),
            completion=self.completion(config_id),
            currency_code=self.currency_code(config_id),
        )


def require(
    relations: Mapping[Key, Relation], config_id: int, entity_type: EntityType, named: Collection[str]
) -> None:
    """Refuse entities that the account does not have: NotFound, naming the first."""
    for name in named:
        if (entity_type, name) not in relations:
            raise NotFound(f"there is no {EntityRef(config_id, entity_type, name)}")
