"""The model registry: which versions there are, which one serves, and who decided so."""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import timedelta
from functools import partial
from typing import Final

from sqlalchemy.engine import Connection

from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import (
    ArtifactCorrupt,
    FailedPrecondition,
    NotFound,
    Violations,
)
from adsml_common.registry import queries, registration, upkeep
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.bundle import Bundle, most_bytes, unpack
from adsml_common.registry.last_known import LastKnown
from adsml_common.registry.models import (
    Candidate,
    ModelEvent,
    ModelEventType,
    ModelStatus,
    ModelVersion,
)
from adsml_common.registry.signatures import Signatures
from adsml_common.registry.tables import ml_model_events as events
from adsml_common.registry.tables import ml_trained_models as models
from adsml_common.registry.vetting import ModelVetter, Parse
from adsml_common.settings import Settings
from adsml_common.store.keys import among

SWEEP_AGE: Final = timedelta(days=1)


def _no_parse(version: ModelVersion) -> Parse | None:
    return None


class ModelRegistry:
    """Registers, activates and finds models; threads may share it.

    A version is registered in two steps, artifact first and row second, and activated in a third. Readers find
    versions by their rows, so a crash between two steps leaves nothing that a reader can see; a file without a row is
    swept. Methods raise `NotFound` for a name or version that is not there, `Unavailable` where database or artifact
    store do not answer. `last_known` is what this machine last heard of, for when the database is away.
    """

    def __init__(
        self,
        database: Database,
        artifacts: ArtifactStore,
        *,
        signatures: Signatures | None = None,
        vetter: ModelVetter | None = None,
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._signatures = signatures or Signatures()
        self._vetter = vetter or ModelVetter(artifacts.cache_dir)
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
        return registration.register(self._database, self._artifacts, candidate, signatures=self._signatures)

    def activate(self, name: str, version: int, *, actor: str, reason: str) -> ModelVersion:
        """Make a version the one that serves; the one that did is archived. Idempotent.

        Its artifact is read and checked first: raises `ArtifactCorrupt`, or `FailedPrecondition` for one found
        unusable.
        """
        _check_words(actor, reason)
        self._check_artifact(self.get(name, version))
        with self._database.write() as connection:
            self._lock(connection, name)
            return self._switch(connection, name, version, ModelEventType.ACTIVATED, actor, reason)

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
        with self._database.write() as connection:
            self._lock(connection, name)
            again = queries.active_version(connection, name)
            if again is None or again.version != present.version:
                raise FailedPrecondition(f"another version of {name} was activated meanwhile; look again")
            return self._switch(
                connection, name, earlier[0].version, ModelEventType.ROLLED_BACK, actor, reason
            )

    def reject(self, name: str, version: int, *, actor: str, reason: str) -> None:
        """Note why a candidate did not pass its gate; it stays READY. Idempotent."""
        _check_words(actor, reason)
        with self._database.write() as connection:
            self._lock(connection, name)
            found = queries.get_version(connection, name, version)
            if found.status is ModelStatus.ACTIVE:
                raise FailedPrecondition(f"{found} is active; roll it back or activate another instead")
            gate = {"decision": "rejected", "reason": reason}
            if found.training_metrics.get("gate") == gate:
                return
            queries.update_version(
                connection, found, training_metrics={**found.training_metrics, "gate": gate}
            )
            queries.note_event(connection, found, ModelEventType.REJECTED, actor=actor, reason=reason)

    def retire(self, name: str, version: int, *, actor: str, reason: str) -> None:
        """End a version's service with none in its place; it can be activated again. Idempotent.

        Raises
        ------
        NotFound
            No such version.
        Unavailable
            The database does not answer.
        """
        _check_words(actor, reason)
        with self._database.write() as connection:
            self._lock(connection, name)
            retired = queries.get_version(connection, name, version)
            if retired.status is ModelStatus.ACTIVE:
                queries.update_version(connection, retired, status=ModelStatus.ARCHIVED.value)
                queries.note_event(
                    connection, retired, ModelEventType.RETIRED, actor=actor, reason=reason, previous=version
                )

    def fail(self, name: str, version: int, *, actor: str, reason: str) -> None:
        """Mark a version as unusable, so that nobody activates or falls back to it. Idempotent."""
        _check_words(actor, reason)
        with self._database.write() as connection:
            self._lock(connection, name)
            found = queries.get_version(connection, name, version)
            if found.status is ModelStatus.ACTIVE:
                raise FailedPrecondition(f"{found} is active; roll it back or activate another first")
            if found.status is not ModelStatus.FAILED:
                queries.update_version(connection, found, status=ModelStatus.FAILED.value)
                queries.note_event(connection, found, ModelEventType.FAILED, actor=actor, reason=reason)

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
            query = queries.select_models().where(
                models.c.status == ModelStatus.ACTIVE.value,
                among(connection, models.c.name, names),
            )
            return {row.name: queries.version_of(row) for row in connection.execute(query)}

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
        query = queries.select_events().order_by(events.c.event_key.desc()).limit(limit)
        if name is not None:
            query = query.where(events.c.name == name)
        if name_prefix is not None:
            query = query.where(queries.starts_with(events.c.name, name_prefix))
        if before is not None:
            query = query.where(events.c.event_key < before)
        with self._database.read() as connection:
            return [queries.event_of(row) for row in connection.execute(query)]

    def read(self, version: ModelVersion, *, parse: Parse | None = None) -> Bundle:
        """A version's files, checked against the checksum in its row and, where keys are trusted, its signature.

        `parse`, a function of a module, parses the bundle first in a process of its own. Raises `ArtifactCorrupt`
        where it is missing, damaged, not signed, of a format this version can't read, or not to be parsed.
        """
        return self._checked(version, self._artifacts.get(version.artifact_uri, sha256=version.sha256), parse)

    def vet_ahead(self, versions: Iterable[ModelVersion], parse: Parse) -> None:
        """Let models that will be read with `parse` soon be parsed in its process meanwhile."""
        get = self._artifacts.get
        self._vetter.ahead(
            parse, [(one, partial(get, one.artifact_uri, sha256=one.sha256)) for one in versions]
        )

    def iterate(
        self, *, name_prefix: str | None = None, status: ModelStatus | None = None
    ) -> Iterator[ModelVersion]:
        """Every version in the order of names, then versions, a page at a time."""
        return queries.every_version(self._database, name_prefix=name_prefix, status=status)

    # -- keeping order ---------------------------------------------------------------------------------------

    def sweep_orphans(self, *, older_than: timedelta = SWEEP_AGE) -> list[str]:
        """Remove files that no version names; the keys of those that were.

        Younger files are left alone: they may belong to a registration on its way, which takes far less than a day.
        """
        return upkeep.sweep_orphans(self._database, self._artifacts, older_than=older_than)

    def verify(self, parse_of: Callable[[ModelVersion], Parse | None] = _no_parse) -> upkeep.VerifyReport:
        """Load every version from the store, but those found unusable, and look for files without a version.

        `parse_of` gives what parses a version, where that is known; it does so in a process of its own.
        """

        def load(version: ModelVersion) -> None:
            data = self._artifacts.fetch(version.artifact_uri, sha256=version.sha256)
            self._checked(version, data, parse_of(version))

        return upkeep.verify(self._database, self._artifacts, load)

    # The last public one: below it, "list" in this class is this method.
    def list(
        self,
        *,
        name: str | None = None,
        name_prefix: str | None = None,
        model_type: str | None = None,
        config_id: int | None = None,
        entity_type: EntityType | None = None,
        entity_id: str | None = None,
        status: ModelStatus | None = None,
        run_id: str | None = None,
        limit: int = 100,
        before: ModelVersion | None = None,
    ) -> list[ModelVersion]:
        """Versions for which all that is given holds, the one registered last first.

        `before` is the last one of the page before.
        """
        wanted = {
            "name": name,
            "model_type": model_type,
            "config_id": config_id,
            "entity_type": entity_type.value if entity_type else None,
            "entity_id": entity_id,
            "status": status.value if status else None,
            "run_id": run_id,
        }
        query = queries.select_models().order_by(models.c.model_key.desc()).limit(limit)
        query = query.where(*(models.c[key] == value for key, value in wanted.items() if value is not None))
        if name_prefix is not None:
            query = query.where(queries.starts_with(models.c.name, name_prefix))
        if before is not None:
            query = query.where(models.c.model_key < queries.key_of(before))
        with self._database.read() as connection:
            return [queries.version_of(row) for row in connection.execute(query)]

    # -- inside ----------------------------------------------------------------------------------------------

    def _switch(
        self,
        connection: Connection,
        name: str,
        version: int,
        event: ModelEventType,
        actor: str,
        reason: str,
    ) -> ModelVersion:
        wanted = queries.get_version(connection, name, version)
        if wanted.status is ModelStatus.ACTIVE:
            return wanted
        if wanted.status is ModelStatus.FAILED:
            raise FailedPrecondition(f"{wanted} was found unusable; train or activate another")
        present = queries.active_version(connection, name)
        if present is not None:
            queries.update_version(connection, present, status=ModelStatus.ARCHIVED.value)
        queries.update_version(connection, wanted, status=ModelStatus.ACTIVE.value)
        queries.note_event(
            connection,
            wanted,
            event,
            actor=actor,
            reason=reason,
            previous=present.version if present else None,
        )
        return queries.get_version(connection, name, version)

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
            self._checked(version, self._artifacts.fetch(version.artifact_uri, sha256=version.sha256), None)
        except ArtifactCorrupt as error:
            raise ArtifactCorrupt(f"{version} can't be activated: {error.message}") from None

    def _lock(self, connection: Connection, name: str) -> None:
        self._database.lock(connection, f"model {name}")


def _check_words(actor: str, reason: str) -> None:
    found = Violations()
    for name, value in (("actor", actor), ("reason", reason)):
        if not value.strip():
            found.add(name, "is empty; the record says who did it and why")
    found.raise_if_any()
