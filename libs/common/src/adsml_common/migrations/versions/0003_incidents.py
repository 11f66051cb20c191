"""Incidents, and how far each account was scanned for them.

Revision 0003.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0006"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_INSTANT = sa.DateTime(timezone=True)


def _text(length: int) -> sa.String:
    # Compared byte by byte on both databases.
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "incidents",
        sa.Column("incident_key", _KEY, nullable=False),
        sa.Column("config_id", sa.BigInteger(), nullable=False),
        sa.Column("incident_id", _text(64), nullable=False),
        sa.Column("state", _text(16), nullable=False),
        sa.Column("first_date", sa.Date(), nullable=False),
        sa.Column("last_date", sa.Date(), nullable=False),
        sa.Column("stake", sa.Double(), nullable=False),
        sa.Column("payload", _JSON, nullable=False),
        sa.Column("judgement", _text(32), nullable=True),
        sa.Column("person", sa.Text(), nullable=True),
        sa.Column("judged_at", _INSTANT, nullable=True),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("updated_at", _INSTANT, nullable=False),
        sa.Column("alert_labels", _JSON, nullable=True),
        sa.Column("alerted_at", _INSTANT, nullable=True),
        sa.CheckConstraint("config_id > 0", name=op.f("ck_incidents_config_id")),
        sa.PrimaryKeyConstraint("incident_key", name=op.f("pk_incidents")),
        sa.UniqueConstraint("config_id", "incident_id", name=op.f("uq_incidents_config_id_incident_id")),
    )
    op.create_index(op.f("ix_incidents_config_id_state"), "incidents", ["config_id", "state"])
    op.create_table(
        "incident_scans",
        sa.Column("config_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("scan_date", sa.Date(), nullable=False),
        sa.Column("scanned_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("config_id", name=op.f("pk_incident_scans")),
    )
