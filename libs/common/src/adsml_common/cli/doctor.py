"""`adsml doctor`: whether this installation is able to work."""

import sys
import uuid
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from adsml_common.cli import family
from adsml_common.cli.checks import Check, Health
from adsml_common.cli.context import settings
from adsml_common.cli.exits import Exit
from adsml_common.cli.output import JsonOption, console, print_json, table
from adsml_common.cli.remote import CaFileOption, CertFileOption, KeyFileOption, Remote, TlsOption
from adsml_common.domain.errors import AdsmlError
from adsml_common.registry.models import ModelStatus, ModelVersion
from adsml_common.settings import Settings

if TYPE_CHECKING:
    from adsml_common.database import Database
    from adsml_common.registry.artifacts import ArtifactStore
    from adsml_common.registry.registry import ModelRegistry

_LOADS: Final = "loads"


def _attempt(name: str, cure: str, work: Callable[[], str]) -> Check:
    try:
        return Check(name, Health.OK, work())
    except AdsmlError as error:
        return Check(name, Health.FAILED, f"{error.message}. {cure}")
    except OSError as error:
        return Check(name, Health.FAILED, f"{error}. {cure}")


def _reach(database: "Database") -> str:
    database.ping()
    return f"{database.shown} answers"


def _schema(database: "Database") -> Check:
    state = database.schema_state()
    if state.usable:
        return Check("schema current", Health.OK, f"revision {state.current} ({state.status})")
    detail = f"{state.current or 'empty'}, this version needs {state.head}. Run: adsml migrate"
    return Check("schema current", Health.FAILED, detail)


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
    families = {prefix: one for one in family.installed().values() for prefix in one.model_prefixes}
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


def examine(config: Settings) -> list[Check]:
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
    try:
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
            checks += _models(ModelRegistry.open(database, config))
            checks.append(_freshness(database))
    finally:
        database.close()
    return checks


def _folded(checks: list[Check]) -> list[Check]:
    """The checks for a person: models that load are counted by kind, others keep their line."""
    kinds = Counter(one.name.split()[1].split("/")[0] for one in checks if _loads(one))
    counted = [
        Check(f"{kind} models", Health.OK, f"{count} active, {'it loads' if count == 1 else 'all load'}")
        for kind, count in kinds.items()
    ]
    return [one for one in checks if not _loads(one)] + counted


def _loads(check: Check) -> bool:
    return check.name.startswith("model ") and (check.health, check.detail) == (Health.OK, _LOADS)


def doctor(
    remote: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Look at a running service instead, as a caller sees it.")
    ] = "",
    tls: TlsOption = False,
    ca_file: CaFileOption = None,
    cert_file: CertFileOption = None,
    key_file: KeyFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Check the database, its schema, the artifact store and every active model; or a running service.

    A service that asks for a token gets the one in ADSML_TOKEN.

    Example: adsml doctor
    """
    about: dict[str, object]
    if remote:
        # gRPC takes a third of a second to load.
        from adsml_common.cli.remote_checks import examine as examine_remote  # noqa: PLC0415

        reached = Remote.of(
            remote, option="--remote", tls=tls, ca_file=ca_file, cert_file=cert_file, key_file=key_file
        )
        checks, about = examine_remote(reached), {"remote": remote}
    else:
        config = settings()
        checks, about = examine(config), {"settings": config.masked()}
    healthy = all(check.health is not Health.FAILED for check in checks)
    if json_output:
        print_json({"healthy": healthy, **about, "checks": checks})
    else:
        colour = {Health.OK: "green", Health.FAILED: "bold red", Health.SKIPPED: "yellow"}
        rows = [(c.name, f"[{colour[c.health]}]{c.health}[/]", c.detail) for c in _folded(checks)]
        table(f"adsml doctor {remote}".rstrip(), ("check", "", "detail"), rows)
        console.print("all is well" if healthy else "[bold red]something needs a cure[/]")
    if not healthy:
        sys.exit(Exit.FAILED)
