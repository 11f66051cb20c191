"""Fixtures that many tests share; helpers live in tests/support."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from adsml_common.database import Database
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.registry import ModelRegistry
from hypothesis import settings
from sqlalchemy.engine import make_url
from support.databases import migrated, postgresql_database, postgresql_server

# The same examples at every run, so that a change is what makes a test fail; HYPOTHESIS_EXPLORE=1 looks for new ones.
settings.register_profile("same", derandomize=True, database=None)
if not os.environ.get("HYPOTHESIS_EXPLORE"):
    settings.load_profile("same")


@pytest.fixture(autouse=True)
def root_log() -> Iterator[None]:
    """A test that opens a server sets the process' log up; the next one must not write to its closed stream."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of a real PostgreSQL server, 15 or newer."""
    with postgresql_server() as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_template(postgresql: str) -> Iterator[str]:
    """Name of a migrated database to copy."""
    with postgresql_database(postgresql) as url:
        migrated(url)
        yield str(make_url(url).database)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "adsml.db"
    migrated(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    """Every test that uses a database runs on both."""
    return str(request.param)


@pytest.fixture
def empty_database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without a schema."""
    if dialect == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    with postgresql_database(request.getfixturevalue("postgresql")) as url:
        yield url


@pytest.fixture
def database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database with the current schema and no rows."""
    if dialect == "sqlite":
        path = tmp_path / "adsml.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    template = request.getfixturevalue("postgresql_template")
    with postgresql_database(request.getfixturevalue("postgresql"), template=template) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open database with the current schema and no rows."""
    opened = Database.open(database_url)
    yield opened
    opened.close()


@pytest.fixture
def artifact_store(tmp_path: Path) -> ArtifactStore:
    """An empty artifact store in a folder."""
    return ArtifactStore(str(tmp_path / "artifacts"), cache_dir=tmp_path / "cache")


@pytest.fixture
def registry(database: Database, artifact_store: ArtifactStore) -> ModelRegistry:
    """A registry without models."""
    return ModelRegistry(database, artifact_store)
