"""A cache in one file on the local disk, which may be lost or damaged at any time.

One SQLite file rather than a file for each key: where an account has 10,000 models, making that many files takes many
times as long as reading the models.
"""

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")
_WAIT_SECONDS: Final = 1.0
_SLACK: Final = 0.1
_USED_SECONDS: Final = 3600
"""How exactly the last use of a key is known: noting each one would make every read a write."""
_DROP_OLDEST: Final = """
    DELETE FROM cache WHERE key IN (
        SELECT key FROM (SELECT key, sum(length(value)) OVER (ORDER BY used DESC, rowid DESC) AS newer FROM cache)
        WHERE newer > ?
    )"""
_LOG = logging.getLogger(__name__)


class DiskCache:
    """Bytes by key, the oldest use dropped first; threads and processes may share the file.

    Nothing here fails: what can't be read is not there, and what can't be kept is said in the log, once until it
    works again. A file that is damaged is begun anew. It is the owner's alone to read and write. `max_bytes` bounds
    the values together, roughly; None for any.
    """

    def __init__(self, path: Path, *, max_bytes: int | None = None) -> None:
        self._path = path
        self._max_bytes = max_bytes
        # Since the oldest were last dropped: nobody knows what other processes have added before.
        self._added = max_bytes or 0
        self._lock = threading.Lock()
        self._open: tuple[int, sqlite3.Connection] | None = None
        self._failing = False

    def get(self, key: str) -> bytes | None:
        def read(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute("SELECT value, used FROM cache WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            if row[1] < time.time() - _USED_SECONDS:
                # A file that can't be written can be read all the same.
                with contextlib.suppress(sqlite3.OperationalError):
                    connection.execute("UPDATE cache SET used = ? WHERE key = ?", (time.time(), key))
            return bytes(row[0])

        return self._try(read, make=False)

    def put(self, key: str, value: bytes) -> bool:
        """Keep something in place of what is there; whether it was kept."""
        if self._max_bytes is not None and len(value) > self._max_bytes:
            return False
        row = (key, time.time(), value)
        done = self._try(
            lambda connection: connection.execute("INSERT OR REPLACE INTO cache VALUES (?, ?, ?)", row)
        )
        if done is not None and self._max_bytes is not None:
            self._added += len(value)
            # A full cache is not looked through at every write.
            if self._added > _SLACK * self._max_bytes:
                most = (1.0 - _SLACK) * self._max_bytes
                self._try(lambda connection: connection.execute(_DROP_OLDEST, (most,)))
                self._added = 0
        return done is not None

    def remove(self, key: str) -> None:
        self._try(
            lambda connection: connection.execute("DELETE FROM cache WHERE key = ?", (key,)), make=False
        )

    # -- inside ----------------------------------------------------------------------------------------------

    def _try(self, work: Callable[[sqlite3.Connection], T], *, make: bool = True) -> T | None:
        with self._lock:
            try:
                # In here, since a folder that may not be looked into raises too.
                if not make and not self._path.exists():
                    return None
                try:
                    done = work(self._connection())
                except sqlite3.OperationalError:
                    # Busy, full, read-only, gone: nothing is wrong with what is in it.
                    raise
                except sqlite3.DatabaseError as error:
                    _LOG.warning("%s is damaged (%s) and begun anew", self._path, error)
                    self._forget()
                    for end in ("", "-wal", "-shm"):
                        self._path.with_name(f"{self._path.name}{end}").unlink(missing_ok=True)
                    done = work(self._connection())
            except (sqlite3.Error, OSError) as error:
                self._forget()
                if not self._failing:
                    _LOG.warning("nothing can be kept in %s: %s", self._path, error)
                self._failing = True
                return None
            self._failing = False
            return done

    def _connection(self) -> sqlite3.Connection:
        # A connection must not be used across a fork, nor when its file was removed under it.
        if self._open is not None and self._open[0] == os.getpid() and self._path.exists():
            return self._open[1]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # SQLite gives the files that it makes beside it the same rights.
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(
            self._path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._open = (os.getpid(), connection)
        # What a loss of power takes is made again; waiting for the disk would cost more than the models are worth.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS cache (key TEXT PRIMARY KEY, used REAL NOT NULL, value BLOB NOT NULL)"
        )
        return connection

    def _forget(self) -> None:
        if self._open is not None and self._open[0] == os.getpid():
            with contextlib.suppress(sqlite3.Error):
                self._open[1].close()
        self._open = None
