"""The version that was active when this machine last heard of a model, for starting without the database."""

import logging
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from adsml_common.registry.disk_cache import DiskCache
from adsml_common.registry.models import ModelVersion

VERSION_JSON: Final = TypeAdapter(ModelVersion)
"""A version to JSON and back."""

_LOG = logging.getLogger(__name__)


class LastKnown:
    """A note by name; may be lost or damaged at any time."""

    def __init__(self, path: Path) -> None:
        self._notes = DiskCache(path)

    def remember(self, version: ModelVersion) -> None:
        """Keep a version as the one that is active under its name."""
        note = VERSION_JSON.dump_json(version)
        # At most starts nothing has changed.
        if self._notes.get(version.name) != note:
            self._notes.put(version.name, note)

    def forget(self, name: str) -> None:
        self._notes.remove(name)

    def get(self, name: str) -> ModelVersion | None:
        """The version last known to be active, None if there is no such, or no readable, note."""
        note = self._notes.get(name)
        if note is None:
            return None
        try:
            version = VERSION_JSON.validate_json(note)
        except ValueError:
            _LOG.warning("the note on %s can't be read", name)
            return None
        return version if version.name == name else None
