"""Accounts and what they are bound to, syncs, restated values, and how fresh each row is.

Revision 0002.
"""

import sqlalchemy as sa
from adsml_common.schema import key_text
from alembic import op

revision = "0002"
down_revision = "0003"

_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables, and add the columns."""
    op.create_table(
        "accounts",
        sa.Column("config_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account_id", key_text(64), nullable=True),
        sa.Column("account_name", sa.Text(), nullable=True),
        sa.Column("currency_code", key_text(3), nullable=True),
        sa.Column("time_zone", sa.Text(), nullable=True),
        sa.Column("id_kind", key_text(8), nullable=True),
        sa.Column("click_kind", key_text(8), nullable=True),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("updated_at", _INSTANT, nullable=False),
        sa.CheckConstraint("config_id > 0", name=op.f("ck_accounts_config_id")),
        sa.CheckConstraint("id_kind IN ('id', 'name')", name=op.f("ck_accounts_id_kind")),
        sa.CheckConstraint("click_kind IN ('all', 'link')", name=op.f("ck_accounts_click_kind")),
        sa.PrimaryKeyConstraint("config_id", name=op.f("pk_accounts")),
    )
    op.create_table(
        "account_syncs",
        sa.Column("config_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("started_at", _INSTANT, nullable=False),
        sa.Column("finished_at", _INSTANT, nullable=True),
        sa.Column("first_date", sa.Date(), nullable=False),
        sa.Column("last_date", sa.Date(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("config_id", name=op.f("pk_account_syncs")),
    )
    op.create_table(
        "restated_metrics",
        sa.Column("entity_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("loaded_at", _INSTANT, nullable=False),
        sa.Column("spend", sa.Double(), nullable=False),
        sa.Column("impressions", sa.Double(), nullable=False),
        sa.Column("clicks", sa.Double(), nullable=False),
        sa.Column("leads", sa.Double(), nullable=False),
        sa.Column("reach", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["entity_key"], ["entities.entity_key"], name=op.f("fk_restated_metrics_entity_key_entities")
        ),
        sa.PrimaryKeyConstraint("entity_key", "date", "loaded_at", name=op.f("pk_restated_metrics")),
        sqlite_with_rowid=False,
    )
    op.add_column("daily_metrics", sa.Column("fetched_at", sa.Double(), server_default="0", nullable=False))
    op.add_column("entities", sa.Column("campaign_id", key_text(64), nullable=True))
    op.add_column("entities", sa.Column("facts_date", sa.Date(), nullable=True))
