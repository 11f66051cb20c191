"""The version that was active when this machine last heard of a model, for starting without the database."""

import contextlib
import hashlib
import json
import logging
import tempfile
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import Any

from adsml_common.domain.entities import EntityType
from adsml_common.registry.models import ModelStatus, ModelVersion, jsonable

_LOG = logging.getLogger(__name__)


class LastKnown:
    """One small file per name; may be lost or damaged at any time.

    Parameters
    ----------
    folder
        Where they lie; made at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def remember(self, version: ModelVersion) -> None:
        """Keep a version as the one that is active under its name."""
        # Reading a note is many times cheaper than writing one, and at most starts nothing has changed.
        if self.recall(version.name) == version:
            return
        path = self._path(version.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".tmp-", delete=False) as out:
                json.dump(jsonable(asdict(version)), out)
            Path(out.name).replace(path)
        except OSError as error:
            _LOG.warning("%s could not be noted in %s: %s", version, self._folder, error)

    def forget(self, name: str) -> None:
        """Drop what is known of a name."""
        with contextlib.suppress(OSError):
            self._path(name).unlink(missing_ok=True)

    def recall(self, name: str) -> ModelVersion | None:
        """The version last known to be active, None if there is no such, or no readable, note."""
        try:
            raw = json.loads(self._path(name).read_text())
            version = _parsed(raw)
        except OSError:
            return None
        except (ValueError, KeyError, TypeError):
            _LOG.warning("the note on %s in %s can't be read", name, self._folder)
            return None
        return version if version.name == name else None

    def _path(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()}.json"


def _parsed(raw: dict[str, Any]) -> ModelVersion:
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
