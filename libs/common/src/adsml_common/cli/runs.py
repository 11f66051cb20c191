"""`adsml runs`: what the training jobs did, from the record here or by a running service.

The record has every process that is kept as a run, scan-anomalies too; a service has those of its family's training.
"""

from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from adsml.training.v1 import training_service_pb2 as pb
from rich.markup import escape

from adsml_common.cli.ask import Door, OpenService, ask, asking, family_number, pages
from adsml_common.cli.context import open_database, settings
from adsml_common.cli.output import JsonOption, console, print_json, table
from adsml_common.cli.remote import FamilyOption, Remote, with_server
from adsml_common.domain.errors import InvalidInput

if TYPE_CHECKING:
    from adsml_common.training.records import TrainingItem, TrainingRun

app = typer.Typer(no_args_is_help=True, help="Training runs: list, show, cancel.")

RunArgument = Annotated[str, typer.Argument(help="Id of the run, from: adsml runs list.")]


def _open() -> OpenService:
    raise RuntimeError("runs are read from the record here")


_DOOR = Door("adsml.training.v1.TrainingService", _open)


def _facts(run: "TrainingRun | pb.TrainingRun") -> tuple[str, str, datetime]:
    """Job, status and time of acceptance."""
    if not isinstance(run, pb.TrainingRun):
        return run.job, run.status.lower(), run.created_at
    job = pb.TrainingJob.Name(run.job).removeprefix("TRAINING_JOB_").lower().replace("_", "-")
    state = pb.TrainingRunState.Name(run.state).removeprefix("TRAINING_RUN_STATE_").lower()
    return job, state, run.create_time.ToDatetime()


def _as_asked(run: Any) -> Any:
    """With the request id that its caller chose, as a service gives it."""
    return run if isinstance(run, pb.TrainingRun) else replace(run, request_id=run.callers_request_id)


@app.command("list")
@with_server
def list_(
    job: Annotated[str | None, typer.Option(help="Only this job, e.g. classifiers.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 50,
    family_name: FamilyOption = None,
    json_output: JsonOption = False,
    remote: Remote | None = None,
) -> None:
    """List training runs, newest first.

    Example: adsml runs list --job classifiers
    """
    runs: list[Any]
    if remote is None:
        from adsml_common.training.runs import TrainingRuns  # noqa: PLC0415

        with open_database(settings()) as database:
            runs = TrainingRuns(database).list(jobs=None if job is None else [job], limit=limit)
    else:
        name = f"TRAINING_JOB_{(job or 'unspecified').upper().replace('-', '_')}"
        if name not in pb.TrainingJob.keys():  # noqa: SIM118 - a wrapper of an enum
            raise InvalidInput.at("--job", f"is {job!r}, which no service knows")
        number: Any = family_number(family_name, remote)
        request = pb.ListTrainingRunsRequest(family=number, job=pb.TrainingJob.Value(name), page_size=limit)
        with asking(_DOOR, remote=remote) as send:
            runs = list(islice(pages(send, request, "runs"), limit))
    if json_output:
        print_json({"runs": [_as_asked(run) for run in runs]})
        return
    for run in runs:
        what, status, accepted = _facts(run)
        shards = f" in {run.shard_count} shards" if run.shard_count > 1 else ""
        counts = f"{run.counts.trained} trained, {run.counts.skipped} skipped, {run.counts.failed} failed"
        for line in (
            f"{accepted:%Y-%m-%d %H:%M} {what}{shards}: {status}, {counts}",
            f"    {run.run_id}",
            *([f"    {run.detail}"] if run.detail else ()),
        ):
            console.print(line, markup=False, highlight=False)
    if not runs:
        console.print("no training run yet")


@app.command()
@with_server
def show(
    run_id: RunArgument,
    family_name: FamilyOption = None,
    json_output: JsonOption = False,
    remote: Remote | None = None,
) -> None:
    """Show one run, entity by entity; of a running service's, the first thousand that failed.

    Example: adsml runs show RUN
    """
    run: Any
    if remote is None:
        from adsml_common.training.runs import TrainingRuns  # noqa: PLC0415

        with open_database(settings()) as database:
            runs = TrainingRuns(database)
            run, items = runs.get(run_id), runs.items(run_id)
        whole: object = {"run": _as_asked(run), "items": items}
        rows = [_item_row(item) for item in items]
        launched = run.launch_kind.lower(), run.launcher.lower()
    else:
        number: Any = family_number(family_name, remote)
        request = pb.GetTrainingRunRequest(family=number, run_id=run_id, max_failed_items=1_000)
        response = ask(_DOOR, request, remote=remote)
        run, whole = response.run, response
        rows = [(item.item_key, "failed", "", "", escape(item.detail)) for item in response.failed_items]
        launched = (
            pb.LaunchKind.Name(run.launch_kind).removeprefix("LAUNCH_KIND_").lower(),
            pb.Launcher.Name(run.launcher).removeprefix("LAUNCHER_").lower(),
        )
    if json_output:
        print_json(whole)
        return
    job, status, accepted = _facts(run)
    for name, value in (
        ("status", f"{status}: {run.detail}" if run.detail else status),
        ("started by", f"{launched[0].replace('_', ' ')} {run.actor}".rstrip()),
        ("works", f"{launched[1]} {run.launcher_ref}".rstrip() + f", {run.shard_count} shards"),
        ("accepted", f"{accepted:%Y-%m-%d %H:%M:%S} UTC"),
    ):
        console.print(f"{name:10} {value}", markup=False, highlight=False, soft_wrap=True)
    table(f"{job} {run.run_id}", ("item", "status", "seconds", "model", "reason"), rows, right=("seconds",))


def _item_row(item: "TrainingItem") -> tuple[object, ...]:
    seconds = "" if item.seconds is None else f"{item.seconds:.2f}"
    return item.key, item.status, seconds, item.model_name, escape(item.reason)


@app.command()
@with_server
def cancel(
    run_id: RunArgument,
    reason: Annotated[str, typer.Option(help="Why, for whoever looks at the run.")] = "",
    family_name: FamilyOption = None,
    json_output: JsonOption = False,
    remote: Remote | None = None,
) -> None:
    """Ask a run to stop: its workers do so within seconds, and what was trained stays.

    Example: adsml runs cancel 6f1c... --reason "wrong account"
    """
    run: Any
    if remote is None:
        from adsml_common.training.runs import TrainingRuns  # noqa: PLC0415

        with open_database(settings()) as database:
            run = TrainingRuns(database).cancel(run_id, reason=reason)
    else:
        number: Any = family_number(family_name, remote)
        request = pb.CancelTrainingRunRequest(family=number, run_id=run_id, reason=reason)
        run = ask(_DOOR, request, remote=remote).run
    if json_output:
        print_json({"run": _as_asked(run)})
    else:
        job, status, _ = _facts(run)
        console.print(f"{job}: run {run.run_id} is {status}", highlight=False)
