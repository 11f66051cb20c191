"""The schema that migrations make is the one that the code is written for."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import pytest
import sqlalchemy as sa
from adsml_common import migrations
from adsml_common.database import Database, SchemaStatus
from adsml_common.domain.errors import FailedPrecondition
from adsml_common.migrations import METADATA, partitions
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext


def test_migrated_schema_is_the_models(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                # On PostgreSQL a month of daily rows is a table of its own.
                "include_name": lambda name, kind, _: (
                    kind != "table" or not str(name).startswith("daily_metrics_")
                ),
            },
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


def test_migrating_with_an_older_release_leaves_a_newer_schema(database: Database) -> None:
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'from_the_future'"))
    database.migrate()
    state = database.schema_state()
    assert (state.current, state.status) == ("from_the_future", SchemaStatus.AHEAD)


def test_a_schema_that_has_left_this_code_behind_is_refused_by_name(database: Database) -> None:
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'from_the_future'"))
        connection.execute(sa.text("UPDATE schema_notes SET value = '9999' WHERE name = 'oldest_code'"))
    assert database.schema_state().status is SchemaStatus.TOO_NEW
    for refused in (database.require_schema, database.migrate):
        with pytest.raises(FailedPrecondition, match="from_the_future.* of revision 9999 or newer"):
            refused()


def test_the_code_of_one_release_back_works_with_this_schema(empty_database_url: str) -> None:
    """The expand/contract rule: what the oldest code reads is there, and it can write rows without what came later."""
    oldest = next(
        one.module.oldest_code for one in migrations._scripts() if hasattr(one.module, "oldest_code")
    )
    database = Database.open(empty_database_url)
    with database.write() as connection:
        step(connection, oldest)
        before = columns(connection)
    database.migrate()
    with database.read() as connection:
        after = columns(connection)
        query = sa.text("SELECT value FROM schema_notes WHERE name = 'oldest_code'")
        assert connection.execute(query).scalar_one() == oldest
    database.close()
    for table, known in before.items():
        now = after.get(table, {})
        assert {name: now.get(name, (None,))[0] for name in known} == {
            name: kind for name, (kind, _) in known.items()
        }
        assert {name for name, (_, needed) in now.items() if needed} <= {
            name for name, (_, needed) in known.items() if needed
        }


def columns(connection: sa.Connection) -> dict[str, dict[str, tuple[str, bool]]]:
    """Of each table each column's type, and whether a row must bring it."""
    tables = sa.inspect(connection)
    return {
        table: {
            one["name"]: (str(one["type"]), not one["nullable"] and one["default"] is None)
            for one in tables.get_columns(table)
        }
        for table in tables.get_table_names()
    }


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


class TestMonths:
    """PostgreSQL: daily rows lie in a partition each month."""

    @pytest.fixture(params=["postgresql"])
    def dialect(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def partition_of(self, database: Database, day: date) -> str:
        with database.write() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO entities (config_id, entity_type, entity_id) VALUES (1, 'ad', 'a') "
                    "ON CONFLICT DO NOTHING"
                )
            )
            return str(
                connection.execute(
                    sa.text(
                        "INSERT INTO daily_metrics (entity_key, date, spend, impressions, clicks, leads, source, "
                        "loaded_at) SELECT entity_key, :day, 1, 1, 1, 1, 't', now() FROM entities "
                        "RETURNING tableoid::regclass::text"
                    ),
                    {"day": day},
                ).scalar_one()
            )

    def test_a_row_lies_in_its_month_and_one_of_long_ago_with_the_others(self, database: Database) -> None:
        today = datetime.now(UTC).date()
        assert self.partition_of(database, today) == f"daily_metrics_{today:%Y_%m}"
        assert self.partition_of(database, date(1999, 5, 1)) == "daily_metrics_other"
        with database.read() as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM daily_metrics")).scalar_one() == 2

    def test_a_later_migration_makes_the_months_that_came(self, database: Database) -> None:
        with database.write() as connection:
            later = partitions.extend(connection, today=date(2099, 1, 31))
            assert later[0] == "daily_metrics_2095_01"
            assert later[-1] == "daily_metrics_2100_07"
            assert partitions.extend(connection, today=date(2099, 1, 1)) == []

    def test_a_month_that_has_rows_among_the_others_stays_there(self, database: Database) -> None:
        self.partition_of(database, date(2099, 2, 3))
        with database.write() as connection:
            made = partitions.extend(connection, today=date(2099, 1, 31))
        assert "daily_metrics_2099_01" in made
        assert "daily_metrics_2099_02" not in made
        assert self.partition_of(database, date(2099, 2, 4)) == "daily_metrics_other"

    def test_rows_of_before_are_kept(self, empty_database_url: str) -> None:
        database = Database.open(empty_database_url)
        with database.write() as connection:
            step(connection, "0004")
            connection.execute(
                sa.text("INSERT INTO entities (config_id, entity_type, entity_id) VALUES (1, 'ad', 'a')")
            )
            connection.execute(
                sa.text(
                    "INSERT INTO daily_metrics SELECT entity_key, DATE '2001-01-01' + 100 * day, day, 1, 1, 1, NULL, "
                    "'t', now() FROM entities, generate_series(0, 120) AS day"
                )
            )
        database.migrate()
        with database.read() as connection:
            query = sa.text("SELECT count(*), sum(spend), count(DISTINCT tableoid) FROM daily_metrics")
            count, spend, places = connection.execute(query).one()
        assert (count, spend) == (121, sum(range(121)))
        assert places > 5
        database.close()


def step(connection: sa.Connection, revision: str) -> None:
    """Migrate to a revision and no further."""
    config = migrations._config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
