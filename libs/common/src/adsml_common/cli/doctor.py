"""`adsml doctor`: whether this installation is able to work."""

import sys
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final

from adsml_common.cli import family
from adsml_common.cli.context import settings
from adsml_common.cli.exits import Exit
from adsml_common.cli.output import JsonOption, console, print_json, table
from adsml_common.cli.remote import Remote, with_server
from adsml_common.domain.errors import AdsmlError, FailedPrecondition
from adsml_common.registry.models import ModelStatus, ModelVersion

if TYPE_CHECKING:
    from adsml_common.database import Database
    from adsml_common.registry.artifacts import ArtifactStore
    from adsml_common.registry.registry import ModelRegistry
    from adsml_common.settings import Settings

_LOADS: Final = "loads"


class Health(StrEnum):
    """Outcome of one check."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """What was checked, how it went, what was found and, where it failed, the cure."""

    name: str
    health: Health
    detail: str


def _attempt(name: str, cure: str, work: Callable[[], str]) -> Check:
    try:
        return Check(name, Health.OK, work())
    except (AdsmlError, OSError) as error:
        return Check(name, Health.FAILED, f"{error}. {cure}")


def _reach(database: "Database") -> str:
    database.ping()
    return f"{database.shown} answers"


def _schema(database: "Database") -> Check:
    try:
        database.require_schema()
    except FailedPrecondition as error:
        return Check("schema current", Health.FAILED, error.message)
    state = database.schema_state()
    return Check("schema current", Health.OK, f"revision {state.current} ({state.status})")


def _artifacts_writable(store: "ArtifactStore") -> str:
    key = f"doctor/{uuid.uuid4()}"
    store.put(key, b"adsml doctor")
    store.delete(key)
    return "wrote and removed a file"


def _read(registry: "ModelRegistry", model: ModelVersion, one: family.Family | None) -> str:
    if one is None or one.check_model is None:
        registry.read(model)
        return "intact (its family isn't installed here, so it was not parsed)"
    registry.read(model, parse=one.check_model)
    return _LOADS


def _models(registry: "ModelRegistry") -> list[Check]:
    """Every active model read, checked against its sha256 and parsed as its service would."""
    families = family.by_prefix()
    found = [
        _attempt(
            f"model {model.name} version {model.version}",
            f"Retrain it, or: adsml models rollback {model.name}",
            partial(_read, registry, model, families.get(model.name.split("/")[0])),
        )
        for model in registry.iterate(status=ModelStatus.ACTIVE)
    ]
    return found or [
        Check("models loadable", Health.SKIPPED, "no active model yet; train one with: adsml train")
    ]


def _freshness(database: "Database") -> Check:
    """How far each synced account's rows reach, and what its last sync said."""
    from adsml_common.store.accounts import AccountStore  # noqa: PLC0415

    synced = [one for one in AccountStore(database).list() if one.sync_started_at is not None]
    if not synced:
        return Check("accounts synced", Health.SKIPPED, "no account is synced; rows come by adsml import")
    failed = [one for one in synced if one.sync_error is not None or one.sync_finished_at is None]
    told = [
        f"{one.config_id}: up to {one.last_date or 'no day'}"
        + (f" ({one.sync_error or 'did not end'})" if one in failed else "")
        for one in (failed or synced)[:20]
    ]
    return Check("accounts synced", Health.FAILED if failed else Health.OK, "; ".join(told))


def examine(config: "Settings") -> list[Check]:
    """Every check, in the order in which one needs the other."""
    from adsml_common.database import Database  # noqa: PLC0415
    from adsml_common.registry.artifacts import ArtifactStore  # noqa: PLC0415
    from adsml_common.registry.registry import ModelRegistry  # noqa: PLC0415

    families = ", ".join(family.installed()) or "none"
    checks = [Check("families installed", Health.OK if families != "none" else Health.FAILED, families)]
    store = ArtifactStore(config.artifact_url, cache_dir=config.cache_dir)
    artifacts = _attempt(
        "artifact store writable",
        "Check ADSML_ARTIFACT_URL and its permissions",
        lambda: _artifacts_writable(store),
    )
    try:
        database = Database.open(config.database_url)
    except AdsmlError as error:
        return [*checks, Check("database reachable", Health.FAILED, error.message), artifacts]
    with closing(database):
        reachable = _attempt(
            "database reachable",
            "Check ADSML_DATABASE_URL and that the server is up",
            partial(_reach, database),
        )
        checks.append(reachable)
        if reachable.health is Health.OK:
            checks.append(_schema(database))
        checks.append(artifacts)
        if all(check.health is Health.OK for check in checks):
            checks += [*_models(ModelRegistry.open(database, config)), _freshness(database)]
    return checks


def _folded(checks: list[Check]) -> list[Check]:
    """The checks for a person: models that load are counted by kind, others keep their line."""
    loaded = [one for one in checks if one.detail == _LOADS]
    kinds = Counter(one.name.split()[1].split("/")[0] for one in loaded)
    counted = [
        Check(f"{kind} models", Health.OK, f"{count} active, {'it loads' if count == 1 else 'all load'}")
        for kind, count in kinds.items()
    ]
    return [one for one in checks if one not in loaded] + counted


@with_server
def doctor(json_output: JsonOption = False, remote: Remote | None = None) -> None:
    """Check the database, its schema, the artifact store and every active model; or a running service.

    With --server it looks as a caller would: TLS, health, version, clock, services, models.

    Example: adsml doctor
    """
    about: dict[str, object]
    if remote is not None:
        # gRPC takes a third of a second to load.
        from adsml_common.cli.remote_checks import examine as examine_remote  # noqa: PLC0415

        checks, about = examine_remote(remote), {"server": remote.target}
    else:
        config = settings()
        checks, about = examine(config), {"settings": config.masked()}
    healthy = all(check.health is not Health.FAILED for check in checks)
    if json_output:
        print_json({"healthy": healthy, **about, "checks": checks})
    else:
        colour = {Health.OK: "green", Health.FAILED: "bold red", Health.SKIPPED: "yellow"}
        rows = [(c.name, f"[{colour[c.health]}]{c.health}[/]", c.detail) for c in _folded(checks)]
        table(f"adsml doctor {remote.target if remote else ''}".rstrip(), ("check", "", "detail"), rows)
        console.print("all is well" if healthy else "[bold red]something needs a cure[/]")
    if not healthy:
        sys.exit(Exit.FAILED)
