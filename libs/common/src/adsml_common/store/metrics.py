"""Daily metrics: one row per entity and day."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from adsml_common.database import Database
from adsml_common.domain import daily
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput, Violations
from adsml_common.domain.metrics import STORED
from adsml_common.schema import insert_into
from adsml_common.store import staging, sums
from adsml_common.store.accounts import Account, bind_account, read_account
from adsml_common.store.changes import write_changes
from adsml_common.store.counts import UpsertCounts
from adsml_common.store.entities import lock_account, write_entities
from adsml_common.store.keys import check_account, id_fault, make_keys, named
from adsml_common.store.reading import read_rows
from adsml_common.store.tables import account_levels, daily_metrics, entities, restated_metrics


class AccountLoad:
    """Rows of one account on their way in, within one transaction; see `MetricStore.load`."""

    def __init__(self, database: Database, connection: Connection, config_id: int, source: str) -> None:
        self._connection = connection
        self._config_id = config_id
        self._source = source
        self._loaded_at = datetime.now(UTC)
        self._window: tuple[date, date] | None = None
        lock_account(database, connection, config_id)
        staging.prepare(connection)

    def add(
        self,
        frame: pd.DataFrame,
        *,
        source: str | None = None,
        fetched_at: npt.NDArray[np.float64] | None = None,
        older_file: bool = False,
        corrections: bool = False,
    ) -> UpsertCounts:
        """Insert or update the rows of a daily frame (see `adsml_common.domain.daily`).

        A later frame may hold a day again; the later one stays. Rows that were fetched before what is stored are left
        out and counted. Leads and reach may be NaN: not told, so what is stored stays.

        `fetched_at` (shape (rows,), seconds since 1970, 0 where not known) is when the source was read. Rows of an
        `older_file` add days that are missing and replace none. `corrections` takes a negative spend, by which the
        platform corrects earlier days; models read it as 0. Raises `InvalidInput` for a value that no model may see,
        two rows for one entity and day, an unusable id.
        """
        checked = frame.assign(leads=frame["leads"].fillna(0.0)) if "leads" in frame.columns else frame
        daily.check(checked.assign(spend=checked["spend"].abs()) if corrections else checked)
        if frame.empty:
            return UpsertCounts()
        columns: dict[str, npt.NDArray[Any]] = {
            "entity_key": self._keys(frame),
            "date": frame["date"].to_numpy(dtype="datetime64[D]"),
            "fetched_at": np.zeros(len(frame)) if fetched_at is None else fetched_at,
        }
        for name in STORED:
            known = name in frame.columns
            columns[name] = frame[name].to_numpy(np.float64) if known else np.full(len(frame), np.nan)
        staging.stage(self._connection, columns)
        if self._window is not None:
            staging.note_seen(self._connection)
        older = 0
        if older_file or columns["fetched_at"].any():
            older = staging.drop_older(self._connection, whatever=older_file)
        return self._merge(len(frame) - older, source or self._source) + UpsertCounts(older=older)

    def _merge(self, rows: int, source: str) -> UpsertCounts:
        counts = staging.merge(self._connection, rows=rows, source=source, loaded_at=self._loaded_at)
        if counts.changed:
            self._note_changes()
        return counts

    def _note_changes(self) -> None:
        for entity_type, first, last in staging.changed_levels(self._connection):
            revision = self._next_revision(entity_type, first, last)
            staging.mark_revision(self._connection, entity_type, revision)
        staging.note_touched(self._connection)

    def replace_window(self, first: date, last: date) -> None:
        """Take what is added from now on as all that the source holds of some days; see `delete_missing`."""
        self._window = (first, last)

    def delete_missing(self, entity_types: Collection[EntityType]) -> UpsertCounts:
        """Delete the stored rows of the window, at some levels, that were not among what was added."""
        if self._window is None:
            raise RuntimeError("nothing says which days the source was asked for")
        levels = [level.value for level in entity_types]
        number = staging.stage_unseen(self._connection, self._config_id, levels, *self._window)
        if number:
            staging.delete_staged(self._connection)
            self._note_changes()
        return UpsertCounts(deleted=number)

    def build_sums(self) -> tuple[UpsertCounts, sums.SumReport]:
        """Build the parents of all that was added as sums of what is stored, where no row was reported.

        Gives sums that were new, changed or there already; how many there are by level, and reported rows that
        contradict their children.
        """
        counts, report = UpsertCounts(), sums.SumReport()
        for level, below in ((EntityType.ADSET, EntityType.AD), (EntityType.CAMPAIGN, EntityType.ADSET)):
            report.orphans[below] = sums.orphans(self._connection, below)
            staged, emptied = sums.stage_sums(self._connection, self._config_id, level)
            number, examples = sums.contradictions(self._connection, most=3)
            report.contradictions += number
            report.examples += examples
            report.rows[level] = staged - sums.reported(self._connection)
            if staged:
                counts += self._merge(staged, staging.SUMS_SOURCE)
            if emptied:
                staging.stage_keys(self._connection, emptied)
                self._note_changes()
                counts += UpsertCounts(deleted=len(emptied))
        return counts, report

    @property
    def account(self) -> Account:
        return read_account(self._connection, self._config_id)

    def bind(self, account: Account) -> None:
        bind_account(self._connection, self._config_id, account)

    def entities(self, found: Iterable[Entity]) -> UpsertCounts:
        """Insert or update entities of this account, as `EntityStore.upsert` does."""
        wanted = list(found)
        self._check_account(entity.ref for entity in wanted)
        return write_entities(self._connection, wanted)

    def changes(self, events: Iterable[ChangeEvent]) -> UpsertCounts:
        """Insert or update change events of this account, as `ChangeStore.upsert` does."""
        wanted = list(events)
        self._check_account(event.entity for event in wanted)
        return write_changes(self._connection, wanted)

    def _check_account(self, refs: Iterable[EntityRef]) -> None:
        other = next((ref for ref in refs if ref.config_id != self._config_id), None)
        if other is not None:
            raise InvalidInput.at("config_id", f"{other} does not belong to account {self._config_id}")

    def _keys(self, frame: pd.DataFrame) -> npt.NDArray[np.int64]:
        keys = np.empty(len(frame), dtype=np.int64)
        all_ids = frame["entity_id"].to_numpy(dtype=object)
        levels = frame.groupby("entity_type", sort=True, dropna=False).indices
        for name, rows in levels.items():
            if name not in set(EntityType):
                expected = ", ".join(EntityType)
                raise InvalidInput.at(
                    f"rows[{rows[0]}].entity_type", f"is {name!r}; expected one of {expected}"
                )
            codes, ids = pd.factorize(all_ids[rows], use_na_sentinel=False)
            found = Violations()
            for code, entity_id in enumerate(ids):
                if (fault := id_fault(entity_id)) is not None:
                    found.add(f"rows[{rows[int(np.argmax(codes == code))]}].entity_id", fault)
            found.raise_if_any()
            known = make_keys(self._connection, self._config_id, EntityType(str(name)), list(ids))
            keys[rows] = np.array([known[entity_id] for entity_id in ids], dtype=np.int64)[codes]
        return keys

    def _next_revision(self, entity_type: str, first: date, last: date) -> int:
        insert = insert_into(self._connection, account_levels).values(
            config_id=self._config_id,
            entity_type=entity_type,
            data_revision=1,
            first_date=first,
            last_date=last,
        )
        upsert = staging.widened(self._connection, insert, data_revision=account_levels.c.data_revision + 1)
        revision: int = self._connection.execute(
            upsert.returning(account_levels.c.data_revision)
        ).scalar_one()
        return revision


class RowFilter(TypedDict, total=False):
    """Which rows of an account: of a level, of entities, from day `start` to day `end` included; if not given, all."""

    entity_type: EntityType | None
    entity_ids: Collection[str] | None
    start: date | None
    end: date | None


class MetricStore:
    """Reads and writes daily metrics."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def upsert_daily(self, config_id: int, frame: pd.DataFrame, *, source: str) -> UpsertCounts:
        """Load one daily frame: all or none, and idempotent. Unknown entities are created."""
        with self.load(config_id, source=source) as load:
            return load.add(frame)

    @contextmanager
    def load(self, config_id: int, *, source: str) -> Iterator[AccountLoad]:
        """Load many frames, entities and changes as one: all is in at the end, or nothing at all."""
        check_account(config_id)
        with self._database.write(bulk=True) as connection:
            yield AccountLoad(self._database, connection, config_id, source)

    def daily(self, config_id: int, **wanted: Unpack[RowFilter]) -> pd.DataFrame:
        """The stored rows as a daily frame, sorted by level, id and day; ``reach`` is NaN where unknown."""
        rows, owners = self._read(config_id, **wanted)
        return _framed(rows, owners) if owners else daily.empty()

    def each(
        self, config_id: int, **wanted: Unpack[RowFilter]
    ) -> Iterator[tuple[EntityRef, npt.NDArray[np.datetime64], npt.NDArray[np.float64]]]:
        """The stored rows of one entity after the other, in no particular order.

        Days of shape (n,) rise; values of shape (n, 5) are in the order of `STORED`. Many times cheaper than taking a
        frame apart.
        """
        rows, owners = self._read(config_id, **wanted)
        if not owners:
            return
        refs = {
            row.entity_key: EntityRef(config_id, EntityType(row.entity_type), row.entity_id) for row in owners
        }
        keys, days = rows["entity_key"], rows["date"]
        values = np.stack([rows[name] for name in STORED], axis=1)
        bounds = np.flatnonzero(keys[1:] != keys[:-1]) + 1
        for first, after in pairwise([0, *bounds.tolist(), len(keys)] if len(keys) else []):
            yield refs[int(keys[first])], days[first:after], values[first:after]

    def _read(
        self,
        config_id: int,
        *,
        entity_type: EntityType | None = None,
        entity_ids: Collection[str] | None = None,
        start: date | None = None,
        end: date | None = None,
    ) -> tuple[dict[str, npt.NDArray[Any]], Sequence[Any]]:
        """Rows as of `read_rows`, and keys, levels and ids of the entities that they may belong to."""
        with self._database.read() as connection:
            owners = connection.execute(
                sa.select(*entities.c["entity_key", "entity_type", "entity_id"])
                .where(named(connection, config_id, entity_type, entity_ids))
                .order_by(entities.c.entity_type, entities.c.entity_id)
            ).all()
            if not owners:
                return {}, ()
            keys = [row.entity_key for row in owners] if entity_ids is not None else None
            rows = read_rows(connection, config_id, keys=keys, entity_type=entity_type, start=start, end=end)
        return rows, owners

    def revisions(
        self,
        config_id: int,
        *,
        entity_type: EntityType | None = None,
        entity_ids: Collection[str] | None = None,
    ) -> dict[EntityRef, int]:
        """A number for each entity that grows whenever one of its daily rows changes; 0 before the first."""
        with self._database.read() as connection:
            found = connection.execute(
                sa.select(*entities.c["entity_type", "entity_id", "data_revision"]).where(
                    named(connection, config_id, entity_type, entity_ids)
                )
            ).all()
        return {EntityRef(config_id, EntityType(level), one): revision or 0 for level, one, revision in found}

    def last_date(self, config_id: int) -> date | None:
        """The last day with a row, None for an account without any."""
        query = sa.select(sa.func.max(account_levels.c.last_date)).where(
            account_levels.c.config_id == config_id
        )
        last: date | None = self._database.rows(query)[0][0]
        return last

    def data_version(self, config_id: int, entity_type: EntityType | None = None) -> str:
        """A word that changes whenever a daily row changes, of the account or of one level; "0" before the first."""
        query = (
            sa.select(account_levels.c.entity_type, account_levels.c.data_revision)
            .where(account_levels.c.config_id == config_id)
            .order_by(account_levels.c.entity_type)
        )
        if entity_type is not None:
            query = query.where(account_levels.c.entity_type == entity_type.value)
        found = self._database.rows(query)
        return ",".join(f"{row.entity_type}:{row.data_revision}" for row in found) or "0"

    def versions(self, config_id: int, *, entity_type: EntityType, start: date) -> pd.DataFrame:
        """Every version of one level's rows: values before they were restated, then the stored ones.

        Each row is what was known from ``loaded_at`` (UTC) until the entity's next one of that day. Empty where no row
        was restated.
        """
        frames: list[pd.DataFrame] = []
        with self._database.read() as connection:
            for table in (restated_metrics, daily_metrics):
                columns = (*entities.c["entity_type", "entity_id"], *table.c[("date", *STORED, "loaded_at")])
                query = (
                    sa.select(*columns)
                    .join_from(table, entities)
                    .where(
                        entities.c.config_id == config_id,
                        entities.c.entity_type == entity_type.value,
                        table.c.date >= start,
                    )
                    .order_by(*columns[:3], table.c.loaded_at)
                )
                rows = connection.execute(query).all()
                if not rows:
                    break
                frame = pd.DataFrame(rows, columns=[column.name for column in columns])
                frames.append(frame.astype({"date": "datetime64[ns]", **dict.fromkeys(STORED, np.float64)}))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def config_ids(self) -> list[int]:
        """Accounts that have daily rows, in order."""
        query = sa.select(account_levels.c.config_id).distinct().order_by(account_levels.c.config_id)
        return [row.config_id for row in self._database.rows(query)]


def _framed(rows: dict[str, npt.NDArray[Any]], owners: Sequence[Any]) -> pd.DataFrame:
    keys = np.array([row.entity_key for row in owners], dtype=np.int64)
    by_key = np.argsort(keys)
    rank = by_key[np.searchsorted(keys[by_key], rows["entity_key"])]
    # Rows come sorted by key and day; a stable sort by rank leaves the days in order.
    order = np.argsort(rank, kind="stable")
    rank = rank[order]
    types = np.array([row.entity_type for row in owners], dtype=object)
    ids = np.array([row.entity_id for row in owners], dtype=object)
    return pd.DataFrame(
        {
            "entity_type": types[rank],
            "entity_id": ids[rank],
            "date": rows["date"][order].astype("datetime64[ns]"),
            **{name: rows[name][order] for name in STORED},
        }
    )
