"""The first schema: store, model registry, training runs.

Revision 0001.
"""

import sqlalchemy as sa
from adsml_common.schema import BigKey, Json, key_text
from alembic import op

revision = "0001"
down_revision = None

_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "account_levels",
        sa.Column("config_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entity_type", key_text(16), nullable=False),
        sa.Column("data_revision", sa.BigInteger(), nullable=False),
        sa.Column("first_date", sa.Date(), nullable=True),
        sa.Column("last_date", sa.Date(), nullable=True),
        sa.CheckConstraint(
            "entity_type IN ('campaign', 'adset', 'ad')", name=op.f("ck_account_levels_entity_type")
        ),
        sa.PrimaryKeyConstraint("config_id", "entity_type", name=op.f("pk_account_levels")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "entities",
        sa.Column("entity_key", BigKey, nullable=False),
        sa.Column("config_id", sa.BigInteger(), nullable=False),
        sa.Column("entity_type", key_text(16), nullable=False),
        sa.Column("entity_id", key_text(64), nullable=False),
        sa.Column("parent_id", key_text(64), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("objective", sa.Text(), nullable=True),
        sa.Column("shares_budget", sa.Boolean(), nullable=True),
        sa.Column("data_revision", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "entity_type IN ('campaign', 'adset', 'ad')", name=op.f("ck_entities_entity_type")
        ),
        sa.CheckConstraint("config_id > 0", name=op.f("ck_entities_config_id")),
        sa.CheckConstraint("length(entity_id) > 0", name=op.f("ck_entities_entity_id")),
        sa.PrimaryKeyConstraint("entity_key", name=op.f("pk_entities")),
        sa.UniqueConstraint(
            "config_id", "entity_type", "entity_id", name=op.f("uq_entities_config_id_entity_type_entity_id")
        ),
    )
    op.create_index(
        op.f("ix_entities_config_id_entity_type_parent_id"),
        "entities",
        ["config_id", "entity_type", "parent_id"],
        sqlite_where=sa.text("parent_id IS NOT NULL"),
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.create_table(
        "ml_leases",
        sa.Column("job", key_text(64), nullable=False),
        sa.Column("shard_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("run_id", key_text(64), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("acquired_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("job", "shard_index", name=op.f("pk_ml_leases")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ml_trained_models",
        sa.Column("model_key", BigKey, nullable=False),
        sa.Column("name", key_text(255), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("model_type", key_text(64), nullable=False),
        sa.Column("config_id", sa.BigInteger(), nullable=False),
        sa.Column("entity_type", key_text(16), nullable=True),
        sa.Column("entity_id", key_text(64), nullable=True),
        sa.Column("artifact_uri", key_text(1024), nullable=False),
        sa.Column("sha256", key_text(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("format_version", sa.Integer(), nullable=False),
        sa.Column("parameters", Json, nullable=False),
        sa.Column("feature_columns", Json, nullable=False),
        sa.Column("training_metrics", Json, nullable=False),
        sa.Column("samples_count", sa.BigInteger(), nullable=False),
        sa.Column("window_start", sa.Date(), nullable=True),
        sa.Column("window_end", sa.Date(), nullable=True),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("library_versions", Json, nullable=False),
        sa.Column("run_id", key_text(64), nullable=True),
        sa.Column("status", key_text(16), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.CheckConstraint(
            "status IN ('READY', 'ACTIVE', 'ARCHIVED', 'FAILED')", name=op.f("ck_ml_trained_models_status")
        ),
        sa.CheckConstraint("version > 0", name=op.f("ck_ml_trained_models_version")),
        sa.PrimaryKeyConstraint("model_key", name=op.f("pk_ml_trained_models")),
        sa.UniqueConstraint("artifact_uri", name=op.f("uq_ml_trained_models_artifact_uri")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_ml_trained_models_name_version")),
    )
    op.create_index(
        op.f("ix_ml_trained_models_config_id_model_type"), "ml_trained_models", ["config_id", "model_type"]
    )
    op.create_index(
        "uq_ml_trained_models_active",
        "ml_trained_models",
        ["name"],
        unique=True,
        sqlite_where=sa.text("status = 'ACTIVE'"),
        postgresql_where=sa.text("status = 'ACTIVE'"),
    )
    op.create_index(
        "uq_ml_trained_models_run",
        "ml_trained_models",
        ["run_id", "name"],
        unique=True,
        sqlite_where=sa.text("run_id IS NOT NULL"),
        postgresql_where=sa.text("run_id IS NOT NULL"),
    )
    op.create_table(
        "ml_training_runs",
        sa.Column("run_id", key_text(64), nullable=False),
        sa.Column("job", key_text(64), nullable=False),
        sa.Column("request_id", key_text(128), nullable=False),
        sa.Column("parameters", Json, nullable=False),
        sa.Column("shard_count", sa.Integer(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("launcher", key_text(32), nullable=False),
        sa.Column("launcher_ref", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("status", key_text(16), nullable=False),
        sa.Column("detail", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("started_at", _INSTANT, nullable=True),
        sa.Column("finished_at", _INSTANT, nullable=True),
        sa.CheckConstraint(
            "status IN ('PENDING', 'RUNNING', 'SUCCEEDED', 'PARTIAL', 'FAILED', 'CANCELLING', 'CANCELLED')",
            name=op.f("ck_ml_training_runs_status"),
        ),
        sa.CheckConstraint("shard_count > 0", name=op.f("ck_ml_training_runs_shard_count")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_ml_training_runs")),
        sa.UniqueConstraint("job", "request_id", name=op.f("uq_ml_training_runs_job_request_id")),
    )
    op.create_index(op.f("ix_ml_training_runs_created_at"), "ml_training_runs", ["created_at"])
    op.create_table(
        "change_events",
        sa.Column("entity_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("change_type", key_text(32), nullable=False),
        sa.Column("detail", Json, nullable=False),
        sa.Column("recorded_at", _INSTANT, nullable=False),
        sa.CheckConstraint(
            "change_type IN ('budget_change', 'creative_change', 'audience_change', 'pause', 'reactivate')",
            name=op.f("ck_change_events_change_type"),
        ),
        sa.ForeignKeyConstraint(
            ["entity_key"], ["entities.entity_key"], name=op.f("fk_change_events_entity_key")
        ),
        sa.PrimaryKeyConstraint("entity_key", "date", "change_type", name=op.f("pk_change_events")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "daily_metrics",
        sa.Column("entity_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("spend", sa.Double(), nullable=False),
        sa.Column("impressions", sa.Double(), nullable=False),
        sa.Column("clicks", sa.Double(), nullable=False),
        sa.Column("leads", sa.Double(), nullable=False),
        sa.Column("reach", sa.Double(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("loaded_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["entity_key"], ["entities.entity_key"], name=op.f("fk_daily_metrics_entity_key")
        ),
        sa.PrimaryKeyConstraint("entity_key", "date", name=op.f("pk_daily_metrics")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "feedback",
        sa.Column("feedback_key", BigKey, nullable=False),
        sa.Column("family", key_text(32), nullable=False),
        sa.Column("entity_key", sa.BigInteger(), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("recorded_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["entity_key"], ["entities.entity_key"], name=op.f("fk_feedback_entity_key")),
        sa.PrimaryKeyConstraint("feedback_key", name=op.f("pk_feedback")),
    )
    op.create_index(op.f("ix_feedback_entity_key_family_date"), "feedback", ["entity_key", "family", "date"])
    op.create_table(
        "ml_model_events",
        sa.Column("event_key", BigKey, nullable=False),
        sa.Column("name", key_text(255), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("event", key_text(16), nullable=False),
        sa.Column("previous_version", sa.Integer(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(
            ["name", "version"],
            ["ml_trained_models.name", "ml_trained_models.version"],
            name=op.f("fk_ml_model_events_name_version"),
        ),
        sa.PrimaryKeyConstraint("event_key", name=op.f("pk_ml_model_events")),
    )
    op.create_index(op.f("ix_ml_model_events_name_event_key"), "ml_model_events", ["name", "event_key"])
    op.create_table(
        "ml_training_items",
        sa.Column("run_id", key_text(64), nullable=False),
        sa.Column("item_key", key_text(255), nullable=False),
        sa.Column("shard_index", sa.Integer(), nullable=False),
        sa.Column("config_id", sa.BigInteger(), nullable=False),
        sa.Column("entity_type", key_text(16), nullable=True),
        sa.Column("entity_id", key_text(64), nullable=True),
        sa.Column("status", key_text(16), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("bad_data", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("model_name", key_text(255), nullable=True),
        sa.Column("model_version", sa.Integer(), nullable=True),
        sa.Column("metrics", Json, nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("updated_at", _INSTANT, nullable=False),
        sa.CheckConstraint(
            "status IN ('PENDING', 'RUNNING', 'TRAINED', 'SKIPPED', 'FAILED')",
            name=op.f("ck_ml_training_items_status"),
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["ml_training_runs.run_id"], name=op.f("fk_ml_training_items_run_id")
        ),
        sa.PrimaryKeyConstraint("run_id", "item_key", name=op.f("pk_ml_training_items")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ml_training_shards",
        sa.Column("run_id", key_text(64), nullable=False),
        sa.Column("shard_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("status", key_text(16), nullable=False),
        sa.Column("exit_status", sa.Integer(), nullable=True),
        sa.Column("detail", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("heartbeat_at", _INSTANT, nullable=True),
        sa.Column("finished_at", _INSTANT, nullable=True),
        sa.CheckConstraint(
            "status IN ('PENDING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'INTERRUPTED', 'CANCELLED')",
            name=op.f("ck_ml_training_shards_status"),
        ),
        sa.CheckConstraint("shard_index >= 0", name=op.f("ck_ml_training_shards_shard_index")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["ml_training_runs.run_id"], name=op.f("fk_ml_training_shards_run_id")
        ),
        sa.PrimaryKeyConstraint("run_id", "shard_index", name=op.f("pk_ml_training_shards")),
        sqlite_with_rowid=False,
    )
