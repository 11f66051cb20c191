"""What every ``adsml train ...`` command does around its family's own training."""

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial, wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adsml_common.cli.context import open_database, settings
from adsml_common.cli.options import sign
from adsml_common.cli.output import JsonOption, console, errors, print_json
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_common.settings import SettingsError

if TYPE_CHECKING:
    from adsml_common.database import Database
    from adsml_common.training.attempt import TrainOne
    from adsml_common.training.context import TrainingContext
    from adsml_common.training.progress import Tally
    from adsml_common.training.records import Item, TrainingRun
    from adsml_common.training.runs import TrainingRuns
    from adsml_common.training.scope import Scope

_ALL = "all"
_JOB_NAME = "ADSML_TRAIN_JOB_NAME"

ConfigOption = Annotated[str, typer.Option("--config-id", help="An ad account's id, or: all.")]
RequestOption = Annotated[
    str | None,
    typer.Option(
        envvar=_JOB_NAME,
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
        help="Processes that train, an item each.  [default: one a processor, as far as the memory goes]",
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


def training_command(*, item_seconds: float) -> Callable[[Callable[..., Job]], Callable[..., None]]:
    """Make a command of a function that gives the job by its own options; the options of every run are added.

    `item_seconds` is how long one item may take where nobody says.
    """

    def decorate(make: Callable[..., Job]) -> Callable[..., None]:
        own = inspect.signature(make, eval_str=True).parameters

        @wraps(make)
        def run(**given: Any) -> None:
            job = make(**{name: given.pop(name) for name in own})
            train(job, **given)

        added = {
            "config_id": (ConfigOption, _ALL),
            "request_id": (RequestOption, None),
            "shard_index": (ShardIndexOption, 0),
            "shard_count": (ShardCountOption, 1),
            "workers": (WorkersOption, None),
            "item_seconds": (ItemSecondsOption, item_seconds),
            "json_output": (JsonOption, False),
        }
        sign(run, own.values(), added)
        return run

    return decorate


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
    """Run a training job, as the options of its command say, and leave the process with its exit status.

    A launcher puts the id of a recorded run into the environment (``ADSML_TRAIN_RUN_ID``); what it covers and in
    how many shards is on record then, and the options that say so here do not count.

    Raises
    ------
    InvalidInput
        If the account or shard makes no sense.
    NotFound
        ``ADSML_TRAIN_RUN_ID`` names a run that is not on record.
    AlreadyRunning
        Another run of the job is going on.
    """
    if shard_index >= shard_count:
        raise InvalidInput.at("--shard-index", f"is {shard_index}; expected 0 to {shard_count - 1}")
    from adsml_common.serving import logs  # noqa: PLC0415
    from adsml_common.serving.threads import VARIABLES, cpu_limit  # noqa: PLC0415
    from adsml_common.training.context import open_trainer  # noqa: PLC0415
    from adsml_common.training.job import run_job  # noqa: PLC0415
    from adsml_common.training.progress import progress_for  # noqa: PLC0415
    from adsml_common.training.records import run_id_of  # noqa: PLC0415
    from adsml_common.training.runs import TrainingRuns  # noqa: PLC0415
    from adsml_common.training.signals import stop_on_signals  # noqa: PLC0415
    from adsml_common.training.workers import Workers, default_count  # noqa: PLC0415

    processors = cpu_limit()
    count = workers or default_count(processors)
    for name in VARIABLES:
        # Seen by the processes that train, which share the processors.
        os.environ.setdefault(name, str(max(1, processors // count)))
    config = settings()
    logs.configure(form=config.log_format, level=config.log_level)
    # Asked to stop, what is in work is finished and kept; the same request goes on later.
    with stop_on_signals() as stop, open_database(config) as database, exposed(_metrics_port()):
        runs = TrainingRuns(database)
        scope, shards, request = _recorded(runs, job) or _given(
            job, config_id, request_id, shard_index, shard_count
        )
        stored = _stored(database, scope.config_ids)
        make = partial(open_trainer, config, run_id_of(job.name, request["request_id"]), job.trainer)
        progress = progress_for(errors)
        with Workers(make, count=count, item_seconds=item_seconds, preload=job.preload) as processes:
            items = scope.covered(job.items(database, stored))
            ended = []
            for shard in shards:
                run = run_job(
                    job.name,
                    items,
                    processes,
                    runs=runs,
                    shard_index=shard,
                    stop=stop,
                    progress=progress,
                    **request,
                )
                ended.append(run.exit_status or 0)
        items_done = runs.items(run.run_id) if json_output else ()
    if json_output:
        print_json({"run": run, "items": items_done})
    else:
        _tell(run, progress.tally)
    # 1, which says that another try may help, before 42, which says that none does.
    sys.exit(next((status for status in (1, 42) if status in ended), 0))


_Work = tuple["Scope", Sequence[int], Mapping[str, Any]]
"""What this process is to do: what a run covers, shards of it, and the request as `run_job` takes it."""


def _recorded(runs: "TrainingRuns", job: Job) -> _Work | None:
    """The work of the run whose id a launcher put into the environment; None where none did.

    One that nobody recorded is not made here: `NotFound`.
    """
    from adsml_common.training.records import RUN_ID_VARIABLE  # noqa: PLC0415
    from adsml_common.training.scope import Scope  # noqa: PLC0415

    run_id = os.environ.get(RUN_ID_VARIABLE)
    if not run_id:
        return None
    run = runs.get(run_id)
    if run.job != job.name:
        raise InvalidInput.at(RUN_ID_VARIABLE, f"is a run of {run.job}, and this is {job.name}")
    index = os.environ.get("JOB_COMPLETION_INDEX")
    # A pod has one; the process of a machine does them all.
    shards = range(run.shard_count) if index is None else (int(index),)
    asked = {name: getattr(run, name) for name in ("request_id", "parameters", "shard_count")}
    return Scope.of(run.parameters), shards, asked


def _given(job: Job, config_id: str, request_id: str | None, shard_index: int, shard_count: int) -> _Work:
    """The work that the command's options ask for."""
    from adsml_common.training.records import LauncherKind, LaunchKind  # noqa: PLC0415
    from adsml_common.training.scope import Scope  # noqa: PLC0415

    accounts = () if config_id == _ALL else (_account(config_id),)
    scope = Scope(config_ids=accounts, entity_type=job.entity_type)
    options = {"options": dict(job.options)} if job.options else {}
    # A Job of the cluster is told its own name. With the slash no caller's request can be taken for it.
    scheduled = os.environ.get(_JOB_NAME, "")
    by_name = f"job/{scheduled}" if scheduled and request_id == scheduled else request_id
    run = {
        "request_id": by_name or f"cli-{datetime.now(UTC):%Y%m%dT%H%M%S%f}",
        "parameters": scope.parameters() | options,
        "shard_count": shard_count,
        "launch_kind": LaunchKind.SCHEDULE if scheduled else LaunchKind.COMMAND_LINE,
        "launcher": LauncherKind.KUBERNETES if scheduled else LauncherKind.LOCAL,
        "launcher_ref": scheduled,
    }
    return scope, (shard_index,), run


@contextmanager
def exposed(port: int | None) -> Iterator[None]:
    """Metrics at a port of every address, since Prometheus is on another machine; without a port, nowhere."""
    from adsml_common.serving.telemetry import Exposition  # noqa: PLC0415

    with ExitStack() as stack:
        if port is not None:
            stack.callback(Exposition(host="0.0.0.0", port=port).close)  # noqa: S104
        yield


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


def _tell(run: "TrainingRun", tally: "Tally") -> None:
    for line in (f"{run.job}: {tally.sentence()}", *(f"  {one}" for one in tally.reasons())):
        console.print(line, markup=False, highlight=False)
    if run.counts.failed or run.counts.skipped:
        console.print(f"each one: adsml runs show {run.run_id}", highlight=False)
