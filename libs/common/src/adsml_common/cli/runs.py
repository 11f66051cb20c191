"""`adsml runs`: what the training jobs did."""

from typing import Annotated

import typer
from rich.markup import escape

from adsml_common.cli.context import open_database, settings
from adsml_common.cli.output import JsonOption, console, print_json, table

app = typer.Typer(no_args_is_help=True, help="Training runs: list, show, cancel.")


@app.command("list")
def list_(
    job: Annotated[str | None, typer.Option(help="Only this job, e.g. classifiers.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 50,
    json_output: JsonOption = False,
) -> None:
    """List training runs, newest first.

    Example: adsml runs list --job classifiers
    """
    from adsml_common.training.runs import TrainingRuns  # noqa: PLC0415

    with open_database(settings()) as database:
        runs = TrainingRuns(database).list(job=job, limit=limit)
    if json_output:
        print_json({"runs": runs})
        return
    table(
        "Training runs",
        ("run", "job", "status", "trained", "skipped", "failed", "shards", "accepted", "detail"),
        [
            (r.run_id, r.job, r.status, r.counts.trained, r.counts.skipped, r.counts.failed, r.shard_count,
             f"{r.created_at:%Y-%m-%d %H:%M:%S}", escape(r.detail))
            for r in runs
        ],
        right=("trained", "skipped", "failed", "shards"),
    )  # fmt: skip


@app.command()
def show(
    run_id: Annotated[str, typer.Argument(help="Id of the run, from: adsml runs list.")],
    json_output: JsonOption = False,
) -> None:
    """Show one run, entity by entity.

    Example: adsml runs show RUN
    """
    from adsml_common.training.runs import TrainingRuns  # noqa: PLC0415

    with open_database(settings()) as database:
        runs = TrainingRuns(database)
        run = runs.get(run_id)
        items = runs.items(run_id)
    if json_output:
        print_json({"run": run, "items": items})
        return
    for name, value in (
        ("status", f"{run.status.lower()}: {run.detail}" if run.detail else run.status.lower()),
        ("started by", f"{run.launch_kind.lower().replace('_', ' ')} {run.actor}".rstrip()),
        ("works", f"{run.launcher.lower()} {run.launcher_ref}".rstrip() + f", {run.shard_count} shards"),
        ("accepted", f"{run.created_at:%Y-%m-%d %H:%M:%S} UTC"),
    ):
        console.print(f"{name:10} {value}", markup=False, highlight=False, soft_wrap=True)
    table(
        f"{run.job} {run.run_id}",
        ("item", "status", "seconds", "model", "reason"),
        [
            (i.key, i.status, "" if i.seconds is None else f"{i.seconds:.2f}", i.model_name, escape(i.reason))
            for i in items
        ],
        right=("seconds",),
    )


@app.command()
def cancel(
    run_id: Annotated[str, typer.Argument(help="Id of the run, from: adsml runs list.")],
    reason: Annotated[str, typer.Option(help="Why, for whoever looks at the run.")] = "",
    json_output: JsonOption = False,
) -> None:
    """Ask a run to stop: its workers do so within seconds, and what was trained stays.

    Example: adsml runs cancel 6f1c... --reason "wrong account"
    """
    from adsml_common.training.runs import TrainingRuns  # noqa: PLC0415

    with open_database(settings()) as database:
        run = TrainingRuns(database).cancel(run_id, reason=reason)
    if json_output:
        print_json({"run": run})
    else:
        console.print(f"{run.job}: run {run.run_id} is {run.status.lower()}", highlight=False)
