"""Tables of training runs: what was asked for, its shards and items, and the leases that keep runs apart."""

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, UniqueConstraint

from adsml_common.schema import METADATA, Instant, Json, key_text, one_of
from adsml_common.training.records import ItemStatus, LaunchKind, RunStatus, ShardStatus

_EMPTY = sa.text("''")

ml_training_runs = Table(
    "ml_training_runs",
    METADATA,
    Column("run_id", key_text(64), primary_key=True),
    Column("job", key_text(64), nullable=False),
    Column("request_id", key_text(128), nullable=False),
    Column("parameters", Json, nullable=False),
    Column("shard_count", sa.Integer, nullable=False),
    Column("launch_kind", key_text(16), nullable=False, server_default=LaunchKind.COMMAND_LINE.value),
    Column("actor", sa.Text, nullable=False),
    Column("launcher", key_text(32), nullable=False),
    Column("launcher_ref", sa.Text, nullable=False, server_default=_EMPTY),
    # Taken out once the launcher has no more to do with the Job of a run that ended badly.
    Column("job_uid", key_text(64), nullable=False, server_default=_EMPTY),
    Column("status", key_text(16), nullable=False),
    Column("detail", sa.Text, nullable=False, server_default=_EMPTY),
    Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    UniqueConstraint("job", "request_id"),
    CheckConstraint("shard_count > 0", name="shard_count"),
    one_of("status", RunStatus),
    one_of("launch_kind", LaunchKind),
    Index(None, "created_at"),
    Index(None, "status"),
)

ml_training_shards = Table(
    "ml_training_shards",
    METADATA,
    Column("run_id", key_text(64), ForeignKey("ml_training_runs.run_id"), primary_key=True),
    Column("shard_index", sa.Integer, primary_key=True, autoincrement=False),
    Column("status", key_text(16), nullable=False),
    Column("exit_status", sa.Integer),
    Column("detail", sa.Text, nullable=False, server_default=_EMPTY),
    # How often a process began to work on it: 1 plus the number of resumptions.
    Column("attempts", sa.Integer, nullable=False, server_default="0"),
    Column("heartbeat_at", Instant),
    Column("finished_at", Instant),
    CheckConstraint("shard_index >= 0", name="shard_index"),
    one_of("status", ShardStatus),
    sqlite_with_rowid=False,
)

ml_training_items = Table(
    "ml_training_items",
    METADATA,
    Column("run_id", key_text(64), ForeignKey("ml_training_runs.run_id"), primary_key=True),
    Column("item_key", key_text(255), primary_key=True),
    Column("shard_index", sa.Integer, nullable=False),
    Column("config_id", sa.BigInteger, nullable=False),
    Column("entity_type", key_text(16)),
    Column("entity_id", key_text(64)),
    Column("status", key_text(16), nullable=False),
    Column("reason", sa.Text, nullable=False, server_default=_EMPTY),
    # Whether a failure lies in the data, so that trying again can't help.
    Column("bad_data", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("seconds", sa.Double),
    Column("model_name", key_text(255)),
    Column("model_version", sa.Integer),
    Column("metrics", Json, nullable=False),
    Column("attempts", sa.Integer, nullable=False, server_default="0"),
    Column("updated_at", Instant, nullable=False),
    one_of("status", ItemStatus),
    sqlite_with_rowid=False,
)

ml_leases = Table(
    "ml_leases",
    METADATA,
    Column("job", key_text(64), primary_key=True),
    Column("shard_index", sa.Integer, primary_key=True, autoincrement=False),
    Column("run_id", key_text(64), nullable=False),
    Column("holder", sa.Text, nullable=False),
    # Grows with every change of hands; whoever writes under an older one has lost the lease.
    Column("token", sa.BigInteger, nullable=False),
    Column("acquired_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    sqlite_with_rowid=False,
)
