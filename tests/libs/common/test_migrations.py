"""The schema that migrations make is the one that the code is written for."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from adsml_common.database import Database, SchemaStatus
from adsml_common.domain.errors import FailedPrecondition
from adsml_common.migrations import METADATA
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext


def test_migrated_schema_is_the_models(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, METADATA) == []


def test_constraints_that_alembic_does_not_compare_are_there(database: Database) -> None:
    with database.read() as connection:
        found = sa.inspect(connection)
        for table in METADATA.sorted_tables:
            wanted = {c.name for c in table.constraints if isinstance(c, sa.CheckConstraint)}
            assert {c["name"] for c in found.get_check_constraints(table.name)} == wanted
            partial = {i.name for i in table.indexes if i.dialect_options["sqlite"]["where"] is not None}
            options = f"{database.dialect}_where"
            indexes = found.get_indexes(table.name)
            assert {i["name"] for i in indexes if options in i.get("dialect_options", {})} == partial


def test_schema_state_before_and_after(empty_database_url: str) -> None:
    database = Database.open(empty_database_url)
    assert database.schema_state().status is SchemaStatus.ABSENT
    with pytest.raises(FailedPrecondition, match="adsml migrate"):
        database.require_schema()
    database.migrate()
    assert database.schema_state().status is SchemaStatus.CURRENT
    database.require_schema()
    database.migrate()
    assert database.schema_state().status is SchemaStatus.CURRENT
    database.close()


def test_a_newer_schema_is_worked_with(database: Database) -> None:
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'from_the_future'"))
    assert database.schema_state().status is SchemaStatus.AHEAD
    database.require_schema()


def test_many_migrate_at_once(empty_database_url: str) -> None:
    databases = [Database.open(empty_database_url) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(database.migrate) for database in databases]:
            done.result()
    assert {database.schema_state().status for database in databases} == {SchemaStatus.CURRENT}
    for database in databases:
        database.close()


def test_a_failed_migration_leaves_nothing(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from adsml_common import migrations

    whole = migrations.upgrade

    def broken(connection: sa.Connection) -> None:
        whole(connection)
        raise RuntimeError("power cut")

    database = Database.open(empty_database_url)
    monkeypatch.setattr(migrations, "upgrade", broken)
    with pytest.raises(RuntimeError, match="power cut"):
        database.migrate()
    with database.read() as connection:
        assert sa.inspect(connection).get_table_names() == []
    database.close()
