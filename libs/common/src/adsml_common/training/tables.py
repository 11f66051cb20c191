"""Tables of training runs, their items, and the leases that keep two runs of one job apart."""

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, UniqueConstraint

from adsml_common.schema import METADATA, Instant, Json, key_text

ml_training_runs = Table(
    "ml_training_runs",
    METADATA,
    Column("run_id", key_text(64), primary_key=True),
    Column("job", key_text(64), nullable=False),
    Column("request_id", key_text(128), nullable=False),
    Column("shard_index", sa.Integer, nullable=False),
    Column("shard_count", sa.Integer, nullable=False),
    Column("parameters", Json, nullable=False),
    Column("state", key_text(16), nullable=False),
    Column("exit_status", sa.Integer),
    Column("message", sa.Text, nullable=False, server_default=sa.text("''")),
    # How often a process began to work on it: 1 plus the number of resumptions.
    Column("attempts", sa.Integer, nullable=False, server_default="0"),
    Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    UniqueConstraint("job", "request_id", "shard_index"),
    CheckConstraint("shard_index >= 0 AND shard_index < shard_count", name="shard"),
    CheckConstraint(
        "state IN ('PENDING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'INTERRUPTED', 'CANCELLED')", name="state"
    ),
    Index(None, "created_at"),
)

ml_training_items = Table(
    "ml_training_items",
    METADATA,
    Column("run_id", key_text(64), ForeignKey("ml_training_runs.run_id"), primary_key=True),
    Column("item_key", key_text(255), primary_key=True),
    Column("state", key_text(16), nullable=False),
    Column("reason", sa.Text, nullable=False, server_default=sa.text("''")),
    # Whether a failure lies in the data, so that trying again can't help.
    Column("bad_data", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("seconds", sa.Double),
    Column("model_name", key_text(255)),
    Column("model_version", sa.Integer),
    Column("metrics", Json, nullable=False),
    Column("attempts", sa.Integer, nullable=False, server_default="0"),
    Column("updated_at", Instant, nullable=False),
    CheckConstraint("state IN ('PENDING', 'RUNNING', 'TRAINED', 'SKIPPED', 'FAILED')", name="state"),
)

ml_leases = Table(
    "ml_leases",
    METADATA,
    Column("name", key_text(255), primary_key=True),
    Column("holder", sa.Text, nullable=False),
    # Grows with every change of hands; whoever writes under an older one has lost the lease.
    Column("token", sa.BigInteger, nullable=False),
    Column("acquired_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)
