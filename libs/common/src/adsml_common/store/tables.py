"""Tables of the store.

Rows of an entity hang on a generated integer key rather than on (account, level, id): `daily_metrics` holds hundreds
of rows per entity, and the key is what its primary key, its biggest index, is made of.
"""

from typing import Final

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, UniqueConstraint

from adsml_common.domain.changes import ChangeType
from adsml_common.domain.entities import EntityType
from adsml_common.domain.metrics import REQUIRED, STORED
from adsml_common.schema import METADATA, BigKey, Instant, Json, key_text, one_of

ID_LENGTH: Final = 64


def _entity_key() -> Column[int]:
    of_entity = ForeignKey("entities.entity_key")
    return Column("entity_key", sa.BigInteger, of_entity, primary_key=True, autoincrement=False)


def _figures() -> list[Column[float]]:
    return [Column(name, sa.Double, nullable=name not in REQUIRED) for name in STORED]


entities = Table(
    "entities",
    METADATA,
    Column("entity_key", BigKey, primary_key=True),
    Column("config_id", sa.BigInteger, nullable=False),
    Column("entity_type", key_text(16), nullable=False),
    Column("entity_id", key_text(ID_LENGTH), nullable=False),
    Column("parent_id", key_text(ID_LENGTH)),
    Column("name", sa.Text),
    Column("status", sa.Text),
    Column("objective", sa.Text),
    Column("shares_budget", sa.Boolean),
    # Of an ad whose ad set is not known.
    Column("campaign_id", key_text(ID_LENGTH)),
    # Day as of which name, status and the like were last told; older files don't replace them.
    Column("facts_date", sa.Date),
    # The level's revision when a daily row of this entity last changed: see account_levels.
    Column("data_revision", sa.BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("config_id", "entity_type", "entity_id"),
    CheckConstraint("config_id > 0", name="config_id"),
    one_of("entity_type", EntityType),
    CheckConstraint("length(entity_id) > 0", name="entity_id"),
    # Children of a parent. Campaigns have none, hence partial.
    Index(
        None,
        "config_id",
        "entity_type",
        "parent_id",
        sqlite_where=sa.text("parent_id IS NOT NULL"),
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    ),
)

account_levels = Table(
    "account_levels",
    METADATA,
    Column("config_id", sa.BigInteger, primary_key=True, autoincrement=False),
    Column("entity_type", key_text(16), primary_key=True),
    # Grows by one with every upsert that changes a daily row of this account and level.
    Column("data_revision", sa.BigInteger, nullable=False),
    # First and last day with a row, so that nobody scans daily_metrics to learn them.
    Column("first_date", sa.Date),
    Column("last_date", sa.Date),
    one_of("entity_type", EntityType),
    sqlite_with_rowid=False,
)

daily_metrics = Table(
    "daily_metrics",
    METADATA,
    _entity_key(),
    Column("date", sa.Date, primary_key=True),
    # Counts are floating point too: attribution splits leads between ads.
    *_figures(),
    Column("source", sa.Text, nullable=False),
    Column("loaded_at", Instant, nullable=False),
    # When the source was read, in seconds since 1970; 0 where it doesn't say. Older reads don't replace newer.
    Column("fetched_at", sa.Double, nullable=False, server_default="0"),
    # Clustered by its key: an entity's days lie side by side, and there is no second copy of the key.
    sqlite_with_rowid=False,
    # See migrations/partitions.py.
    postgresql_partition_by="RANGE (date)",
)

restated_metrics = Table(
    "restated_metrics",
    METADATA,
    _entity_key(),
    Column("date", sa.Date, primary_key=True),
    # When the replaced values had been loaded.
    Column("loaded_at", Instant, primary_key=True),
    *_figures(),
    sqlite_with_rowid=False,
)
"""Values of daily rows before they were restated: with `daily_metrics`, how a day's leads came in."""

accounts = Table(
    "accounts",
    METADATA,
    Column("config_id", sa.BigInteger, primary_key=True, autoincrement=False),
    # As the platform writes it, without act_.
    Column("account_id", key_text(ID_LENGTH)),
    Column("account_name", sa.Text),
    Column("currency_code", key_text(3)),
    Column("time_zone", sa.Text),
    Column("id_kind", key_text(8)),
    Column("click_kind", key_text(8)),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    CheckConstraint("config_id > 0", name="config_id"),
    CheckConstraint("id_kind IN ('id', 'name')", name="id_kind"),
    CheckConstraint("click_kind IN ('all', 'link')", name="click_kind"),
)

account_syncs = Table(
    "account_syncs",
    METADATA,
    Column("config_id", sa.BigInteger, primary_key=True, autoincrement=False),
    Column("source", sa.Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    # The window that was asked of the source.
    Column("first_date", sa.Date, nullable=False),
    Column("last_date", sa.Date, nullable=False),
    Column("error", sa.Text),
)
"""The last sync of each account."""

change_events = Table(
    "change_events",
    METADATA,
    _entity_key(),
    Column("date", sa.Date, primary_key=True),
    Column("change_type", key_text(32), primary_key=True),
    Column("detail", Json, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    one_of("change_type", ChangeType),
    sqlite_with_rowid=False,
)

feedback = Table(
    "feedback",
    METADATA,
    Column("feedback_key", BigKey, primary_key=True),
    Column("family", key_text(32), nullable=False),
    Column("entity_key", sa.BigInteger, ForeignKey("entities.entity_key"), nullable=False),
    Column("date", sa.Date, nullable=False),
    Column("person", sa.Text, nullable=False),
    Column("label", sa.Text, nullable=False),
    Column("note", sa.Text),
    Column("recorded_at", Instant, nullable=False),
    Index(None, "entity_key", "family", "date"),
)

incidents = Table(
    "incidents",
    METADATA,
    Column("incident_key", BigKey, primary_key=True),
    Column("config_id", sa.BigInteger, nullable=False),
    Column("incident_id", key_text(ID_LENGTH), nullable=False),
    Column("state", key_text(16), nullable=False),
    Column("first_date", sa.Date, nullable=False),
    Column("last_date", sa.Date, nullable=False),
    # Money at stake per day, in the account's currency.
    Column("stake", sa.Double, nullable=False),
    # The incident as its family's contract writes it.
    Column("payload", Json, nullable=False),
    # What a person said of it, and who.
    Column("judgement", key_text(32)),
    Column("person", sa.Text),
    Column("judged_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    # The labels of the alert that stands for it at the receiver; none where there is none.
    Column("alert_labels", Json),
    Column("alerted_at", Instant),
    UniqueConstraint("config_id", "incident_id"),
    CheckConstraint("config_id > 0", name="config_id"),
    Index(None, "config_id", "state"),
)
"""What the nightly scan found, one row per cause."""

incident_scans = Table(
    "incident_scans",
    METADATA,
    Column("config_id", sa.BigInteger, primary_key=True, autoincrement=False),
    Column("scan_date", sa.Date, nullable=False),
    Column("scanned_at", Instant, nullable=False),
)
"""The last day of each account that was scanned."""
