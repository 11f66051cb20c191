"""`adsml models`: what is registered, what is active, and since when."""

import sys
from itertools import islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from adsml.registry.v1 import registry_service_pb2 as pb

from adsml_common.cli import family
from adsml_common.cli.ask import Door, ask, asking, family_number, pages
from adsml_common.cli.context import open_database, open_registry, settings
from adsml_common.cli.exits import Exit
from adsml_common.cli.output import JsonOption, console, plain, print_json, table
from adsml_common.cli.remote import FamilyOption, Remote, with_server
from adsml_common.registry.models import ModelStatus, ModelVersion

if TYPE_CHECKING:
    from adsml_common.registry.vetting import Parse

app = typer.Typer(no_args_is_help=True, help="Registered models: list, show, activate, roll back, verify.")

NameArgument = Annotated[str, typer.Argument(help="Name of the model, e.g. classifier/1.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the model's history.")]


def _open() -> Any:
    from adsml_common.database import Database  # noqa: PLC0415
    from adsml_common.serving.registry_service import ModelRegistryService  # noqa: PLC0415

    config = settings()
    database = Database.open(config.database_url)
    registry = open_registry(config, database)
    service = ModelRegistryService(registry, family=None, prefixes=None)
    return SimpleNamespace(service=service, database=database, close=database.close)


_DOOR = Door("adsml.registry.v1.ModelRegistryService", _open)


def _status(model: Any) -> str:
    return pb.ModelStatus.Name(model.status).removeprefix("MODEL_STATUS_")


def _short(value: Any) -> str:
    """A figure of a model's record for people: numbers to four digits, what is nested in one line."""
    match value:
        case int() | float() if not isinstance(value, bool):
            return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
        case dict():
            return ", ".join(f"{key} {_short(one)}" for key, one in value.items())
        case list():
            return ", ".join(map(_short, value))
        case _:
            return str(value)


def _day(date: Any) -> str:
    return f"{date.year}-{date.month:02}-{date.day:02}"


@app.command("list")
@with_server
def list_(
    config_id: Annotated[int | None, typer.Option(min=1, help="Only this ad account.")] = None,
    status: Annotated[ModelStatus | None, typer.Option(help="Only models in this status.")] = None,
    prefix: Annotated[str, typer.Option(help="Only names that start with this, e.g. anomaly/.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 100,
    family_name: FamilyOption = None,
    json_output: JsonOption = False,
    remote: Remote | None = None,
) -> None:
    """List models, the one registered last first.

    Example: adsml models list --status ACTIVE
    """
    number: Any = family_number(family_name, remote, model=prefix)
    known: Any = None if status is None else pb.ModelStatus.Value(f"MODEL_STATUS_{status}")
    request = pb.ListModelsRequest(family=number, config_id=config_id, status=known, page_size=1_000)
    with asking(_DOOR, remote=remote) as send:
        models = pages(send, request, "models")
        found = list(islice((one for one in models if one.ref.name.startswith(prefix)), limit))
    if json_output:
        print_json({"models": found})
        return
    table(
        "Models",
        ("name", "v", "status", "created"),
        [
            (m.ref.name, m.ref.version, _status(m), f"{m.create_time.ToDatetime():%Y-%m-%d}")
            for m in found
        ],
        right=("v",),
        whole=("v", "status", "created"),
    )  # fmt: skip
    if len(found) == limit:
        console.print(f"only the last {limit} are shown; see --limit")


@app.command()
@with_server
def show(
    name: NameArgument,
    version: Annotated[
        int | None, typer.Option(min=1, help="This version (default: the active one).")
    ] = None,
    family_name: FamilyOption = None,
    json_output: JsonOption = False,
    remote: Remote | None = None,
) -> None:
    """Show one model with its metrics and history.

    Example: adsml models show classifier/1
    """
    number: Any = family_number(family_name, remote, model=name)
    with asking(_DOOR, remote=remote) as send:
        model = send(pb.GetModelRequest(family=number, name=name, version=version)).model
        events = list(pages(send, pb.ListModelEventsRequest(family=number, name=name), "events"))
    if json_output:
        print_json({"model": model, "events": events})
        return
    first, last = _day(model.training_first_date), _day(model.training_last_date)
    facts = (
        ("version", model.ref.version), ("status", _status(model)), ("type", model.model_type),
        ("samples", f"{model.samples_count:,}"), ("its gate said", model.gate_reason),
        ("trained on", f"{first} to {last}" if model.HasField("training_last_date") else ""),
        ("created", f"{model.create_time.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"), ("code", model.code_version),
        ("run", model.run_id), ("kB", f"{model.size_bytes / 1024:.1f}"),
        ("sha256", model.sha256),
        *((f"parameter {key}", _short(value)) for key, value in sorted(plain(model.parameters).items())),
        *((f"metric {key}", _short(value)) for key, value in sorted(plain(model.training_metrics).items())),
    )  # fmt: skip
    table(name, ("", ""), [fact for fact in facts if fact[1] != ""])
    table(
        "History",
        ("when", "what", "version", "by", "why"),
        [
            (f"{e.event_time.ToDatetime():%Y-%m-%d %H:%M:%S}",
             pb.ModelEventType.Name(e.event_type).removeprefix("MODEL_EVENT_TYPE_"), e.version, e.actor, e.reason)
            for e in events
        ],
        right=("version",),
    )  # fmt: skip


@app.command()
@with_server
def activate(
    name: NameArgument,
    version: Annotated[int, typer.Argument(min=1, help="The version to serve from now on.")],
    reason: ReasonOption = "activated by hand",
    family_name: FamilyOption = None,
    json_output: JsonOption = False,
    remote: Remote | None = None,
) -> None:
    """Make a version the active one; services pick it up at their next poll.

    Example: adsml models activate classifier/1 2 --reason "better on the holdout"
    """
    number: Any = family_number(family_name, remote, model=name)
    request = pb.ActivateModelVersionRequest(family=number, name=name, version=version, reason=reason)
    response = ask(_DOOR, request, remote=remote)
    if json_output:
        print_json(response)
    else:
        console.print(f"{name} version {version} is active")


@app.command()
@with_server
def rollback(
    name: NameArgument,
    reason: ReasonOption = "rolled back by hand",
    family_name: FamilyOption = None,
    json_output: JsonOption = False,
    remote: Remote | None = None,
) -> None:
    """Make the version that was active before the current one active again.

    Example: adsml models rollback classifier/1 --reason "worse on new ad sets"
    """
    number: Any = family_number(family_name, remote, model=name)
    request = pb.RollbackModelRequest(family=number, name=name, reason=reason)
    response = ask(_DOOR, request, remote=remote)
    if json_output:
        print_json(response)
    else:
        console.print(f"{name} is back at version {response.model.ref.version}")


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
        families = family.by_prefix()

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
