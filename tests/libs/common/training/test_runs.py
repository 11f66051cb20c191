"""Runs and leases: one run per request, one worker per shard, no word of a worker that lost it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import AlreadyExists, AlreadyRunning, InvalidInput, NotFound
from adsml_common.training.records import (
    EXIT_BAD_DATA,
    EXIT_DONE,
    EXIT_RETRY,
    Counts,
    Item,
    ItemResult,
    ItemStatus,
    Lease,
    RunStatus,
    ShardStatus,
    TrainingRun,
    run_id_of,
)
from adsml_common.training.runs import TrainingRuns

TRAINED = ItemResult(ItemStatus.TRAINED)
FAILED = ItemResult(ItemStatus.FAILED, "no luck")
ITEMS = [Item(f"1/adset/{i}", 1, EntityType.ADSET, str(i)) for i in range(4)]


@dataclass
class Clock:
    now: datetime = datetime(2024, 3, 1, 4, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runs(database: Database, clock: Clock) -> TrainingRuns:
    return TrainingRuns(database, clock=clock)


def _start(runs: TrainingRuns, request_id: str = "r1", job: str = "classifiers", **more: int) -> TrainingRun:
    return runs.start(job, request_id=request_id, parameters={"config_ids": [1]}, **more)


def _take(
    runs: TrainingRuns, run: TrainingRun, holder: str = "a:1", shard_index: int = 0, seconds: float = 30
) -> Lease:
    return runs.acquire(run, shard_index=shard_index, holder=holder, seconds=seconds)


class TestStart:
    def test_a_request_starts_one_run(self, runs: TrainingRuns, clock: Clock) -> None:
        first = _start(runs)
        clock.tick(60)
        assert _start(runs) == first
        assert first.run_id == run_id_of("classifiers", "r1")
        assert (first.status, first.exit_status, first.counts) == (RunStatus.PENDING, None, Counts())
        assert first.created_at == datetime(2024, 3, 1, 4, tzinfo=UTC)
        assert runs.find("classifiers", "r1") == first
        assert runs.find("prophet", "r1") is None

    def test_from_many_threads_too(self, runs: TrainingRuns) -> None:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: _start(runs).run_id, range(16)))
        assert len(set(found)) == len(runs.list()) == 1

    def test_other_content_under_the_same_request_is_refused(self, runs: TrainingRuns) -> None:
        first = _start(runs)
        for more in (
            {"parameters": {"config_ids": [2]}},
            {"parameters": {"config_ids": [1]}, "shard_count": 2},
        ):
            with pytest.raises(AlreadyExists, match="another run of classifiers") as error:
                runs.start("classifiers", request_id="r1", **more)  # type: ignore[arg-type]
            assert error.value.metadata == {"run_id": first.run_id}

    def test_the_same_request_of_another_job_is_another_run(self, runs: TrainingRuns) -> None:
        assert _start(runs).run_id != _start(runs, job="prophet").run_id

    @pytest.mark.parametrize(
        ("change", "place"),
        [
            ({"request_id": ""}, "request_id"),
            ({"request_id": "x" * 129}, "request_id"),
            ({"shard_index": 2, "shard_count": 2}, "shard_index"),
            ({"shard_index": -1}, "shard_index"),
        ],
    )
    def test_what_makes_no_sense_is_refused(
        self, runs: TrainingRuns, change: dict[str, object], place: str
    ) -> None:
        with pytest.raises(InvalidInput) as error:
            _start(runs, **change)  # type: ignore[arg-type]
        assert error.value.violations[0].path == place

    def test_unknown(self, runs: TrainingRuns) -> None:
        for call in (lambda: runs.get("nobody"), lambda: runs.cancel("nobody")):
            with pytest.raises(NotFound):
                call()
        assert runs.items("nobody") == []


class TestLease:
    def test_one_worker_per_shard(self, runs: TrainingRuns) -> None:
        run = _start(runs)
        _take(runs, run, "pod-a:1")
        with pytest.raises(AlreadyRunning, match=r"pod-a:1 has worked on shard 0 of this run") as error:
            _take(runs, run, "pod-b:1")
        assert error.value.metadata["run_id"] == run.run_id

    def test_one_run_per_job(self, runs: TrainingRuns) -> None:
        first = _start(runs, shard_count=2)
        second = _start(runs, "r2")
        _take(runs, first, shard_index=1)
        with pytest.raises(AlreadyRunning, match="another run of it") as error:
            _take(runs, second)
        assert error.value.metadata["run_id"] == first.run_id

    def test_shards_of_a_run_and_other_jobs_go_side_by_side(self, runs: TrainingRuns) -> None:
        for index in range(2):
            _take(runs, _start(runs, shard_index=index, shard_count=2), shard_index=index)
        _take(runs, _start(runs, job="prophet"))

    def test_only_one_of_many_gets_it(self, runs: TrainingRuns) -> None:
        run = _start(runs)

        def attempt(i: int) -> bool:
            try:
                _take(runs, run, f"pod-{i}")
            except AlreadyRunning:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(attempt, range(8))) == 1

    def test_it_expires_unless_it_is_renewed(self, runs: TrainingRuns, clock: Clock) -> None:
        run = _start(runs)
        lease = _take(runs, run)
        clock.tick(29)
        lease, _ = runs.renew(lease, seconds=30)
        clock.tick(29)
        with pytest.raises(AlreadyRunning):
            _take(runs, run, "b:1")
        clock.tick(1)
        assert _take(runs, run, "b:1").token == lease.token + 1

    def test_whoever_lost_it_writes_nothing_more(self, runs: TrainingRuns, clock: Clock) -> None:
        run = _start(runs)
        old = _take(runs, run)
        runs.plan(old, ITEMS)
        runs.begin(old, ITEMS[0].key)
        clock.tick(30)
        new = _take(runs, run, "b:1")
        before = runs.items(run.run_id)
        for call in (
            lambda: runs.renew(old, seconds=30),
            lambda: runs.plan(old, [Item("1/ad/9", 1)]),
            lambda: runs.begin(old, ITEMS[1].key),
            lambda: runs.done(old, ITEMS[0].key, TRAINED),
            lambda: runs.requeue(old, [ITEMS[0].key]),
            lambda: runs.finish(old, ShardStatus.SUCCEEDED, exit_status=EXIT_DONE),
        ):
            with pytest.raises(AlreadyRunning, match="was silent for too long"):
                call()
        assert runs.items(run.run_id) == before
        assert runs.get(run.run_id).status is RunStatus.RUNNING
        runs.done(new, ITEMS[0].key, TRAINED)

    def test_one_that_ran_out_but_nobody_took_is_as_good_as_before(
        self, runs: TrainingRuns, clock: Clock
    ) -> None:
        run = _start(runs)
        lease = _take(runs, run)
        clock.tick(300)
        runs.plan(lease, ITEMS)
        runs.renew(lease, seconds=30)
        with pytest.raises(AlreadyRunning):
            _take(runs, run, "b:1")

    def test_no_shard_of_a_run_comes_back_to_life_beside_another_run(
        self, runs: TrainingRuns, clock: Clock
    ) -> None:
        """Both pods of the first were cut off for longer than a lease; the second run has a single shard."""
        first = _start(runs, shard_count=2)
        slow = [_take(runs, first, shard_index=index) for index in range(2)]
        clock.tick(30)
        _take(runs, _start(runs, "r2"))
        for lease in slow:
            with pytest.raises(AlreadyRunning, match="was silent for too long"):
                runs.renew(lease, seconds=30)

    def test_the_end_gives_it_back(self, runs: TrainingRuns) -> None:
        run = _start(runs)
        lease = _take(runs, run)
        runs.finish(lease, ShardStatus.INTERRUPTED, exit_status=EXIT_RETRY)
        # A renewal that was on its way does not bring it back to life.
        with pytest.raises(AlreadyRunning):
            runs.renew(lease, seconds=30)
        assert _take(runs, run, "b:1").token > lease.token

    def test_by_the_clock_of_the_database(self, database: Database) -> None:
        runs = TrainingRuns(database)
        run = _start(runs)
        assert abs(run.created_at - datetime.now(UTC)) < timedelta(minutes=1)
        _take(runs, run, seconds=0)
        _take(runs, run, "b:1", seconds=60)
        with pytest.raises(AlreadyRunning):
            _take(runs, run, "c:1")


class TestItems:
    def test_their_course(self, runs: TrainingRuns) -> None:
        run = _start(runs)
        lease = _take(runs, run)
        assert runs.plan(lease, ITEMS) == {item.key: ItemStatus.PENDING for item in ITEMS}
        for item, result in zip(
            ITEMS, (TRAINED, ItemResult(ItemStatus.SKIPPED, "3 of 14 days"), FAILED), strict=False
        ):
            runs.begin(lease, item.key)
            runs.done(lease, item.key, replace(result, seconds=1.5))
        runs.begin(lease, ITEMS[3].key)
        assert runs.get(run.run_id).counts == Counts(running=1, trained=1, skipped=1, failed=1)
        found = runs.items(run.run_id)
        assert [item.status for item in found] == ["TRAINED", "SKIPPED", "FAILED", "RUNNING"]
        assert [item.reason for item in found] == ["", "3 of 14 days", "no luck", ""]
        assert (found[0].entity_type, found[0].entity_id, found[0].seconds) == (EntityType.ADSET, "0", 1.5)
        assert runs.items(run.run_id, status=ItemStatus.FAILED) == [found[2]]
        assert runs.items(run.run_id, limit=2) == found[:2]

    def test_planned_again_they_keep_their_status(self, runs: TrainingRuns) -> None:
        run = _start(runs)
        lease = _take(runs, run)
        runs.plan(lease, ITEMS[:2])
        runs.done(lease, ITEMS[0].key, TRAINED)
        assert list(runs.plan(lease, ITEMS).values()) == ["TRAINED", "PENDING", "PENDING", "PENDING"]
        assert runs.plan(lease, []) == {}

    def test_very_many(self, runs: TrainingRuns) -> None:
        """More than a statement may have parameters."""
        run = _start(runs)
        items = [Item(f"{i:05d}", 1) for i in range(12_000)]
        assert len(runs.plan(_take(runs, run), items)) == 12_000
        assert runs.get(run.run_id).counts == Counts(pending=12_000)


class TestStatus:
    def _finish(
        self, runs: TrainingRuns, run: TrainingRun, index: int, status: ShardStatus, exit_status: int
    ) -> TrainingRun:
        return runs.finish(_take(runs, run, shard_index=index), status, exit_status=exit_status)

    def test_a_run_has_succeeded_when_every_shard_has(self, runs: TrainingRuns, clock: Clock) -> None:
        run = _start(runs, shard_count=2)
        run = self._finish(runs, run, 0, ShardStatus.SUCCEEDED, EXIT_DONE)
        assert (run.status, run.exit_status, run.finished_at) == (RunStatus.RUNNING, EXIT_DONE, None)
        assert runs.get(run.run_id).exit_status is None
        _start(runs, shard_index=1, shard_count=2)
        clock.tick(60)
        run = self._finish(runs, run, 1, ShardStatus.SUCCEEDED, EXIT_DONE)
        assert (run.status, run.exit_status) == (RunStatus.SUCCEEDED, EXIT_DONE)
        assert run.finished_at == run.heartbeat_at == clock.now
        assert run.started_at == clock.now - timedelta(seconds=60)

    @pytest.mark.parametrize(
        ("exits", "together"),
        [
            ((EXIT_DONE, EXIT_BAD_DATA), EXIT_BAD_DATA),
            ((EXIT_BAD_DATA, EXIT_BAD_DATA), EXIT_BAD_DATA),
            ((EXIT_BAD_DATA, EXIT_RETRY), EXIT_RETRY),
            ((EXIT_RETRY, EXIT_DONE), EXIT_RETRY),
        ],
    )
    def test_the_exit_status_of_all_shards_together(
        self, runs: TrainingRuns, exits: tuple[int, int], together: int
    ) -> None:
        for index, exit_status in enumerate(exits):
            run = _start(runs, shard_index=index, shard_count=2)
            status = ShardStatus.FAILED if exit_status else ShardStatus.SUCCEEDED
            assert self._finish(runs, run, index, status, exit_status).exit_status == exit_status
        assert runs.get(run.run_id).exit_status == together

    def test_partial_if_something_was_done_else_failed(self, runs: TrainingRuns) -> None:
        run = _start(runs)
        lease = _take(runs, run)
        runs.plan(lease, ITEMS)
        ended = runs.finish(lease, ShardStatus.FAILED, exit_status=EXIT_RETRY, detail="4 of 4 items failed")
        assert (ended.status, ended.detail) == (RunStatus.FAILED, "4 of 4 items failed")
        lease = _take(runs, run)
        assert runs.get(run.run_id).status is RunStatus.RUNNING
        runs.done(lease, ITEMS[0].key, TRAINED)
        ended = runs.finish(lease, ShardStatus.FAILED, exit_status=EXIT_RETRY, detail="3 of 4 items failed")
        assert ended.status is RunStatus.PARTIAL

    def test_cancelled_before_anybody_began(self, runs: TrainingRuns) -> None:
        run = runs.cancel(_start(runs).run_id, reason="wrong account")
        assert (run.status, run.detail) == (RunStatus.CANCELLED, "wrong account")

    def test_cancelled_while_it_works(self, runs: TrainingRuns) -> None:
        run = _start(runs)
        lease = _take(runs, run)
        assert runs.renew(lease, seconds=30)[1] is False
        assert runs.cancel(run.run_id).status is RunStatus.CANCELLING
        assert runs.renew(lease, seconds=30)[1] is True
        run = runs.finish(lease, ShardStatus.CANCELLED, exit_status=EXIT_RETRY)
        assert (run.status, run.detail) == (RunStatus.CANCELLED, "cancelled on request")

    def test_cancelled_after_its_worker_died(self, runs: TrainingRuns, clock: Clock) -> None:
        run = _start(runs)
        _take(runs, run)
        clock.tick(30)
        assert runs.cancel(run.run_id).status is RunStatus.CANCELLED

    def test_what_has_ended_stays_as_it_is(self, runs: TrainingRuns) -> None:
        run = self._finish(runs, _start(runs), 0, ShardStatus.SUCCEEDED, EXIT_DONE)
        assert runs.cancel(run.run_id, reason="too late") == run


def test_list(runs: TrainingRuns, clock: Clock) -> None:
    made = []
    for i in range(5):
        made.append(_start(runs, f"r{i}", job="prophet" if i % 2 else "classifiers"))
        # Several at the same moment: paging must lose none.
        clock.tick(i % 2)
    found = runs.list()
    assert {run.run_id for run in found} == {run.run_id for run in made}
    assert [run.created_at for run in found] == sorted((run.created_at for run in made), reverse=True)
    pages = [runs.list(limit=2)]
    while pages[-1]:
        pages.append(runs.list(limit=2, before=pages[-1][-1]))
    assert [run for page in pages for run in page] == found
    assert {run.job for run in runs.list(jobs=["prophet"])} == {"prophet"}
    assert len(runs.list(jobs=["prophet", "classifiers"])) == 5
    runs.cancel(made[0].run_id)
    assert [run.run_id for run in runs.list(status=RunStatus.CANCELLED)] == [made[0].run_id]
