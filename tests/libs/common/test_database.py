"""Connections: what is refused, what failures mean, what is never said."""

import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from adsml_common import database as database_module
from adsml_common.database import Database
from adsml_common.domain.errors import FailedPrecondition, Unavailable
from adsml_common.settings import SettingsError
from adsml_common.store.metrics import MetricStore


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://root:hunter2@db/adsml", "mysql is not supported"),
        ("not a url hunter2", "is not a database URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////proc/nowhere/adsml.db", "can't be made"),
    ],
)
def test_an_unusable_url_is_refused_with_the_variable(url: str, reason: str) -> None:
    with pytest.raises(SettingsError, match="ADSML_DATABASE_URL=") as error:
        Database.open(url)
    assert reason in error.value.message
    assert "root:hunter2" not in error.value.message


def test_ping(database: Database) -> None:
    database.ping()


def test_sqlite_folder_is_made(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'a' / 'b' / 'adsml.db'}")
    database.ping()
    database.close()
    assert (tmp_path / "a" / "b" / "adsml.db").exists()


def test_nobody_listens_is_unavailable_without_the_password() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    database = Database.open(f"postgresql://ada:hunter2@127.0.0.1:{port}/adsml")
    with pytest.raises(Unavailable) as error:
        database.ping()
    assert error.value.message == "the database is unavailable: the connection failed"
    assert "hunter2" not in database.shown


def test_a_wrong_database_is_unavailable(postgresql: str) -> None:
    url = sa.make_url(postgresql).set(database="nowhere").render_as_string(hide_password=False)
    with pytest.raises(Unavailable, match=r"no database of that name|no database or user of that name"):
        Database.open(url).ping()


def test_a_connection_that_was_cut_is_replaced(postgresql: str) -> None:
    database = Database.open(postgresql)
    with database.read() as connection:
        pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
    with psycopg.connect(postgresql, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))
    database.ping()
    database.close()


def _cut(connection: sa.Connection, server: str) -> None:
    """End the server's side of a connection."""
    pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
    with psycopg.connect(server, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))


def test_a_connection_cut_within_a_transaction_is_unavailable(postgresql: str) -> None:
    database = Database.open(postgresql)

    def work() -> None:
        with database.write() as connection:
            _cut(connection, postgresql)
            connection.execute(sa.text("SELECT 1"))

    with pytest.raises(Unavailable, match="shutting down"):
        work()
    database.ping()
    database.close()


def test_a_connection_cut_within_copy_is_unavailable(postgresql: str) -> None:
    database = Database.open(postgresql)

    def work() -> None:
        with database.write() as connection:
            _cut(connection, postgresql)
            cursor = connection.connection.cursor()
            with cursor.copy("COPY (SELECT 1) TO STDOUT") as copy:  # type: ignore[attr-defined]
                list(copy)

    with pytest.raises(Unavailable):
        work()
    database.ping()
    database.close()


def test_statements_are_cut_off(postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "STATEMENT_SECONDS", "0.05")
    database = Database.open(postgresql)
    with pytest.raises(Unavailable, match="took too long"), database.read() as connection:
        connection.execute(sa.text("SELECT pg_sleep(60)"))
    database.close()


def test_every_connection_in_use_is_unavailable(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "POOL_SECONDS", 0)
    database = Database.open(database_url, pool_size=1)
    with database.read(), database.read(), pytest.raises(Unavailable, match="in use"), database.read():
        pass
    database.close()


def test_another_writer_for_too_long_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "LOCK_SECONDS", 0)
    path = tmp_path / "adsml.db"
    database = Database.open(f"sqlite:///{path}")
    database.ping()
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="database is locked"), database.write():
        pass
    other.rollback()
    other.close()
    with database.write():
        pass
    database.close()


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "adsml.db"
    path.write_bytes(b"these are not the bytes of a database, however long one looks at them" * 20)
    with pytest.raises(Unavailable, match="not a database"):
        Database.open(f"sqlite:///{path}").ping()


def test_a_schema_that_is_not_there_is_told_with_its_cure(empty_database_url: str) -> None:
    database = Database.open(empty_database_url)
    with pytest.raises(FailedPrecondition, match="adsml migrate") as error:
        MetricStore(database).config_ids()
    assert "SELECT" not in str(error.value)
    database.close()


def test_an_exception_undoes_the_transaction(database: Database) -> None:
    count = sa.text("SELECT count(*) FROM account_levels")

    def work() -> None:
        with database.write() as connection:
            connection.execute(sa.text("INSERT INTO account_levels VALUES (1, 'ad', 1, NULL, NULL)"))
            raise KeyError("changed my mind")

    with pytest.raises(KeyError):
        work()
    with database.read() as connection:
        assert connection.execute(count).scalar() == 0


def test_what_a_reader_writes_is_undone(database: Database) -> None:
    with database.read() as connection:
        connection.execute(sa.text("INSERT INTO account_levels VALUES (1, 'ad', 1, NULL, NULL)"))
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM account_levels")).scalar() == 0


def test_a_lock_keeps_others_out_until_the_end(database: Database) -> None:
    order: list[str] = []
    inside = threading.Event()

    def second() -> None:
        inside.wait()
        with database.write() as connection:
            database.lock(connection, "account 1")
            order.append("second")

    other = threading.Thread(target=second)
    other.start()
    with database.write() as connection:
        database.lock(connection, "account 1")
        inside.set()
        # The other one is at the lock, or on its way there: either way it can't be ahead of us.
        order.append("first")
    other.join()
    assert order == ["first", "second"]


def test_a_forked_child_opens_connections_of_its_own(postgresql: str) -> None:
    program = """
import os, sys
import sqlalchemy as sa
from adsml_common.database import Database
database = Database.open(sys.argv[1])
pid = sa.text("SELECT pg_backend_pid()")
with database.read() as connection:
    mine = connection.execute(pid).scalar_one()
child = os.fork()
if child == 0:
    with database.read() as connection:
        os._exit(1 if connection.execute(pid).scalar_one() == mine else 0)
assert os.waitpid(child, 0)[1] == 0, "the child used its parent's connection"
with database.read() as connection:
    assert connection.execute(pid).scalar_one() == mine
"""
    subprocess.run([sys.executable, "-c", program, postgresql], check=True, timeout=60)


def test_a_kill_in_the_middle_of_a_migration_leaves_nothing(empty_database_url: str) -> None:
    program = """
import os, signal, sys
from adsml_common import migrations
from adsml_common.database import Database
whole = migrations.upgrade
def dies(connection):
    whole(connection)
    os.kill(os.getpid(), signal.SIGKILL)
migrations.upgrade = dies
Database.open(sys.argv[1]).migrate()
"""
    died = subprocess.run([sys.executable, "-c", program, empty_database_url], timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    database = Database.open(empty_database_url)
    with database.read() as connection:
        assert sa.inspect(connection).get_table_names() == []
    database.migrate()
    database.require_schema()
    database.close()
