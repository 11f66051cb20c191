"""run_job: every item once, whatever happens meanwhile, and an exit status that says whether to try again."""

import errno
import io
import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adsml_common.database import Database
from adsml_common.domain.errors import (
    AlreadyExists,
    AlreadyRunning,
    FailedPrecondition,
    InsufficientHistory,
    InvalidInput,
    NotFound,
    Unavailable,
)
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.models import model_name
from adsml_common.registry.registry import ModelRegistry
from adsml_common.training.job import Pace, run_job
from adsml_common.training.progress import BarProgress, LogProgress, Progress, progress_for
from adsml_common.training.records import (
    Counts,
    Item,
    ItemResult,
    ItemStatus,
    RunStatus,
    TrainingRun,
)
from adsml_common.training.runs import TrainingRuns
from adsml_common.training.scope import shard_of
from rich.console import Console
from support import jobs
from support.forked import finish, start
from support.jobs import JOB, PACE, InProcess, double, items
from support.models import candidate
from support.proxy import Cable

TRAINED = ItemResult(ItemStatus.TRAINED)


class Watched(Progress):
    """Progress that does something after each item."""

    def __init__(self, then: Callable[[Item], None] = lambda _: None) -> None:
        super().__init__()
        self._then = then

    def advance(self, run: TrainingRun, item: Item, result: ItemResult) -> None:
        super().advance(run, item, result)
        self._then(item)


@pytest.fixture
def runs(database: Database) -> TrainingRuns:
    return TrainingRuns(database)


@pytest.fixture
def work(runs: TrainingRuns) -> Callable[..., TrainingRun]:
    """run_job with everything given that a test does not care for."""

    def call(train_one: Callable[[Item], ItemResult], count: int = 5, **more: Any) -> TrainingRun:
        more = {"runs": runs, "request_id": "r1", "progress": Watched(), "pace": PACE} | more
        return run_job(JOB, items(count), InProcess(train_one), **more)

    return call


class Flaky:
    """Trains, but raises what it is given for some items."""

    def __init__(self, errors: dict[int, BaseException]) -> None:
        self.errors = errors
        self.tries: Counter[int] = Counter()

    def __call__(self, item: Item) -> ItemResult:
        value = item.payload["value"]
        self.tries[value] += 1
        if value in self.errors:
            raise self.errors[value]
        return TRAINED


def test_all_trained(work: Callable[..., TrainingRun], runs: TrainingRuns) -> None:
    run = work(double)
    assert (run.status, run.exit_status, run.detail) == (RunStatus.SUCCEEDED, 0, "")
    assert run.counts == Counts(trained=5)
    assert [item.metrics for item in runs.items(run.run_id)] == [{"double": 2 * i} for i in range(5)]


def test_nothing_to_do(work: Callable[..., TrainingRun]) -> None:
    run = work(double, 0)
    assert (run.status, run.exit_status) == (RunStatus.SUCCEEDED, 0)


def test_too_little_history_is_skipped_for_that_reason(
    work: Callable[..., TrainingRun], runs: TrainingRuns
) -> None:
    run = work(Flaky({1: InsufficientHistory("ad 1", had=3, needed=14)}))
    assert (run.status, run.exit_status) == (RunStatus.SUCCEEDED, 0)
    (skipped,) = runs.items(run.run_id, status=ItemStatus.SKIPPED)
    assert skipped.reason == "ad 1 has 3 days of history and needs 14"


@pytest.mark.parametrize(
    ("errors", "exit_status"),
    [
        ([InvalidInput.at("rows[3].spend", "is -1")], 42),
        ([FailedPrecondition("no campaign"), NotFound("gone")], 42),
        ([ValueError("singular matrix")], 1),
        ([InvalidInput.at("rows[3].spend", "is -1"), ValueError("singular matrix")], 1),
        ([MemoryError()], 1),
    ],
)
def test_failures_do_not_end_the_run_and_tell_whether_to_try_again(
    errors: list[Exception], exit_status: int, work: Callable[..., TrainingRun], runs: TrainingRuns
) -> None:
    run = work(Flaky(dict(enumerate(errors))))
    assert (run.status, run.exit_status) == (RunStatus.PARTIAL, exit_status)
    assert run.counts == Counts(trained=5 - len(errors), failed=len(errors))
    assert run.detail == f"{len(errors)} of 5 items failed"
    assert all(item.reason for item in runs.items(run.run_id, status=ItemStatus.FAILED))


def test_everything_failed(work: Callable[..., TrainingRun]) -> None:
    run = work(Flaky(dict.fromkeys(range(5), ValueError("no"))))
    assert (run.status, run.exit_status) == (RunStatus.FAILED, 1)


def test_only_the_first_line_of_an_error_is_kept(
    work: Callable[..., TrainingRun], runs: TrainingRuns
) -> None:
    work(Flaky({0: ValueError("first\n[SQL: SELECT secret]")}), 1)
    assert runs.items(runs.list()[0].run_id)[0].reason == "ValueError: first"


def test_again_only_what_is_not_done_is_tried(work: Callable[..., TrainingRun], runs: TrainingRuns) -> None:
    flaky = Flaky({1: ValueError("no"), 2: InsufficientHistory("ad 2", had=1, needed=14)})
    first = work(flaky)
    flaky.errors = {}
    again = work(flaky)
    assert again.run_id == first.run_id
    assert (again.status, again.exit_status, again.counts) == (
        RunStatus.SUCCEEDED,
        0,
        Counts(trained=4, skipped=1),
    )
    assert flaky.tries == {0: 1, 1: 2, 2: 1, 3: 1, 4: 1}
    assert [item.attempts for item in runs.items(again.run_id)] == [1, 2, 1, 1, 1]
    # And when all is done, nothing is.
    assert work(flaky).exit_status == 0
    assert sum(flaky.tries.values()) == 6


def test_another_request_is_another_run(work: Callable[..., TrainingRun]) -> None:
    flaky = Flaky({})
    work(flaky)
    work(flaky, request_id="r2")
    assert set(flaky.tries.values()) == {2}


def test_a_request_for_something_else_is_refused(work: Callable[..., TrainingRun]) -> None:
    work(double, parameters={"config_ids": [1]})
    with pytest.raises(AlreadyExists):
        work(double, parameters={"config_ids": [2]})


def test_two_items_of_one_key_are_refused(runs: TrainingRuns) -> None:
    with pytest.raises(ValueError, match="same key"):
        run_job(
            JOB, [*items(1), *items(1)], InProcess(double), runs=runs, request_id="r1", progress=Watched()
        )


def test_asked_to_stop_it_finishes_what_is_in_work_and_keeps_it(work: Callable[..., TrainingRun]) -> None:
    stop = threading.Event()
    flaky = Flaky({})
    run = work(flaky, stop=stop, progress=Watched(lambda item: stop.set() if item.key == "1/ad/1" else None))
    assert (run.exit_status, run.counts) == (1, Counts(trained=2, pending=3))
    assert run.detail == "3 of 5 items left: stopped; the same request goes on with it"
    assert run.status is RunStatus.PARTIAL
    assert work(flaky).exit_status == 0
    assert set(flaky.tries.values()) == {1}


def test_cancelled_it_stops(work: Callable[..., TrainingRun], runs: TrainingRuns) -> None:
    def train(item: Item) -> ItemResult:
        seen = runs.cancel(runs.list()[0].run_id, reason="wrong account").heartbeat_at
        # The worker learns of it with a sign of life; after the second one it surely knows.
        for _ in range(2):
            while (heard := runs.list()[0].heartbeat_at) == seen:
                pass
            seen = heard
        return TRAINED

    run = work(train)
    assert (run.status, run.exit_status, run.detail) == (RunStatus.CANCELLED, 1, "wrong account")
    assert run.counts == Counts(trained=1, pending=4)
    with pytest.raises(FailedPrecondition, match="was cancelled; start a new one"):
        work(double)


def test_a_second_one_on_the_same_shard_leaves_with_a_clear_word(
    work: Callable[..., TrainingRun], runs: TrainingRuns
) -> None:
    """Also while the first is at one item for longer than a lease: its signs of life tell."""
    met: list[AlreadyRunning] = []

    def train(item: Item) -> ItemResult:
        if not met:
            for request_id in ("r1", "r2"):
                with pytest.raises(AlreadyRunning, match="numbers is running already") as error:
                    work(double, request_id=request_id)
                met.append(error.value)
        return TRAINED

    run = work(train)
    assert run.exit_status == 0
    assert [error.metadata["run_id"] for error in met] == [run.run_id] * 2


def test_shards_share_the_work(work: Callable[..., TrainingRun], runs: TrainingRuns) -> None:
    flaky = Flaky({})
    for index in range(4):
        run = work(flaky, 40, shard_index=index, shard_count=4)
        assert run.exit_status == 0
        assert run.status is (RunStatus.SUCCEEDED if index == 3 else RunStatus.RUNNING)
    assert flaky.tries == dict.fromkeys(range(40), 1)
    assert {item.shard_index for item in runs.items(run.run_id)} == {0, 1, 2, 3}


def test_a_group_is_one_shards_work(runs: TrainingRuns) -> None:
    grouped = [Item(f"{i % 5}/ad/{i}", i % 5, group=str(i % 5)) for i in range(40)]
    for index in range(3):
        run = run_job(
            JOB, grouped, InProcess(lambda _: TRAINED), runs=runs, request_id="r1", shard_index=index, shard_count=3,
            progress=Watched(), pace=PACE,
        )  # fmt: skip
    assert (run.status, run.counts) == (RunStatus.SUCCEEDED, Counts(trained=40))
    shards = {(item.config_id, item.shard_index) for item in runs.items(run.run_id)}
    assert len(shards) == 5


def test_an_account_that_grows_during_a_run_does_not_move_between_shards(runs: TrainingRuns) -> None:
    """Its groups are others then; what was listed is done where it was listed, once, and what is new somewhere."""
    before = [Item(f"1/ad/{i}", 1, group="1") for i in range(20)]
    after = [Item(f"1/ad/{i}", 1, group=f"1#{i % 4}") for i in range(30)]
    tries: Counter[str] = Counter()

    def call(items: list[Item], index: int, stop_at: int | None = None) -> TrainingRun:
        stop = threading.Event()

        def train(item: Item) -> ItemResult:
            tries[item.key] += 1
            if stop_at is not None and tries.total() == stop_at:
                stop.set()
            return TRAINED

        return run_job(
            JOB, items, InProcess(train), runs=runs, request_id="r1", shard_index=index, shard_count=2,
            progress=Watched(), pace=PACE, stop=stop,
        )  # fmt: skip

    owner = shard_of("1", 2)
    assert call(before, owner, stop_at=5).counts == Counts(trained=5, pending=15)
    call(after, 1 - owner)
    run = call(after, owner)
    assert (run.status, run.counts) == (RunStatus.SUCCEEDED, Counts(trained=30))
    assert tries == {item.key: 1 for item in after}
    listed = {item.key: item.shard_index for item in runs.items(run.run_id)}
    assert all(listed[item.key] == owner for item in before)


def test_a_store_that_is_away_is_waited_for(work: Callable[..., TrainingRun], runs: TrainingRuns) -> None:
    tries: Counter[str] = Counter()

    def train(item: Item) -> ItemResult:
        tries[item.key] += 1
        if item.key == "1/ad/1" and tries[item.key] < 3:
            raise Unavailable("the artifact store is unavailable")
        return TRAINED

    run = work(train)
    assert (run.exit_status, run.counts) == (0, Counts(trained=5))
    assert tries["1/ad/1"] == 3


def test_a_store_that_stays_away_is_worth_another_try(work: Callable[..., TrainingRun]) -> None:
    run = work(Flaky({1: Unavailable("the artifact store is unavailable")}), pace=Pace(2, 0.2, patience=0))
    assert (run.exit_status, run.counts) == (1, Counts(trained=4, failed=1))


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_a_full_store_is_named_and_goes_on_once_there_is_room(
    work: Callable[..., TrainingRun],
    runs: TrainingRuns,
    registry: ModelRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def train(item: Item) -> ItemResult:
        made = registry.register(candidate(name=model_name("numbers", 1, part=item.key.rpartition("/")[2])))
        return ItemResult(ItemStatus.TRAINED, model=made)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("adsml_common.registry.artifacts._write_local", full)
        run = work(train)
    # It is not the data that are bad, and it is not waited for.
    assert (run.exit_status, run.counts) == (1, Counts(failed=5))
    for one in runs.items(run.run_id):
        assert one.reason.startswith("the artifact store can't be written (No space left on device)")
    assert registry.list() == []
    run = work(train)
    assert (run.exit_status, run.counts) == (0, Counts(trained=5))


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_the_database_away_in_the_middle(database_url: str) -> None:
    """Longer than the lease lasts: nobody took it, so the run goes on."""
    with Cable(database_url) as cable:
        database = Database.open(cable.url)
        mending: list[threading.Timer] = []

        def train(item: Item) -> ItemResult:
            if item.key in ("1/ad/1", "1/ad/3"):
                cable.cut()
                mending.append(threading.Timer(1.0, cable.mend))
                mending[-1].start()
            return TRAINED

        run = run_job(
            JOB,
            items(6),
            InProcess(train),
            runs=TrainingRuns(database),
            request_id="r1",
            progress=Watched(),
            pace=Pace(lease=0.5, heartbeat=0.1, patience=60),
        )
        database.close()
    assert (run.exit_status, run.counts) == (0, Counts(trained=6))
    assert len(mending) == 2


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_the_database_away_for_good(database_url: str) -> None:
    with Cable(database_url) as cable:
        database = Database.open(cable.url)

        def train(item: Item) -> ItemResult:
            cable.cut()
            return TRAINED

        with pytest.raises(Unavailable):
            run_job(
                JOB,
                items(2),
                InProcess(train),
                runs=TrainingRuns(database),
                request_id="r1",
                progress=Watched(),
                pace=Pace(lease=1, heartbeat=0.1, patience=0.5),
            )
        database.close()


def test_a_worker_that_lost_its_lease_leaves(work: Callable[..., TrainingRun], database: Database) -> None:
    import sqlalchemy as sa

    def train(item: Item) -> ItemResult:
        if item.key == "1/ad/2":
            with database.write() as connection:
                connection.execute(sa.text("UPDATE ml_leases SET token = token + 1, holder = 'pod-b'"))
        return TRAINED

    flaky = Flaky({})
    with pytest.raises(AlreadyRunning, match="lost shard 0 of numbers"):
        work(train)
    run = work(flaky)
    assert (run.exit_status, set(flaky.tries)) == (0, {2, 3, 4})


class TestProcesses:
    """Real processes, really killed."""

    def _wait_for(self, path: Path, process: Any) -> None:
        while not path.exists():
            assert process.is_alive()

    def test_sigterm_finishes_what_is_in_work(
        self, database_url: str, tmp_path: Path, runs: TrainingRuns
    ) -> None:
        worker = start(jobs.train_numbers, database_url, str(tmp_path), "r1", 6, True)
        self._wait_for(tmp_path / "holding", worker)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGTERM)
        assert finish(worker) == 1
        (run,) = runs.list()
        assert run.counts == Counts(trained=3, pending=3)
        assert finish(start(jobs.train_numbers, database_url, str(tmp_path), "r1", 6)) == 0
        begun = (tmp_path / "begun").read_text().split()
        assert len(begun) == len(set(begun)) == 6

    def test_kill_9_and_a_restart_goes_on(
        self, database_url: str, tmp_path: Path, runs: TrainingRuns
    ) -> None:
        worker = start(jobs.train_numbers, database_url, str(tmp_path), "r1", 6, True)
        self._wait_for(tmp_path / "holding", worker)
        worker.kill()
        assert finish(worker) == -signal.SIGKILL
        (run,) = runs.list()
        assert run.counts == Counts(trained=2, running=1, pending=3)
        # The successor waits for the dead one's lease, then goes on.
        assert finish(start(jobs.train_numbers, database_url, str(tmp_path), "r1", 6)) == 0
        (run,) = runs.list()
        assert (run.status, run.counts) == (RunStatus.SUCCEEDED, Counts(trained=6))
        begun = Counter((tmp_path / "begun").read_text().split())
        assert begun == Counter({f"1/ad/{i}": 2 if i == 2 else 1 for i in range(6)})
        database = Database.open(database_url)
        artifacts = ArtifactStore(str(tmp_path / "artifacts"), cache_dir=tmp_path / "fresh")
        models = ModelRegistry(database, artifacts).list()
        assert [model.version for model in models] == [1] * 6
        assert {model.run_id for model in models} == {run.run_id}
        database.close()


class TestProgress:
    def test_a_bar_on_a_terminal(self, work: Callable[..., TrainingRun]) -> None:
        out = io.StringIO()
        console = Console(file=out, force_terminal=True, width=120)
        progress = progress_for(console)
        assert isinstance(progress, BarProgress)
        work(Flaky({1: ValueError("no"), 2: InsufficientHistory("ad", had=1, needed=14)}), progress=progress)
        told = out.getvalue()
        assert "5/5" in told
        assert "1/ad/1" in told
        assert "failed: ValueError: no" in told

    def test_what_came_of_it_in_words(
        self, work: Callable[..., TrainingRun], registry: ModelRegistry
    ) -> None:
        """What its gate let in is put to use; reasons that differ by their numbers alone are told once."""

        def train(item: Item) -> ItemResult:
            value = item.payload["value"]
            if value == 7:
                raise ValueError("singular matrix")
            if value > 4:
                raise InsufficientHistory(f"ad {value}", had=value, needed=14)
            made = registry.register(candidate(value, name=model_name("numbers", 1, part=str(value))))
            if value > 1:
                return ItemResult(ItemStatus.TRAINED, f"wMAPE {value}.5% is not below 2%", model=made)
            made = registry.activate(made.name, made.version, actor="numbers", reason="better")
            return ItemResult(ItemStatus.TRAINED, "better", model=made)

        progress = Watched()
        work(train, 8, progress=progress)
        assert progress.tally.sentence() == "2 put to use, 3 no better than before, 2 skipped, 1 failed"
        assert progress.tally.reasons() == [
            "3 no better than before: for example, wMAPE 2.5% is not below 2%",
            "2 skipped: for example, ad 5 has 5 days of history and needs 14",
            "1 failed: ValueError: singular matrix",
        ]
        again = Watched()
        work(train, 8, progress=again)
        assert again.tally.sentence() == "1 failed, 7 done before"

    def test_lines_in_a_log_elsewhere(
        self, work: Callable[..., TrainingRun], caplog: pytest.LogCaptureFixture
    ) -> None:
        assert isinstance(progress_for(Console(file=io.StringIO())), LogProgress)
        caplog.set_level(logging.INFO, logger="adsml_common.training.progress")
        ticks = iter(range(0, 1000, 6))
        work(Flaky({1: ValueError("no")}), progress=LogProgress(clock=lambda: next(ticks)))
        lines = [record.message for record in caplog.records if record.name.endswith("progress")]
        assert "5 items, 0 done before" in lines[0]
        assert "1/ad/1 failed: ValueError: no" in lines
        # Every ten seconds, of which two items take twelve.
        assert [line for line in lines if " of 5: " in line] == [
            "2 of 5: 1 trained, 0 skipped, 1 failed, 3 left",
            "4 of 5: 3 trained, 0 skipped, 1 failed, 1 left",
        ]
        assert lines[-1].endswith("partial: 4 trained, 0 skipped, 1 failed")
