"""Training jobs that run in processes of their own."""

import sys
import time
from pathlib import Path

from adsml_common.database import Database
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.models import model_name
from adsml_common.registry.registry import ModelRegistry
from adsml_common.training.attempt import TrainOne, attempt
from adsml_common.training.job import Pace, run_job
from adsml_common.training.progress import LogProgress
from adsml_common.training.records import Item, ItemResult, ItemStatus, run_id_of
from adsml_common.training.runs import TrainingRuns
from adsml_common.training.signals import stop_on_signals
from adsml_common.training.workers import Workers

from support.models import candidate

JOB = "numbers"
# Short, so that a successor need not wait long for a dead one's lease.
PACE = Pace(lease=2.0, heartbeat=0.2, patience=60.0)


class InProcess(Workers):
    """Trains in this process, one item after the other: for tests of what a run does, whoever trains."""

    def __init__(self, train_one: TrainOne) -> None:
        # Starts no processes, so it needs nothing of what starts them.
        self._train_one = train_one
        self._idle = []
        self._at_work = {}
        self._begun: list[tuple[Item, float]] = []

    @property
    def free(self) -> bool:
        return not self._begun

    @property
    def busy(self) -> bool:
        return bool(self._begun)

    def begin(self, item: Item, *, patience_seconds: float) -> None:
        self._begun.append((item, patience_seconds))

    def wait(self, timeout: float) -> list[tuple[Item, ItemResult]]:
        item, patience = self._begun.pop()
        return [(item, attempt(self._train_one, item, patience_seconds=patience, pause=time.sleep))]


def items(count: int) -> list[Item]:
    """Items named by numbers."""
    return [Item(f"1/ad/{i}", 1, payload={"value": i}) for i in range(count)]


def double(item: Item) -> ItemResult:
    """For process pools."""
    return ItemResult(ItemStatus.TRAINED, metrics={"double": 2 * item.payload["value"]})


def train_shard(url: str, folder: str, count: int, index: int, shards: int) -> None:
    """One shard of a run in a process of its own: a model per item; exits with the shard's status."""
    root = Path(folder)
    database = Database.open(url, pool_size=2)
    registry = ModelRegistry(database, ArtifactStore(str(root / "artifacts"), cache_dir=root / "cache"))

    def train(item: Item) -> ItemResult:
        value = item.payload["value"]
        name = model_name("numbers", 1, part=str(value))
        made = registry.register(candidate(value, name=name, run_id=run_id_of(JOB, "r1")))
        registry.activate(name, made.version, actor="numbers", reason="no gate")
        return ItemResult(ItemStatus.TRAINED, model=made)

    run = run_job(
        JOB,
        items(count),
        InProcess(train),
        runs=TrainingRuns(database),
        request_id="r1",
        shard_index=index,
        shard_count=shards,
        pace=Pace(lease=0.5, heartbeat=0.1, patience=60.0),
        progress=LogProgress(),
    )
    sys.exit(run.exit_status)


def train_numbers(
    url: str,
    folder: str,
    request_id: str,
    count: int,
    hold: bool = False,
) -> None:
    """Train and register a model per item, in a process of its own; exits with the run's status.

    Every begun item is noted in the file ``begun``.

    Parameters
    ----------
    hold
        At the third item, touch ``holding`` and wait for SIGTERM, then finish that item.
    """
    root = Path(folder)
    database = Database.open(url)
    registry = ModelRegistry(database, ArtifactStore(str(root / "artifacts"), cache_dir=root / "cache"))
    with stop_on_signals() as stop:

        def train(item: Item) -> ItemResult:
            value = item.payload["value"]
            with (root / "begun").open("a") as begun:
                begun.write(f"{item.key}\n")
            if hold and (root / "begun").read_text().count("\n") == 3:
                (root / "holding").touch()
                stop.wait(60)
            name = model_name("numbers", 1, part=str(value))
            made = registry.register(candidate(value, name=name, run_id=run_id_of(JOB, request_id)))
            registry.activate(name, made.version, actor="numbers", reason="no gate")
            return ItemResult(ItemStatus.TRAINED, model=made)

        run = run_job(
            JOB,
            items(count),
            InProcess(train),
            runs=TrainingRuns(database),
            request_id=request_id,
            stop=stop,
            pace=PACE,
            progress=LogProgress(),
        )
    sys.exit(run.exit_status)
