"""Training runs: what started them, and the Job that the launcher made.

Revision 0004. What started a run was one of the names of callers before, so that a caller of the name
``schedule`` was taken for a CronJob.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns, and fill them from what the record has."""
    # In one statement: SQLite adds a column with its check, but no check to a table that others refer to.
    collate = 'COLLATE "C"' if op.get_bind().dialect.name == "postgresql" else ""
    op.execute(
        f"ALTER TABLE ml_training_runs ADD COLUMN launch_kind VARCHAR(16) {collate} "
        "DEFAULT 'COMMAND_LINE' NOT NULL CONSTRAINT ck_ml_training_runs_launch_kind "
        "CHECK (launch_kind IN ('CALLER', 'SCHEDULE', 'COMMAND_LINE'))"
    )
    text = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
    op.add_column(
        "ml_training_runs", sa.Column("job_uid", text, server_default=sa.text("''"), nullable=False)
    )
    op.execute(
        "UPDATE ml_training_runs SET launcher = upper(launcher), launch_kind = CASE "
        "WHEN actor = 'schedule' THEN 'SCHEDULE' WHEN actor = 'cli' THEN 'COMMAND_LINE' ELSE 'CALLER' END"
    )
    op.execute("UPDATE ml_training_runs SET actor = '' WHERE actor IN ('schedule', 'cli')")
    op.create_index(op.f("ix_ml_training_runs_status"), "ml_training_runs", ["status"])
