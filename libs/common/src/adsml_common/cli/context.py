"""Opens what the commands need, from the settings.

Numeric and database libraries are imported by the command that needs them: help and errors come at once, and
a server can still pin its threads before any of them is loaded.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adsml_common.database import Database
    from adsml_common.registry.registry import ModelRegistry
    from adsml_common.settings import Settings


def settings() -> "Settings":
    """What every command reads from the environment; `SettingsError` names the variable that is wrong, and why."""
    from adsml_common.settings import Settings, load_settings  # noqa: PLC0415

    return load_settings(Settings)


@contextmanager
def open_database(config: "Settings", *, create: bool = False) -> "Iterator[Database]":
    """The database, closed on leaving.

    With `create` a SQLite file may be created and brought to the current schema: for commands that write what a
    person hands in. PostgreSQL is migrated by ``adsml migrate`` alone, once a release.

    Raises
    ------
    FailedPrecondition
        If the schema is not the one this version needs; says how to get it.
    Unavailable
        If it can't be reached.
    """
    from adsml_common.database import Database  # noqa: PLC0415

    with closing(Database.open(config.database_url)) as database:
        if create and database.dialect == "sqlite" and not database.schema_state().usable:
            database.migrate()
        database.require_schema()
        yield database


def open_registry(config: "Settings", database: "Database") -> "ModelRegistry":
    """The model registry on an open database."""
    from adsml_common.registry.registry import ModelRegistry  # noqa: PLC0415

    return ModelRegistry.open(database, config)
