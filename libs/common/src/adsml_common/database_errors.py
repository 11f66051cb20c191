"""What a database driver's error means for a caller, in words without SQL and without passwords."""

import sqlite3

import psycopg

from adsml_common.domain.errors import AdsmlError, FailedPrecondition, Unavailable


def translated(error: BaseException) -> AdsmlError | None:
    """What a driver's error means for a caller, or None if it is a defect of ours or a broken constraint."""
    undefined = ("no such table", "no such column")
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn) or (
        isinstance(error, sqlite3.OperationalError) and str(error).startswith(undefined)
    ):
        return FailedPrecondition("the database's schema is absent or too old: run `adsml migrate`")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return Unavailable(f"the database is unavailable: {_postgresql_words(error)}")
    if isinstance(error, sqlite3.OperationalError):
        return Unavailable(f"the database is unavailable: {_sqlite_words(error)}")
    # A file that is damaged or no database at all comes as the bare base class.
    if type(error) is sqlite3.DatabaseError:
        return Unavailable("the database is unavailable: its file is damaged or not a database")
    return None


_SQLSTATE_WORDS = {
    "08": "the connection failed",
    "28": "it refused our user or password",
    "3D": "no database of that name",
    "40": "the transaction collided with another",
    "53": "it is out of connections, memory or disk",
    "55": "another writer held a lock for too long",
    "57": "it is shutting down, or the statement took too long",
    "58": "it has trouble with its own files",
}


def _postgresql_words(error: psycopg.Error) -> str:
    if error.sqlstate is not None:
        return _SQLSTATE_WORDS.get(error.sqlstate[:2], f"it reports {error.sqlstate}")
    text = str(error)
    if "password authentication failed" in text or "no password supplied" in text:
        return _SQLSTATE_WORDS["28"]
    if "does not exist" in text:
        return "no database or user of that name"
    if "timeout" in text:
        return "no answer in time"
    return "the connection failed"


# SQLite's own messages name neither SQL nor data in these cases.
_SQLITE_WORDS = (
    "database is locked",
    "unable to open database file",
    "disk I/O error",
    "database or disk is full",
    "attempt to write a readonly database",
)


def _sqlite_words(error: sqlite3.Error) -> str:
    text = str(error)
    return next((words for words in _SQLITE_WORDS if text.startswith(words)), "the file can't be used")
