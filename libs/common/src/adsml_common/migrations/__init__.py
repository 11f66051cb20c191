"""The schema's history, run by Alembic through `adsml_common.database.Database.migrate`."""

from datetime import UTC, datetime

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from adsml_common.migrations import partitions
from adsml_common.schema import METADATA, OLDEST_CODE, SCHEMA_NOTES

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


def upgrade(connection: Connection) -> None:
    """Run what is missing, inside the transaction of the given connection, and make the next months' partitions."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.execute(SCHEMA_NOTES.delete().where(SCHEMA_NOTES.c.name == OLDEST_CODE))
    connection.execute(SCHEMA_NOTES.insert().values(name=OLDEST_CODE, value=_oldest_code()))
    if connection.dialect.name == "postgresql":
        partitions.extend(connection, today=datetime.now(UTC).date())


def _oldest_code() -> str:
    """The revision of the oldest code that can work with the newest schema, as the last migration that says so does."""
    for script in ScriptDirectory.from_config(_config()).walk_revisions():
        if (oldest := getattr(script.module, "oldest_code", None)) is not None:
            return str(oldest)
    raise RuntimeError("no migration says which code it goes with")


def head_revision() -> str:
    """The revision that this version of adsml migrates to."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError("the migrations are not packaged")
    return head


def known_revisions() -> frozenset[str]:
    """Every revision that this version of adsml knows."""
    return frozenset(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())
