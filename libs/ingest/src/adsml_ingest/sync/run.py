"""Brings accounts up to date: each in one transaction, several at once, one bad account stopping no other."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any, Final

from adsml_common.database import Database
from adsml_common.domain.errors import AdsmlError, FailedPrecondition
from adsml_common.store.accounts import AccountStore
from adsml_common.store.counts import UpsertCounts
from adsml_common.store.metrics import MetricStore
from adsml_common.store.syncs import SyncStore

from adsml_ingest.dates import local_day
from adsml_ingest.importer import import_files
from adsml_ingest.sync.config import AccountSource, Source, SourceUnavailable

_OBJECTS: Final = ("s3", "gs", "gcs", "file", "memory", "abfs", "az", "hdfs", "http", "https")
_META: Final = "meta"


@dataclass(frozen=True, slots=True)
class AccountResult:
    """What became of one account."""

    config_id: int
    source: str
    through: date | None = None  # the last day that is there
    fresh: bool = False  # whether yesterday, in the account's time zone, is
    error: str | None = None
    skipped: bool = False  # an earlier run had brought it already
    notes: Sequence[str] = ()
    loaded: UpsertCounts | None = None  # None if nothing was, or it was done already
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Syncer:
    """Syncs accounts into a database."""

    database: Database
    sources: Mapping[str, Source]  # scheme of a URL to what reads it; `usual_source` if it is not here
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    force: bool = False  # sync accounts again that were brought since the window's end
    _lock: Lock = field(default_factory=Lock)

    @property
    def _writer(self) -> AbstractContextManager[Any]:
        """Held while writing: SQLite has one writer, and the others would wait longer than it lets them."""
        return self._lock if self.database.dialect == "sqlite" else nullcontext()

    def run(self, accounts: Sequence[AccountSource], *, parallel: int = 4) -> Iterator[AccountResult]:
        """Sync accounts, several at a time; results as they come."""
        with ThreadPoolExecutor(max_workers=max(1, parallel), thread_name_prefix="sync") as pool:
            pending = [pool.submit(self._one, account) for account in accounts]
            for done in as_completed(pending):
                yield done.result()

    def _one(self, account: AccountSource) -> AccountResult:
        syncs = SyncStore(self.database)
        try:
            first, last = self._window(account)
            if not self.force and syncs.is_done(account.config_id, account.shown, last):
                return AccountResult(account.config_id, account.shown, through=last, fresh=True, skipped=True)
            with self._writer:
                syncs.begin(account.config_id, account.shown, first, last, at=self.now())
            result = self._bring(account, first, last)
            late = f"the source holds no row of {last}: it ends on {result.through}"
            problem = None if result.fresh else late
            with self._writer:
                syncs.end(account.config_id, at=self.now(), error=problem)
            return replace(result, error=problem)
        except AdsmlError as error:
            message = error.message
        except Exception as error:  # one bad account must not stop the others
            message = f"{type(error).__name__}: {str(error)[:300]}"
        # Where the database is gone too, that was said already.
        with suppress(AdsmlError), self._writer:
            syncs.end(account.config_id, at=self.now(), error=message)
        return AccountResult(account.config_id, account.shown, error=message)

    def _window(self, account: AccountSource) -> tuple[date, date]:
        """The look-back window, up to yesterday in the account's time zone."""
        zone = AccountStore(self.database).get(account.config_id).time_zone
        last = local_day(self.now(), zone) - timedelta(days=1)
        return last - timedelta(days=account.look_back_days - 1), last

    def _bring(self, account: AccountSource, first: date, last: date) -> AccountResult:
        scheme, store = account.source.partition("://")[0].partition("+")[0], MetricStore(self.database)
        source = self.sources.get(scheme) or usual_source(scheme)
        with tempfile.TemporaryDirectory(prefix="adsml-sync-", ignore_cleanup_errors=True) as spool:
            fetched = source(account, first, last, Path(spool))
            is_empty = fetched.complete and not fetched.files
            if is_empty and not store.daily(account.config_id, start=first, end=last).empty:
                raise SourceUnavailable(
                    f"{account.shown} has no row of {first} to {last}, where rows are stored: nothing was deleted; "
                    "check the token's rights"
                )
            options = replace(account.options, window=(first, last))
            with self._writer:
                summary = import_files(
                    fetched.files, config_id=account.config_id, store=store, options=options, beside=fetched
                )
        through = last if fetched.complete else summary.last_day
        fresh = through is not None and through >= last
        return AccountResult(
            account.config_id, account.shown, through, fresh, notes=fetched.notes, loaded=summary.loaded,
            warnings=summary.warnings,
        )  # fmt: skip


def usual_source(scheme: str) -> Source:
    """What reads URLs of a scheme; its library is loaded now, since most installations need few.

    Raises `FailedPrecondition` if it is not installed, or there is no token.
    """
    try:
        if scheme == _META:
            from adsml_ingest.sync import meta  # noqa: PLC0415

            token = os.environ.get(meta.TOKEN_VARIABLE, "")
            if not token:
                raise FailedPrecondition(f"{meta.TOKEN_VARIABLE} is not set: it holds the access token")
            return meta.MetaSource(token, os.environ.get(meta.SECRET_VARIABLE) or None)
        if scheme in _OBJECTS:
            from adsml_ingest.sync import objects  # noqa: PLC0415

            return objects.fetch
    except ModuleNotFoundError as error:
        what = f"{scheme}:// needs the package {error.name}: install adsml-ingest[image]"
        raise FailedPrecondition(what) from None
    from adsml_ingest.sync import sql  # noqa: PLC0415

    return sql.fetch
