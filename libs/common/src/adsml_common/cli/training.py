"""What every ``adsml train ...`` command does around its family's own training."""

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from adsml_common.cli.context import open_database, open_registry, settings
from adsml_common.cli.output import JsonOption, console, print_json
from adsml_common.domain.errors import InvalidInput

if TYPE_CHECKING:
    from adsml_common.database import Database
    from adsml_common.registry.registry import ModelRegistry
    from adsml_common.training.attempt import TrainOne
    from adsml_common.training.records import Item, TrainingRun

_ALL = "all"

__all__ = [
    "ConfigOption", "JsonOption", "RequestOption", "ShardCountOption", "ShardIndexOption", "Workshop", "train",
]  # fmt: skip

ConfigOption = Annotated[str, typer.Option("--config-id", help="An ad account's id, or: all.")]
RequestOption = Annotated[
    str | None,
    typer.Option(help="Name of this run: the same name again goes on where it ended.  [default: a new one]"),
]
ShardIndexOption = Annotated[
    int, typer.Option(min=0, envvar="JOB_COMPLETION_INDEX", help="Which part of the work this process does.")
]
ShardCountOption = Annotated[int, typer.Option(min=1, envvar="ADSML_SHARD_COUNT", help="In how many parts.")]


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a family needs to train.

    Attributes
    ----------
    database, registry
        Open ones.
    config_ids
        The accounts to train.
    run_id
        The run that models are to be registered under.
    """

    database: "Database"
    registry: "ModelRegistry"
    config_ids: Sequence[int]
    run_id: str


def train(
    job: str,
    prepare: "Callable[[Workshop], tuple[Sequence[Item], TrainOne]]",
    *,
    config_id: str,
    request_id: str | None,
    shard_index: int,
    shard_count: int,
    json_output: bool,
) -> None:
    """Run a training job and leave the process with its exit status.

    Parameters
    ----------
    job
        Its name, e.g. ``"classifiers"``.
    prepare
        Lists the items and gives the function that trains one.
    config_id
        ``"all"``, or one account's id.
    request_id
        What the run is called; None for a name of its own.
    shard_index, shard_count
        Which part of the items, of how many.
    json_output
        Show the run as JSON.

    Raises
    ------
    InvalidInput
        If the account or shard makes no sense.
    """
    if shard_index >= shard_count:
        raise InvalidInput.at("--shard-index", f"is {shard_index}; expected 0 to {shard_count - 1}")
    from adsml_common.serving import logs  # noqa: PLC0415
    from adsml_common.training.job import run_job  # noqa: PLC0415
    from adsml_common.training.records import run_id_of  # noqa: PLC0415
    from adsml_common.training.runs import TrainingRuns  # noqa: PLC0415
    from adsml_common.training.scope import Scope, scope_of  # noqa: PLC0415

    request = request_id or f"cli-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    stop = threading.Event()
    # What is in work is finished and kept; the same request goes on later.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    config = settings()
    logs.configure(form=config.log_format, level=config.log_level)
    with open_database(config) as database:
        runs = TrainingRuns(database)
        given = Scope() if config_id == _ALL else Scope(config_ids=(_account(config_id),))
        # A process that a service started is given the request id alone; what it covers is on record.
        scope = scope_of(runs, job, request, given=given)
        registry = open_registry(config, database)
        accounts = _stored(database, scope.config_ids)
        items, train_one = prepare(Workshop(database, registry, accounts, run_id_of(job, request)))
        run = run_job(
            job,
            items,
            train_one,
            runs=runs,
            request_id=request,
            parameters=scope.parameters(),
            shard_index=shard_index,
            shard_count=shard_count,
            stop=stop,
        )
        items_done = runs.items(run.run_id) if json_output else ()
    if json_output:
        print_json({"run": run, "items": items_done})
    else:
        _advise(run)
    sys.exit(run.exit_status or 0)


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
