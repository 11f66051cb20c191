"""The schema's history, run by Alembic through `adsml_common.database.Database.migrate`."""

from collections.abc import Iterator
from datetime import UTC, datetime

from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from sqlalchemy.engine import Connection

from adsml_common.migrations import partitions
from adsml_common.schema import METADATA, OLDEST_CODE, SCHEMA_NOTES, upsert

# The tables register themselves with METADATA when their modules are imported.
from adsml_common.registry import tables as _registry  # noqa: F401  # isort: skip
from adsml_common.store import tables as _store  # noqa: F401  # isort: skip
from adsml_common.training import tables as _training  # noqa: F401  # isort: skip

__all__ = ["METADATA", "head_revision", "known_revisions", "upgrade"]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "adsml_common:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> Iterator[Script]:
    """The migrations, from the newest on."""
    return ScriptDirectory.from_config(_config()).walk_revisions()


def upgrade(connection: Connection) -> None:
    """Run what is missing, inside the transaction of the given connection, and make the next months' partitions."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    # As the last migration that says so.
    oldest = next(one.module.oldest_code for one in _scripts() if hasattr(one.module, "oldest_code"))
    upsert(connection, SCHEMA_NOTES, {"name": OLDEST_CODE, "value": oldest})
    if connection.dialect.name == "postgresql":
        partitions.extend(connection, today=datetime.now(UTC).date())


def head_revision() -> str:
    """The revision that this version of adsml migrates to."""
    return next(_scripts()).revision


def known_revisions() -> frozenset[str]:
    """Every revision that this version of adsml knows."""
    return frozenset(script.revision for script in _scripts())
