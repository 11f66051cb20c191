"""The model registry: which versions there are, which one serves, and who decided so."""

import hashlib
import secrets
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from adsml_common.database import Database
from adsml_common.domain.errors import ArtifactCorrupt, FailedPrecondition, NotFound, Violations
from adsml_common.registry import queries
from adsml_common.registry.artifacts import ArtifactStore, is_temporary
from adsml_common.registry.bundle import Bundle, most_bytes, pack, unpack
from adsml_common.registry.last_known import LastKnown
from adsml_common.registry.models import (
    Candidate,
    ModelEvent,
    ModelEventType,
    ModelStatus,
    ModelVersion,
    jsonable,
)
from adsml_common.registry.signatures import Signatures
from adsml_common.registry.tables import ml_model_events as events
from adsml_common.registry.tables import ml_trained_models as models
from adsml_common.registry.vetting import ModelVetter, Parse
from adsml_common.settings import Settings
from adsml_common.store.keys import among
from adsml_common.version import UNKNOWN
from adsml_common.version import version as code_version

SWEEP_AGE: Final = timedelta(days=1)
# Import name and distribution of what can shape a model.
_LIBRARIES: Final = {
    "numpy": "numpy",
    "pandas": "pandas",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "xgboost": "xgboost",
    "prophet": "prophet",
    "statsforecast": "statsforecast",
    "numba": "numba",
}


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


class ModelRegistry:
    """Registers, activates and finds models; threads may share it.

    A version is registered in two steps, artifact first and row second, and activated in a third. Readers find
    versions by their rows, so a crash between two steps leaves nothing that a reader can see; a file without a row is
    swept. Methods raise `NotFound` for a name or version that is not there, `Unavailable` where database or artifact
    store do not answer. `last_known` is what this machine last heard of, for when the database is away.
    """

    def __init__(
        self, database: Database, artifacts: ArtifactStore, *, signatures: Signatures | None = None
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._signatures = signatures or Signatures()
        self._vetter = ModelVetter(artifacts.cache_dir)
        self.last_known = LastKnown(artifacts.cache_dir / "active.db")

    @classmethod
    def open(cls, database: Database, settings: Settings) -> "ModelRegistry":
        """The registry of the settings; raises `SettingsError` naming the setting that can't work."""
        artifacts = ArtifactStore(settings.artifact_url, cache_dir=settings.cache_dir)
        return cls(database, artifacts, signatures=Signatures.of(settings))

    def close(self) -> None:
        self._vetter.close()

    # -- writing ---------------------------------------------------------------------------------------------

    def register(self, candidate: Candidate) -> ModelVersion:
        """Store a candidate's files and give it the next version of its name; it is READY, not yet active.

        Idempotent by run: the same run registering the same name again gets the version it made before. Raises
        `InvalidInput` where the candidate can't be registered as it is.
        """
        candidate.check()
        if candidate.run_id is not None:
            with self._database.read() as connection:
                made = queries.find_version(connection, run_id=candidate.run_id, name=candidate.name)
            if made is not None:
                return made
        libraries = _library_versions()
        bundle = Bundle.of(
            model_type=candidate.model_type,
            files=candidate.files,
            feature_columns=candidate.feature_columns,
            library_versions=libraries,
        )
        data = pack(bundle, sign=partial(self._signatures.sign, candidate.name))
        sha256 = hashlib.sha256(data).hexdigest()
        # A key of its own for every attempt: whatever a crash leaves is never written to again, and the sweep
        # never removes what a later attempt counts on.
        key = f"{candidate.name}/{sha256[:16]}-{secrets.token_hex(6)}.zip"
        facts = {name: getattr(candidate, name) for name in Candidate.__slots__ if name != "files"}
        row = facts | {
            "entity_type": candidate.entity_type.value if candidate.entity_type else None,
            "artifact_uri": key,
            "sha256": sha256,
            "size_bytes": len(data),
            "format_version": bundle.manifest.format_version,
            "parameters": jsonable(candidate.parameters),
            "feature_columns": list(candidate.feature_columns),
            "training_metrics": jsonable(candidate.training_metrics),
            "code_version": code_version(),
            "library_versions": libraries,
            "status": ModelStatus.READY.value,
            "created_at": datetime.now(UTC),
        }
        self._artifacts.put(key, data)
        with self._database.write() as connection:
            made = queries.insert_version(connection, row)
        if made.artifact_uri != key:
            # The same run was registered elsewhere meanwhile.
            self._artifacts.delete(key)
        return made

    def activate(self, name: str, version: int, *, actor: str, reason: str) -> ModelVersion:
        """Make a version the one that serves; the one that did is archived. Idempotent.

        Its artifact is read and checked first: raises `ArtifactCorrupt`, or `FailedPrecondition` for one found
        unusable.
        """
        _check_words(actor, reason)
        self._check_artifact(self.get(name, version))
        with self._locked(name, version, actor, reason) as (connection, wanted):
            return self._switch(connection, wanted, ModelEventType.ACTIVATED, actor, reason)

    def rollback(
        self,
        name: str,
        *,
        actor: str,
        reason: str,
        version: int | None = None,
        expected_active: int | None = None,
    ) -> ModelVersion:
        """Make the version that was active before the present one (or this earlier one) active again.

        Rolling back twice goes back two versions: a version that was rolled back from is not returned to. Where
        `expected_active` is given and another version is active nothing is changed, so that a second try can't go
        back one too far. Raises `FailedPrecondition` for that (in the metadata as ``active_version``) and where there
        is none to go back to, `ArtifactCorrupt` for one that is missing or damaged; name an earlier one.
        """
        _check_words(actor, reason)
        present = self.require_active(name)
        if expected_active is not None and present.version != expected_active:
            raise FailedPrecondition(
                f"version {present.version} of {name} is active, not {expected_active}",
                metadata={"active_version": str(present.version)},
            )
        with self._database.read() as connection:
            earlier = queries.earlier_versions(connection, name)
        if version is not None:
            earlier = [one for one in earlier if one.version == version]
        if not earlier:
            wanted = "earlier version" if version is None else f"version {version} that was active before"
            raise FailedPrecondition(f"{name} has no {wanted} to go back to")
        self._check_artifact(earlier[0])
        with self._locked(name, earlier[0].version, actor, reason) as (connection, target):
            again = queries.active_version(connection, name)
            if again is None or again.version != present.version:
                raise FailedPrecondition(f"another version of {name} was activated meanwhile; look again")
            return self._switch(connection, target, ModelEventType.ROLLED_BACK, actor, reason)

    def reject(self, name: str, version: int, *, actor: str, reason: str) -> None:
        """Note why a candidate did not pass its gate; it stays READY. Idempotent."""
        gate = {"decision": "rejected", "reason": reason}
        with self._locked(name, version, actor, reason) as (connection, found):
            if found.status is ModelStatus.ACTIVE:
                raise FailedPrecondition(f"{found} is active; roll it back or activate another instead")
            if found.training_metrics.get("gate") != gate:
                metrics = {**found.training_metrics, "gate": gate}
                event = ModelEventType.REJECTED
                queries.change(connection, found, event, actor, reason, training_metrics=metrics)

    def retire(self, name: str, version: int, *, actor: str, reason: str) -> None:
        """End a version's service with none in its place; it can be activated again. Idempotent."""
        with self._locked(name, version, actor, reason) as (connection, found):
            if found.status is ModelStatus.ACTIVE:
                event, status = ModelEventType.RETIRED, ModelStatus.ARCHIVED.value
                queries.change(connection, found, event, actor, reason, previous=version, status=status)

    def fail(self, name: str, version: int, *, actor: str, reason: str) -> None:
        """Mark a version as unusable, so that nobody activates or falls back to it. Idempotent."""
        with self._locked(name, version, actor, reason) as (connection, found):
            if found.status is ModelStatus.ACTIVE:
                raise FailedPrecondition(f"{found} is active; roll it back or activate another first")
            if found.status is not ModelStatus.FAILED:
                event, status = ModelEventType.FAILED, ModelStatus.FAILED.value
                queries.change(connection, found, event, actor, reason, status=status)

    # -- reading ---------------------------------------------------------------------------------------------

    def active(self, name: str) -> ModelVersion | None:
        """The version that serves, None if none does."""
        with self._database.read() as connection:
            return queries.active_version(connection, name)

    def require_active(self, name: str) -> ModelVersion:
        """The version that serves; raises `NotFound` where none does."""
        found = self.active(name)
        if found is None:
            raise NotFound(f"there is no active model {name}")
        return found

    def active_of(self, names: Collection[str]) -> dict[str, ModelVersion]:
        """The versions that serve, of many names in one query; names without one are absent."""
        with self._database.read() as connection:
            query = queries.select_models(status=ModelStatus.ACTIVE)
            query = query.where(among(connection, models.c.name, names))
            return {one.name: one for one in queries.versions(connection, query)}

    def get(self, name: str, version: int) -> ModelVersion:
        with self._database.read() as connection:
            return queries.get_version(connection, name, version)

    def earlier(self, name: str, *, limit: int = 5) -> list[ModelVersion]:
        """Versions that were active before the present one, latest first, without those found unusable."""
        with self._database.read() as connection:
            return queries.earlier_versions(connection, name)[:limit]

    def events(
        self,
        name: str | None = None,
        *,
        name_prefix: str | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[ModelEvent]:
        """What happened, latest first; `before` is the key of the last event of the page before."""
        columns = (
            events.c.event_key.label("key"),
            *(events.c[name] for name in ModelEvent.__slots__ if name != "key"),
        )
        query = sa.select(*columns).order_by(events.c.event_key.desc()).limit(limit)
        query = query.where(queries.starts_with(events.c.name, name_prefix))
        if name is not None:
            query = query.where(events.c.name == name)
        if before is not None:
            query = query.where(events.c.event_key < before)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [ModelEvent(**{**row._asdict(), "event": ModelEventType(row.event)}) for row in rows]

    def read(self, version: ModelVersion, *, parse: Parse | None = None) -> Bundle:
        """A version's files, checked against the checksum in its row and, where keys are trusted, its signature.

        `parse`, a function of a module, parses the bundle first in a process of its own. Raises `ArtifactCorrupt`
        where it is missing, damaged, not signed, of a format this version can't read, or not to be parsed.
        """
        return self._checked(version, self._get(version), parse)

    def vet_ahead(self, versions: Iterable[ModelVersion], parse: Parse) -> None:
        """Let models that will be read with `parse` soon be parsed in its process meanwhile."""
        self._vetter.ahead(parse, versions, self._get)

    def iterate(
        self, *, name_prefix: str | None = None, status: ModelStatus | None = None
    ) -> Iterator[ModelVersion]:
        """Every version in the order of names, then versions, a page at a time."""
        query = queries.select_models(status=status).order_by(models.c.name, models.c.version)
        query = query.where(queries.starts_with(models.c.name, name_prefix)).limit(queries.PAGE)
        after: tuple[str, int] | None = ("", 0)
        while after is not None:
            further = sa.tuple_(models.c.name, models.c.version) > sa.tuple_(*after)
            with self._database.read() as connection:
                page = queries.versions(connection, query.where(further))
            yield from page
            after = (page[-1].name, page[-1].version) if page else None

    # -- keeping order ---------------------------------------------------------------------------------------

    def sweep_orphans(self, *, older_than: timedelta = SWEEP_AGE) -> list[str]:
        """Remove files that no version names; the keys of those that were.

        Younger files are left alone: they may belong to a registration on its way, which takes far less than a day.
        """
        if older_than < timedelta(0):
            raise ValueError("older_than can't be negative")
        horizon = datetime.now(UTC) - older_than
        old = [one.key for one in self._artifacts.entries() if one.modified <= horizon]
        removed = [*self._orphans(old)]
        for key in removed:
            self._artifacts.delete(key)
        return removed

    def verify(self, parse_of: Callable[[ModelVersion], Parse | None] = lambda _: None) -> VerifyReport:
        """Load every version from the store, but those found unusable, and look for files without a version.

        `parse_of` gives what parses a version, where that is known; it does so in a process of its own.
        """
        # First the files: one that is registered meanwhile is in the rows read later, and no orphan.
        stored = {one.key for one in self._artifacts.entries()}
        orphaned = tuple(key for key in self._orphans(sorted(stored)) if not is_temporary(key))
        missing: list[ModelVersion] = []
        corrupt: list[ModelVersion] = []
        reasons: dict[str, str] = {}
        checked = 0
        for version in self.iterate():
            if version.status is ModelStatus.FAILED:
                continue
            checked += 1
            try:
                self._load(version, parse_of(version))
            except ArtifactCorrupt as error:
                reasons[str(version)] = error.message
                (corrupt if version.artifact_uri in stored else missing).append(version)
        return VerifyReport(checked, tuple(missing), tuple(corrupt), orphaned, reasons)

    # The last public one: below it, "list" in this class is this method.
    def list(
        self,
        *,
        name_prefix: str | None = None,
        limit: int = 100,
        before: tuple[str, int] | None = None,
        **wanted: Any,
    ) -> list[ModelVersion]:
        """Versions whose attributes are as `wanted` (None for any), the one registered last first.

        `before` is name and version of the last one of the page before.
        """
        query = queries.select_models(**wanted).order_by(models.c.model_key.desc()).limit(limit)
        query = query.where(queries.starts_with(models.c.name, name_prefix))
        if before is not None:
            last = sa.select(models.c.model_key).where(
                models.c.name == before[0], models.c.version == before[1]
            )
            query = query.where(models.c.model_key < last.scalar_subquery())
        with self._database.read() as connection:
            return queries.versions(connection, query)

    # -- inside ----------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(
        self, name: str, version: int, actor: str, reason: str
    ) -> Iterator[tuple[Connection, ModelVersion]]:
        """A transaction that alone changes a name, and the version as it is by now."""
        _check_words(actor, reason)
        with self._database.write() as connection:
            self._database.lock(connection, f"model {name}")
            yield connection, queries.get_version(connection, name, version)

    def _switch(
        self, connection: Connection, wanted: ModelVersion, event: ModelEventType, actor: str, reason: str
    ) -> ModelVersion:
        if wanted.status is ModelStatus.ACTIVE:
            return wanted
        if wanted.status is ModelStatus.FAILED:
            raise FailedPrecondition(f"{wanted} was found unusable; train or activate another")
        present = queries.active_version(connection, wanted.name)
        previous = None if present is None else present.version
        if present is not None:
            queries.update_version(connection, present, status=ModelStatus.ARCHIVED.value)
        active = ModelStatus.ACTIVE.value
        queries.change(connection, wanted, event, actor, reason, previous=previous, status=active)
        return queries.get_version(connection, wanted.name, wanted.version)

    def _orphans(self, keys: Sequence[str]) -> Iterator[str]:
        """Those of the keys in the artifact store that no version names."""
        for start in range(0, len(keys), queries.PAGE):
            some = keys[start : start + queries.PAGE]
            with self._database.read() as connection:
                query = sa.select(models.c.artifact_uri).where(among(connection, models.c.artifact_uri, some))
                named = set(connection.execute(query).scalars())
            yield from (key for key in some if key not in named)

    def _get(self, version: ModelVersion) -> bytes:
        return self._artifacts.get(version.artifact_uri, sha256=version.sha256)

    def _load(self, version: ModelVersion, parse: Parse | None = None) -> None:
        data = self._artifacts.fetch(version.artifact_uri, sha256=version.sha256)
        self._checked(version, data, parse)

    def _checked(self, version: ModelVersion, data: bytes, parse: Parse | None) -> Bundle:
        try:
            check = partial(self._signatures.check, version.name)
            bundle = unpack(data, check=check, max_bytes=most_bytes(parse))
        except ArtifactCorrupt as error:
            raise ArtifactCorrupt(
                f"{version}: {error.message}",
                metadata={**error.metadata, "model": version.name, "version": str(version.version)},
            ) from None
        if parse is not None:
            self._vetter.check(parse, version, data)
        return bundle

    def _check_artifact(self, version: ModelVersion) -> None:
        try:
            self._load(version)
        except ArtifactCorrupt as error:
            raise ArtifactCorrupt(f"{version} can't be activated: {error.message}") from None


def _check_words(actor: str, reason: str) -> None:
    found = Violations()
    for name, value in (("actor", actor), ("reason", reason)):
        if not value.strip():
            found.add(name, "is empty; the record says who did it and why")
    found.raise_if_any()


def _library_versions() -> dict[str, str]:
    """Versions of Python and of those model libraries that this process has imported."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for module, distribution in _LIBRARIES.items():
        if module in sys.modules and (known := code_version(distribution)) != UNKNOWN:
            found[distribution] = known
    return found
