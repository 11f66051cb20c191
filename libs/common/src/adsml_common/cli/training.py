"""What every ``adsml train ...`` command does around its family's own training."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adsml_common.cli.context import open_database, settings
from adsml_common.cli.output import JsonOption, console, print_json
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_common.settings import SettingsError

if TYPE_CHECKING:
    from adsml_common.database import Database
    from adsml_common.training.attempt import TrainOne
    from adsml_common.training.context import TrainingContext
    from adsml_common.training.records import Item, TrainingRun

_ALL = "all"

__all__ = [
    "ConfigOption", "ItemSecondsOption", "Job", "JsonOption", "RequestOption", "ShardCountOption",
    "ShardIndexOption", "WorkersOption", "train",
]  # fmt: skip

ConfigOption = Annotated[str, typer.Option("--config-id", help="An ad account's id, or: all.")]
RequestOption = Annotated[
    str | None,
    typer.Option(
        envvar="ADSML_TRAIN_JOB_NAME",
        help="Name of this run: the same name again goes on where it ended.  [default: a new one]",
        show_envvar=False,
    ),
]
ShardIndexOption = Annotated[
    int, typer.Option(min=0, envvar="JOB_COMPLETION_INDEX", help="Which part of the work this process does.")
]
ShardCountOption = Annotated[int, typer.Option(min=1, envvar="ADSML_SHARD_COUNT", help="In how many parts.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=256, envvar="ADSML_TRAIN_WORKERS",
        help="Processes that train, an item each.  [default: as many as there are processors for us]",
        show_default=False,
    ),
]  # fmt: skip
ItemSecondsOption = Annotated[
    float,
    typer.Option(
        min=1.0, envvar="ADSML_TRAIN_ITEM_SECONDS", help="An item that takes longer is ended and has failed."
    ),
]


@dataclass(frozen=True, slots=True)
class Job:
    """A family's training job.

    Attributes
    ----------
    name
        ``"classifiers"``.
    items
        Lists everything the run covers, by the accounts to train.
    trainer
        Makes the function that trains one item, in each process that does; must survive pickling.
    preload
        The modules that this takes, by name.
    entity_type
        Only entities of this level, where the command was told so.
    options
        What else it was told that changes what comes out: the same request must be for the same.
    """

    name: str
    items: "Callable[[Database, Sequence[int]], Sequence[Item]]"
    trainer: "Callable[[TrainingContext], TrainOne]"
    preload: Iterable[str] = ()
    entity_type: EntityType | None = None
    options: Mapping[str, Any] | None = None


def train(
    job: Job,
    *,
    config_id: str,
    request_id: str | None,
    shard_index: int,
    shard_count: int,
    workers: int | None,
    item_seconds: float,
    json_output: bool,
) -> None:
    """Run a training job and leave the process with its exit status.

    Parameters
    ----------
    job
        What to train.
    config_id
        ``"all"``, or one account's id.
    request_id
        What the run is called; None for a name of its own.
    shard_index, shard_count
        Which part of the items, of how many.
    workers, item_seconds
        How many processes train, and how long one item may take.
    json_output
        Show the run as JSON.

    Raises
    ------
    InvalidInput
        If the account or shard makes no sense.
    AlreadyRunning
        Another run of the job is going on.
    """
    if shard_index >= shard_count:
        raise InvalidInput.at("--shard-index", f"is {shard_index}; expected 0 to {shard_count - 1}")
    from adsml_common.serving import logs  # noqa: PLC0415
    from adsml_common.serving.threads import VARIABLES, cpu_limit  # noqa: PLC0415
    from adsml_common.training.context import TrainerFactory  # noqa: PLC0415
    from adsml_common.training.job import run_job  # noqa: PLC0415
    from adsml_common.training.metrics import metered  # noqa: PLC0415
    from adsml_common.training.records import run_id_of  # noqa: PLC0415
    from adsml_common.training.runs import TrainingRuns  # noqa: PLC0415
    from adsml_common.training.scope import Scope, scope_of  # noqa: PLC0415
    from adsml_common.training.signals import stop_on_signals  # noqa: PLC0415
    from adsml_common.training.workers import Workers  # noqa: PLC0415

    request = request_id or f"cli-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    # A Job of the cluster is told its own name.
    scheduled = os.environ.get("ADSML_TRAIN_JOB_NAME", "")
    processors = cpu_limit()
    count = workers or processors
    for name in VARIABLES:
        # Seen by the processes that train, which share the processors.
        os.environ.setdefault(name, str(max(1, processors // count)))
    config = settings()
    logs.configure(form=config.log_format, level=config.log_level)
    # Asked to stop, what is in work is finished and kept; the same request goes on later.
    with stop_on_signals() as stop, open_database(config) as database, exposed(_metrics_port()):
        runs = TrainingRuns(database)
        accounts = () if config_id == _ALL else (_account(config_id),)
        given = Scope(config_ids=accounts, entity_type=job.entity_type)
        # A process that a service started is given the request id alone; what it covers is on record.
        scope, parameters = scope_of(runs, job.name, request, given=given, options=job.options)
        stored = _stored(database, scope.config_ids)
        factory = TrainerFactory(config, run_id_of(job.name, request), job.trainer)
        with Workers(factory, count=count, item_seconds=item_seconds, preload=job.preload) as crew:
            items = scope.covered(job.items(database, stored))
            run = run_job(
                job.name,
                items,
                crew,
                runs=runs,
                request_id=request,
                parameters=parameters,
                shard_index=shard_index,
                shard_count=shard_count,
                stop=stop,
                progress=metered(),
                actor="schedule" if scheduled else "cli",
                launcher="kubernetes" if scheduled else "local",
                launcher_ref=scheduled,
            )
        items_done = runs.items(run.run_id) if json_output else ()
    if json_output:
        print_json({"run": run, "items": items_done})
    else:
        _advise(run)
    sys.exit(run.exit_status or 0)


@contextmanager
def exposed(port: int | None) -> Iterator[None]:
    """Metrics at a port of every address, since Prometheus is on another machine; without a port, nowhere."""
    from adsml_common.serving.exposition import Exposition  # noqa: PLC0415

    if port is None:
        yield
        return
    exposition = Exposition(host="0.0.0.0", port=port)  # noqa: S104
    try:
        yield
    finally:
        exposition.close()


def _metrics_port() -> int | None:
    given = os.environ.get("ADSML_TRAIN_METRICS_PORT")
    if not given:
        return None
    if not given.isdigit() or int(given) > 65535:
        raise SettingsError(f"ADSML_TRAIN_METRICS_PORT={given}: expected a port")
    return int(given)


def _account(config_id: str) -> int:
    try:
        return int(config_id)
    except ValueError:
        raise InvalidInput.at(
            "--config-id", f"is {config_id!r}; expected an account's id, or: {_ALL}"
        ) from None


def _stored(database: "Database", config_ids: Sequence[int]) -> list[int]:
    from adsml_common.store.metrics import MetricStore  # noqa: PLC0415

    stored = MetricStore(database).config_ids()
    unknown = sorted(set(config_ids) - set(stored))
    if unknown:
        known = ", ".join(map(str, stored[:10])) or "none yet; import some first"
        raise InvalidInput.at(
            "--config-id", f"account {unknown[0]} has no daily rows (stored accounts: {known})"
        )
    return list(config_ids) or stored


def _advise(run: "TrainingRun") -> None:
    if run.counts.failed or run.counts.skipped:
        console.print(f"why each was skipped or failed: adsml runs show {run.run_id}")
