"""PostgreSQL: daily rows are partitioned by month.

Revision 0006. Rows that are there are copied, which holds others off meanwhile: some 20 s for five million.
"""

from datetime import UTC, datetime

from adsml_common.migrations import partitions
from alembic import op

revision = "0006"
down_revision = "0004"

_WHOLE = "daily_metrics_whole"


def upgrade() -> None:
    """Put a partitioned table in the place of the whole one."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    op.rename_table(partitions.TABLE, _WHOLE)
    for kind in ("pk", "fk"):
        name = {"pk": "pk_daily_metrics", "fk": "fk_daily_metrics_entity_key"}[kind]
        op.execute(f"ALTER TABLE {_WHOLE} RENAME CONSTRAINT {name} TO {name}_whole")
    op.execute(
        f"CREATE TABLE {partitions.TABLE} (LIKE {_WHOLE} INCLUDING DEFAULTS) PARTITION BY RANGE (date)"
    )
    op.execute(f"CREATE TABLE {partitions.OTHER} PARTITION OF {partitions.TABLE} DEFAULT")
    partitions.extend(connection, today=datetime.now(UTC).date())
    op.execute(f"INSERT INTO {partitions.TABLE} SELECT * FROM {_WHOLE}")  # noqa: S608 - own names
    op.create_primary_key(op.f("pk_daily_metrics"), partitions.TABLE, ["entity_key", "date"])
    op.create_foreign_key(
        op.f("fk_daily_metrics_entity_key"), partitions.TABLE, "entities", ["entity_key"], ["entity_key"]
    )
    op.drop_table(_WHOLE)
