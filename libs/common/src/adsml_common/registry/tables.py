"""Tables of the model registry."""

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, ForeignKeyConstraint, Index, Table, UniqueConstraint

from adsml_common.schema import METADATA, BigKey, Instant, Json, key_text

NAME_LENGTH = 255

ml_trained_models = Table(
    "ml_trained_models",
    METADATA,
    Column("model_key", BigKey, primary_key=True),
    Column("name", key_text(NAME_LENGTH), nullable=False),
    Column("version", sa.Integer, nullable=False),
    Column("model_type", key_text(64), nullable=False),
    Column("config_id", sa.BigInteger, nullable=False),
    Column("entity_type", key_text(16)),
    Column("entity_id", key_text(64)),
    # Relative to the artifact store's URL, so that a store can be moved or restored elsewhere.
    Column("artifact_uri", key_text(1024), nullable=False),
    Column("sha256", key_text(64), nullable=False),
    Column("size_bytes", sa.BigInteger, nullable=False),
    Column("format_version", sa.Integer, nullable=False),
    Column("parameters", Json, nullable=False),
    Column("feature_columns", Json, nullable=False),
    Column("training_metrics", Json, nullable=False),
    Column("samples_count", sa.BigInteger, nullable=False),
    Column("window_start", sa.Date),
    Column("window_end", sa.Date),
    Column("code_version", sa.Text, nullable=False),
    Column("library_versions", Json, nullable=False),
    Column("run_id", key_text(64)),
    Column("status", key_text(16), nullable=False),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("name", "version"),
    UniqueConstraint("artifact_uri"),
    CheckConstraint("version > 0", name="version"),
    CheckConstraint("status IN ('READY', 'ACTIVE', 'ARCHIVED', 'FAILED')", name="status"),
    # At most one version of a name serves, whatever two processes do at once.
    Index(
        "uq_ml_trained_models_active",
        "name",
        unique=True,
        sqlite_where=sa.text("status = 'ACTIVE'"),
        postgresql_where=sa.text("status = 'ACTIVE'"),
    ),
    # A run registers a name once; it leads with the run so that a run's models are found by it.
    Index(
        "uq_ml_trained_models_run",
        "run_id",
        "name",
        unique=True,
        sqlite_where=sa.text("run_id IS NOT NULL"),
        postgresql_where=sa.text("run_id IS NOT NULL"),
    ),
    Index(None, "config_id", "model_type"),
)

ml_model_events = Table(
    "ml_model_events",
    METADATA,
    Column("event_key", BigKey, primary_key=True),
    Column("name", key_text(NAME_LENGTH), nullable=False),
    Column("version", sa.Integer, nullable=False),
    Column("event", key_text(16), nullable=False),
    # The version that was active before an activation or a rollback.
    Column("previous_version", sa.Integer),
    Column("actor", sa.Text, nullable=False),
    Column("reason", sa.Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    ForeignKeyConstraint(["name", "version"], ["ml_trained_models.name", "ml_trained_models.version"]),
    Index(None, "name", "event_key"),
)
