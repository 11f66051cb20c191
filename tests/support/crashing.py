"""Registers and activates a model, killing itself at a chosen point."""

import os
import signal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from adsml_common.database import Database
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.registry import ModelRegistry

from support.models import NAME, candidate

POINTS = (
    "while the artifact is written",
    "between artifact and row",
    "before the row is committed",
    "between row and activation",
    "within the activation",
    "before the activation is committed",
    "after the activation",
)


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def register_and_die(url: str, folder: str, point: str) -> None:
    """Register value 2 for run-2 and activate it."""
    database = Database.open(url)
    artifacts = ArtifactStore(f"{folder}/artifacts", cache_dir=Path(folder) / "crash-cache")
    registry = ModelRegistry(database, artifacts)
    put = artifacts.put

    def put_then_die(key: str, data: bytes) -> None:
        put(key, data)
        die()

    def update_then_die(*arguments: Any) -> None:
        if arguments[2].startswith("UPDATE ml_trained_models"):
            die()

    if point == "while the artifact is written":
        os.fsync = die
    if point == "between artifact and row":
        artifacts.put = put_then_die  # type: ignore[method-assign]
    if point == "before the row is committed":
        sa.event.listen(database.engine, "commit", die)
    made = registry.register(candidate(2, run_id="run-2"))
    if point == "between row and activation":
        die()
    if point == "within the activation":
        sa.event.listen(database.engine, "after_cursor_execute", update_then_die)
    if point == "before the activation is committed":
        sa.event.listen(database.engine, "commit", die)
    registry.activate(NAME, made.version, actor="run-2", reason="passed its gate")
    if point == "after the activation":
        die()
