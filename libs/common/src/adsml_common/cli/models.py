"""`adsml models`: what is registered, what is active, and since when."""

import getpass
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from adsml_common.cli import family
from adsml_common.cli.context import open_database, open_registry, settings
from adsml_common.cli.exits import Exit
from adsml_common.cli.output import JsonOption, console, print_json, table
from adsml_common.registry.models import ModelStatus, ModelVersion

if TYPE_CHECKING:
    from adsml_common.registry.vetting import Parse

app = typer.Typer(no_args_is_help=True, help="Registered models: list, show, activate, roll back, verify.")

NameArgument = Annotated[str, typer.Argument(help="Name of the model, e.g. classifier/1.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the model's history.")]


def _person() -> str:
    return f"{getpass.getuser()} (command line)"


def _window(model: ModelVersion) -> str:
    return f"{model.window_start} to {model.window_end}" if model.window_start and model.window_end else ""


@app.command("list")
def list_(
    config_id: Annotated[int | None, typer.Option(help="Only this ad account.")] = None,
    status: Annotated[ModelStatus | None, typer.Option(help="Only models in this status.")] = None,
    prefix: Annotated[
        str | None, typer.Option(help="Only names that start with this, e.g. anomaly/.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 100,
    json_output: JsonOption = False,
) -> None:
    """List models, the one registered last first.

    Example: adsml models list --status ACTIVE
    """
    config = settings()
    with open_database(config) as database:
        registry = open_registry(config, database)
        found = registry.list(config_id=config_id, status=status, name_prefix=prefix, limit=limit)
    if json_output:
        print_json({"models": found})
        return
    table(
        "Models",
        ("name", "v", "status", "samples", "created", "kB"),
        [
            (m.name, m.version, m.status, f"{m.samples_count:,}", f"{m.created_at:%Y-%m-%d %H:%M}",
             f"{m.size_bytes / 1024:.1f}")
            for m in found
        ],
        right=("v", "samples", "kB"),
        whole=("v", "status", "samples", "created", "kB"),
    )  # fmt: skip
    if len(found) == limit:
        console.print(f"only the last {limit} are shown; see --limit")


@app.command()
def show(
    name: NameArgument,
    version: Annotated[int | None, typer.Option(help="This version (default: the active one).")] = None,
    json_output: JsonOption = False,
) -> None:
    """Show one model with its metrics and history.

    Example: adsml models show classifier/1
    """
    config = settings()
    with open_database(config) as database:
        registry = open_registry(config, database)
        model = registry.require_active(name) if version is None else registry.get(name, version)
        events = registry.events(name)
    if json_output:
        print_json({"model": model, "events": events})
        return
    facts = (
        ("version", model.version), ("status", model.status), ("type", model.model_type),
        ("samples", model.samples_count), ("trained on", _window(model)), ("created", model.created_at),
        ("code", model.code_version), ("artifact", model.artifact_uri), ("sha256", model.sha256),
        *((f"parameter {key}", value) for key, value in model.parameters.items()),
        *((f"metric {key}", value) for key, value in model.training_metrics.items()),
    )  # fmt: skip
    table(model.name, ("", ""), facts)
    table(
        "History",
        ("when", "what", "version", "by", "why"),
        [(f"{e.created_at:%Y-%m-%d %H:%M:%S}", e.event, e.version, e.actor, e.reason) for e in events],
        right=("version",),
    )


@app.command()
def activate(
    name: NameArgument,
    version: Annotated[int, typer.Argument(help="The version to serve from now on.")],
    reason: ReasonOption = "activated by hand",
    json_output: JsonOption = False,
) -> None:
    """Make a version the active one; services pick it up at their next poll.

    Example: adsml models activate classifier/1 2 --reason "better on the holdout"
    """
    config = settings()
    with open_database(config) as database:
        model = open_registry(config, database).activate(name, version, actor=_person(), reason=reason)
    if json_output:
        print_json({"model": model})
    else:
        console.print(f"{name} version {model.version} is active")


@app.command()
def rollback(
    name: NameArgument, reason: ReasonOption = "rolled back by hand", json_output: JsonOption = False
) -> None:
    """Make the version that was active before the current one active again.

    Example: adsml models rollback classifier/1 --reason "worse on new ad sets"
    """
    config = settings()
    with open_database(config) as database:
        model = open_registry(config, database).rollback(name, actor=_person(), reason=reason)
    if json_output:
        print_json({"model": model})
    else:
        console.print(f"{name} is back at version {model.version}")


@app.command()
def verify(
    sweep: Annotated[bool, typer.Option(help="Also remove orphaned artifacts older than a day.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Load every registered model, each in a process of its own: missing, corrupt, orphaned.

    Exit status 0 if every registered model is there and can be loaded, else 1.

    Example: adsml models verify --sweep
    """
    config = settings()
    with open_database(config) as database:
        registry = open_registry(config, database)
        families = {prefix: one for one in family.installed().values() for prefix in one.model_prefixes}

        def parse_of(model: ModelVersion) -> "Parse | None":
            one = families.get(model.name.split("/")[0])
            return None if one is None else one.check_model

        report = registry.verify(parse_of)
        swept = registry.sweep_orphans() if sweep else []
    if json_output:
        print_json({"report": report, "swept": swept})
    else:
        found = {"missing": report.missing, "corrupt": report.corrupt, "orphaned": report.orphaned}
        rows = [
            (kind, item, report.reasons.get(str(item), "")) for kind, items in found.items() for item in items
        ]
        table(f"{report.checked} models checked", ("", "what", "why"), rows)
        if swept:
            console.print(f"removed {len(swept)} orphaned artifacts")
    if report.missing or report.corrupt:
        sys.exit(Exit.FAILED)
