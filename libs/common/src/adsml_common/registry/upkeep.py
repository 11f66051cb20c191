"""Keeping registry and artifact store in line: sweeping orphans, verifying every model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from adsml_common.database import Database
from adsml_common.domain.errors import ArtifactCorrupt
from adsml_common.registry.artifacts import ArtifactStore, is_temporary
from adsml_common.registry.models import ModelStatus, ModelVersion
from adsml_common.registry.queries import PAGE, every_version
from adsml_common.registry.tables import ml_trained_models as models
from adsml_common.store.keys import among


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` found: versions whose artifact is missing, or damaged, unsigned or not to be parsed, with reasons.

    `orphaned` are keys of files in the store that no version names.
    """

    checked: int
    missing: tuple[ModelVersion, ...]
    corrupt: tuple[ModelVersion, ...]
    orphaned: tuple[str, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every version can be loaded; orphans harm nobody."""
        return not self.missing and not self.corrupt


def sweep_orphans(database: Database, artifacts: ArtifactStore, *, older_than: timedelta) -> list[str]:
    if older_than < timedelta(0):
        raise ValueError("older_than can't be negative")
    horizon = datetime.now(UTC) - older_than
    old = [entry.key for entry in artifacts.entries() if entry.modified <= horizon]
    removed: list[str] = []
    for key in _orphans(database, old):
        artifacts.delete(key)
        removed.append(key)
    return removed


def verify(
    database: Database, artifacts: ArtifactStore, load: Callable[[ModelVersion], None]
) -> VerifyReport:
    # First the files: one that is registered meanwhile is in the rows read later, and no orphan.
    stored = [entry.key for entry in artifacts.entries()]
    orphaned = tuple(key for key in _orphans(database, stored) if not is_temporary(key))
    present = set(stored)
    missing: list[ModelVersion] = []
    corrupt: list[ModelVersion] = []
    reasons: dict[str, str] = {}
    checked = 0
    for version in every_version(database):
        if version.status is ModelStatus.FAILED:
            continue
        checked += 1
        try:
            load(version)
        except ArtifactCorrupt as error:
            reasons[str(version)] = error.message
            (corrupt if version.artifact_uri in present else missing).append(version)
    return VerifyReport(checked, tuple(missing), tuple(corrupt), orphaned, reasons)


def _orphans(database: Database, keys: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(keys), PAGE):
        some = keys[start : start + PAGE]
        with database.read() as connection:
            query = sa.select(models.c.artifact_uri).where(among(connection, models.c.artifact_uri, some))
            named = set(connection.execute(query).scalars())
        yield from (key for key in some if key not in named)
