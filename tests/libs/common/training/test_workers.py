"""Worker processes: one that hangs or dies costs its item and nothing else."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from adsml_common.database import Database
from adsml_common.training.job import Pace, run_job
from adsml_common.training.progress import LogProgress
from adsml_common.training.records import Counts, Item, ItemStatus, RunStatus, TrainingRun
from adsml_common.training.runs import TrainingRuns
from adsml_common.training.workers import Workers
from support import crew
from support.jobs import JOB, items
from support.serving import eventually

PACE = Pace(lease=5.0, heartbeat=0.2, patience=60.0)
SUPPORT = Path(crew.__file__).parents[1]


@pytest.fixture
def runs(database: Database) -> TrainingRuns:
    return TrainingRuns(database)


@pytest.fixture(params=["sqlite"])
def dialect(request: pytest.FixtureRequest) -> str:
    """What the records do is tested on both elsewhere; here it is about processes."""
    return str(request.param)


@pytest.fixture
def work(runs: TrainingRuns, tmp_path: Path) -> Iterator[Callable[..., TrainingRun]]:
    """run_job in two processes that behave as `crew.Trainer` is told to."""

    def call(count: int = 6, *, item_seconds: float = 60.0, **told: Any) -> TrainingRun:
        more = {name: told.pop(name) for name in ("stop", "pace", "progress") if name in told}
        make = partial(crew.make, folder=str(tmp_path), **told)
        with Workers(make, count=2, item_seconds=item_seconds) as workers:
            run = run_job(
                JOB, items(count), workers, runs=runs, request_id="r1",
                **({"progress": LogProgress(), "pace": PACE} | more),
            )  # fmt: skip
            assert not workers.busy
        return run

    yield call
    # Whatever came of the run, nobody is left behind.
    for pid in crew.pids(tmp_path):
        eventually(partial(crew.gone, pid))


def failed(runs: TrainingRuns, run: TrainingRun) -> dict[str, str]:
    return {one.key: one.reason for one in runs.items(run.run_id, status=ItemStatus.FAILED)}


def test_all_are_trained_by_processes_that_open_what_they_need_once(
    work: Callable[..., TrainingRun], runs: TrainingRuns, tmp_path: Path
) -> None:
    run = work(6)
    assert (run.exit_status, run.counts) == (0, Counts(trained=6))
    trainers = {item.metrics["pid"] for item in runs.items(run.run_id)}
    assert os.getpid() not in trainers
    assert 1 <= len(trainers) <= 2
    assert len(crew.pids(tmp_path)) == len(trainers)


def test_a_fit_that_hangs_is_killed_and_the_run_goes_on(
    work: Callable[..., TrainingRun], runs: TrainingRuns
) -> None:
    run = work(6, item_seconds=3.0, hangs=(1, 4))
    assert (run.status, run.exit_status) == (RunStatus.PARTIAL, 1)
    assert run.counts == Counts(trained=4, failed=2)
    assert failed(runs, run) == dict.fromkeys(("1/ad/1", "1/ad/4"), "took longer than 3 s and was killed")
    assert all((one.seconds or 0) >= 3 for one in runs.items(run.run_id, status=ItemStatus.FAILED))


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGKILL, "SIGKILL: out of memory, or killed"), (signal.SIGSEGV, "SIGSEGV")]
)
def test_a_process_that_dies_costs_its_item_alone(
    number: int, word: str, work: Callable[..., TrainingRun], runs: TrainingRuns
) -> None:
    run = work(6, dies={2: int(number)})
    assert run.counts == Counts(trained=5, failed=1)
    assert failed(runs, run) == {"1/ad/2": f"its worker process died ({word})"}
    # And another try may mend it.
    assert run.exit_status == 1


def test_errors_come_home_as_what_they_are(work: Callable[..., TrainingRun], runs: TrainingRuns) -> None:
    run = work(6, history=(0,), invalid=(1, 2))
    assert (run.exit_status, run.counts) == (42, Counts(trained=3, skipped=1, failed=2))
    assert failed(runs, run) == {f"1/ad/{i}": f"rows[3].spend: is -{i}" for i in (1, 2)}
    (skipped,) = runs.items(run.run_id, status=ItemStatus.SKIPPED)
    assert skipped.reason == "ad 0 has 3 days of history and needs 14"


def test_a_result_that_cannot_be_passed_on_fails_its_item(
    work: Callable[..., TrainingRun], runs: TrainingRuns
) -> None:
    run = work(3, unpicklable=(1,))
    assert run.counts == Counts(trained=2, failed=1)
    assert "can't be passed on" in failed(runs, run)["1/ad/1"]


def test_a_store_that_is_away_is_waited_for_without_using_up_an_items_time(
    work: Callable[..., TrainingRun], runs: TrainingRuns
) -> None:
    """Away for 0.25 + 0.5 + 1 + 2 s, twice what an item may take."""
    run = work(2, item_seconds=1.8, away={1: 4})
    assert (run.exit_status, run.counts) == (0, Counts(trained=2))


def test_opening_what_is_away_at_the_start_is_tried_again(work: Callable[..., TrainingRun]) -> None:
    run = work(2, closed_at_first=True)
    assert (run.exit_status, run.counts) == (0, Counts(trained=2))


def test_asked_to_stop_it_finishes_what_is_in_work(work: Callable[..., TrainingRun], tmp_path: Path) -> None:
    stop = threading.Event()

    def ask() -> None:
        for number in (0, 1):
            crew.wait_for(tmp_path / f"held-{number}")
        stop.set()
        (tmp_path / "release").touch()

    threading.Thread(target=ask).start()
    run = work(6, stop=stop, holds=(0, 1))
    assert (run.exit_status, run.counts) == (1, Counts(trained=2, pending=4))
    # Again, it goes on with the rest alone.
    done = work(6)
    assert (done.exit_status, done.counts) == (0, Counts(trained=6))
    assert sorted(crew.begun(tmp_path)) == [f"1/ad/{i}" for i in range(6)]


def until_one_hangs_and_the_other_is_done(runs: TrainingRuns, folder: Path) -> None:
    crew.wait_for(folder / "hung-1")
    eventually(lambda: runs.list()[0].counts.trained == 1)


def test_what_takes_longer_than_the_grace_is_put_back(
    work: Callable[..., TrainingRun], runs: TrainingRuns, tmp_path: Path
) -> None:
    stop = threading.Event()

    def ask() -> None:
        until_one_hangs_and_the_other_is_done(runs, tmp_path)
        stop.set()

    threading.Thread(target=ask).start()
    run = work(2, stop=stop, hangs=(1,), pace=Pace(lease=5.0, heartbeat=0.2, grace=0.3))
    assert (run.exit_status, run.counts) == (1, Counts(trained=1, pending=1))


def test_a_cancelled_run_kills_what_is_in_work(
    work: Callable[..., TrainingRun], runs: TrainingRuns, tmp_path: Path
) -> None:
    def cancel() -> None:
        until_one_hangs_and_the_other_is_done(runs, tmp_path)
        runs.cancel(runs.list()[0].run_id, reason="wrong account")

    threading.Thread(target=cancel).start()
    run = work(2, hangs=(1,))
    assert (run.status, run.detail, run.exit_status) == (RunStatus.CANCELLED, "wrong account", 1)
    assert run.counts == Counts(trained=1, pending=1)


def test_workers_die_with_the_run_s_process(tmp_path: Path) -> None:
    """Kill -9 in the middle of a fit: nobody goes on with it beside the successor."""
    leader = subprocess.Popen(
        [sys.executable, "-m", "support.crew", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(SUPPORT)])},
    )
    try:
        crew.wait_for(tmp_path / "hung-0")
        (worker,) = crew.pids(tmp_path)
        assert not crew.gone(worker)
    finally:
        leader.kill()
        leader.wait()
    eventually(lambda: crew.gone(worker))


def test_more_items_than_processes_are_a_mistake() -> None:
    with Workers(partial(crew.make, folder="nowhere"), count=1, item_seconds=60.0) as workers:
        workers.begin(Item("1/ad/0", 1, payload={"value": 0, "hang": True}), patience_seconds=0)
        with pytest.raises(RuntimeError, match="every process has an item"):
            workers.begin(Item("1/ad/1", 1, payload={"value": 1}), patience_seconds=0)
