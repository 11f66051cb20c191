"""The version that was active when this machine last heard of a model, for starting without the database."""

import json
import logging
from datetime import date, datetime
from pathlib import Path
from typing import Any

from adsml_common.domain.entities import EntityType
from adsml_common.registry.disk_cache import DiskCache
from adsml_common.registry.models import ModelStatus, ModelVersion, jsonable

_LOG = logging.getLogger(__name__)


class LastKnown:
    """A note by name; may be lost or damaged at any time."""

    def __init__(self, path: Path) -> None:
        self._notes = DiskCache(path)

    def remember(self, version: ModelVersion) -> None:
        """Keep a version as the one that is active under its name."""
        # At most starts nothing has changed; the key of a version's files is its own for ever.
        mark = f"{version.artifact_uri}\n".encode()
        if (self._notes.get(version.name) or b"").startswith(mark):
            return
        self._notes.put(version.name, mark + json.dumps(version_to_json(version)).encode())

    def forget(self, name: str) -> None:
        self._notes.remove(name)

    def get(self, name: str) -> ModelVersion | None:
        """The version last known to be active, None if there is no such, or no readable, note."""
        note = self._notes.get(name)
        if note is None:
            return None
        try:
            version = version_from_json(json.loads(note.partition(b"\n")[2]))
        except (ValueError, KeyError, TypeError):
            _LOG.warning("the note on %s can't be read", name)
            return None
        return version if version.name == name else None


def version_to_json(version: ModelVersion) -> dict[str, Any]:
    facts: dict[str, Any] = jsonable({name: getattr(version, name) for name in ModelVersion.__slots__})
    return facts


def version_from_json(raw: dict[str, Any]) -> ModelVersion:
    def day(value: str | None) -> date | None:
        return None if value is None else date.fromisoformat(value)

    return ModelVersion(
        **{
            **raw,
            "entity_type": None if raw["entity_type"] is None else EntityType(raw["entity_type"]),
            "feature_columns": tuple(raw["feature_columns"]),
            "window_start": day(raw["window_start"]),
            "window_end": day(raw["window_end"]),
            "status": ModelStatus(raw["status"]),
            "created_at": datetime.fromisoformat(raw["created_at"]),
        }
    )
