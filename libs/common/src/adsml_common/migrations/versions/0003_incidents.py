"""Incidents, and how far each account was scanned for them.

Revision 0003.
"""

import sqlalchemy as sa
from adsml_common.schema import BigKey, Json, key_text
from alembic import op

revision = "0003"
down_revision = "0006"

_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "incidents",
        sa.Column("incident_key", BigKey, nullable=False),
        sa.Column("config_id", sa.BigInteger(), nullable=False),
        sa.Column("incident_id", key_text(64), nullable=False),
        sa.Column("state", key_text(16), nullable=False),
        sa.Column("first_date", sa.Date(), nullable=False),
        sa.Column("last_date", sa.Date(), nullable=False),
        sa.Column("stake", sa.Double(), nullable=False),
        sa.Column("payload", Json, nullable=False),
        sa.Column("judgement", key_text(32), nullable=True),
        sa.Column("person", sa.Text(), nullable=True),
        sa.Column("judged_at", _INSTANT, nullable=True),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("updated_at", _INSTANT, nullable=False),
        sa.Column("alert_labels", Json, nullable=True),
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
