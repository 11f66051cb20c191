"""Training runs as one process serves them, on both databases."""

import contextlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from adsml.common.v1 import answer_pb2, entity_pb2
from adsml.training.v1 import training_service_pb2 as pb
from adsml.training.v1 import training_service_pb2_grpc as training_grpc
from adsml_common.domain.errors import AlreadyExists, AlreadyRunning, InvalidInput, NotFound, Overloaded
from adsml_common.serving.context import CallContext, Caller
from adsml_common.serving.server import ServerBuilder
from adsml_common.serving.training_service import JOBS, SERVICE, TrainingService
from adsml_common.store.metrics import MetricStore
from adsml_common.training.launchers import ClusterLauncher, LocalLauncher
from adsml_common.training.records import LauncherKind, LaunchKind, RunStatus
from adsml_common.training.runs import TrainingRuns
from support.daily import daily_frame
from support.serving import SECONDS, eventually, free_port, refusal, settings

SUPPORT = Path(__file__).parents[3] / "support"
SCRIPT, KILLED = SUPPORT / "train_process.py", SUPPORT / "killed_starting.py"
CLASSIFIERS = pb.TRAINING_JOB_CLASSIFIERS
FAMILY = answer_pb2.FAMILY_CLASSIFIER


class LauncherSpy:
    """A launcher that only notes what it is asked."""

    kind, default_shards = LauncherKind.KUBERNETES, 2

    def __init__(self):
        self.launched = []

    def reference(self, job, request_id):
        return f"jobs/{job}-{request_id}"

    def launch(self, run):
        self.launched.append(run.request_id)


@pytest.fixture
def runs(database):
    return TrainingRuns(database)


@pytest.fixture
def launcher():
    return LauncherSpy()


@pytest.fixture
def stub(runs, launcher):
    with serving(runs, launcher) as made:
        yield made


def service(runs, launcher, **options):
    return TrainingService(runs, family="classifier", jobs=["classifiers"], launcher=launcher, **options)


@contextlib.contextmanager
def serving(runs, launcher, **options):
    built = ServerBuilder(settings()).add(service(runs, launcher, **options), SERVICE)
    with built.start() as server, grpc.insecure_channel(server.target) as channel:
        yield training_grpc.TrainingServiceStub(channel)


def start(**changed):
    return pb.StartTrainingRequest(**({"family": FAMILY, "request_id": "r1", "job": CLASSIFIERS} | changed))


def test_the_contract_and_the_records_name_the_same_jobs():
    assert set(JOBS) == {number for number in pb.TrainingJob.values() if number}


def test_a_run_is_started_once_however_often_it_is_asked_for(stub, launcher):
    scope = pb.TrainingScope(config_ids=[2, 1], entity_type=entity_pb2.ENTITY_TYPE_ADSET)
    first = stub.StartTraining(start(scope=scope), timeout=SECONDS)
    assert not first.already_started
    assert first.run.state == pb.TRAINING_RUN_STATE_PENDING
    assert (first.run.job, first.run.request_id, first.run.shard_count) == (CLASSIFIERS, "r1", 2)
    assert list(first.run.scope.config_ids) == [1, 2]
    assert (first.run.launcher, first.run.launcher_ref) == (pb.LAUNCHER_KUBERNETES, "jobs/classifiers-r1")
    assert first.run.launch_kind == pb.LAUNCH_KIND_CALLER
    again = stub.StartTraining(start(scope=scope), timeout=SECONDS)
    assert again.already_started
    assert again.run.run_id == first.run.run_id
    # Nobody has begun yet: the first launch may have been lost on the way.
    assert launcher.launched == ["r1", "r1"]


def test_a_request_id_used_for_something_else_is_refused(stub):
    stub.StartTraining(start(scope=pb.TrainingScope(config_ids=[1])), timeout=SECONDS)
    other = start(scope=pb.TrainingScope(config_ids=[2]))
    assert refusal(lambda: stub.StartTraining(other, timeout=SECONDS)).code is grpc.StatusCode.ALREADY_EXISTS


def test_a_second_run_of_a_job_is_refused_while_one_goes_on(stub):
    run = stub.StartTraining(start(), timeout=SECONDS).run
    refused = refusal(lambda: stub.StartTraining(start(request_id="r2"), timeout=SECONDS))
    assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
    assert refused.info.reason == "ALREADY_RUNNING"
    assert dict(refused.info.metadata) == {"run_id": run.run_id}
    stub.CancelTrainingRun(
        pb.CancelTrainingRunRequest(family=FAMILY, run_id=run.run_id, reason="enough"), timeout=SECONDS
    )
    assert stub.StartTraining(start(request_id="r2"), timeout=SECONDS).run.request_id == "r2"


def test_another_services_job_is_the_callers_mistake(stub):
    refused = refusal(lambda: stub.StartTraining(start(job=pb.TRAINING_JOB_PROPHET), timeout=SECONDS))
    assert refused.violations == {"job": "is another service's; this one trains classifiers"}


def test_a_scope_of_entities_needs_one_account_and_a_level(stub):
    scope = pb.TrainingScope(config_ids=[1, 2], entity_ids=["a"])
    refused = refusal(lambda: stub.StartTraining(start(scope=scope), timeout=SECONDS))
    assert refused.violations == {
        "scope": "entity_ids needs exactly one account in config_ids and a level in entity_type"
    }


def test_without_a_launcher_runs_are_looked_at_and_not_started(runs):
    with serving(runs, None) as stub:
        refused = refusal(lambda: stub.StartTraining(start(), timeout=SECONDS))
        assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
        assert (
            len(stub.ListTrainingRuns(pb.ListTrainingRunsRequest(family=FAMILY), timeout=SECONDS).runs) == 0
        )


def test_runs_are_listed_newest_first_in_pages(stub, runs):
    for number in range(5):
        run = runs.start("classifiers", request_id=f"r{number}", parameters={})
        runs.cancel(run.run_id)
    runs.start("prophet", request_id="other", parameters={})
    first = stub.ListTrainingRuns(pb.ListTrainingRunsRequest(family=FAMILY, page_size=3), timeout=SECONDS)
    rest = stub.ListTrainingRuns(
        pb.ListTrainingRunsRequest(family=FAMILY, page_size=3, page_token=first.next_page_token),
        timeout=SECONDS,
    )
    whole = stub.ListTrainingRuns(pb.ListTrainingRunsRequest(family=FAMILY), timeout=SECONDS).runs
    assert [*first.runs, *rest.runs] == list(whole)
    assert len(whole) == 5
    assert rest.next_page_token == ""
    pending = pb.ListTrainingRunsRequest(family=FAMILY, state=pb.TRAINING_RUN_STATE_PENDING)
    assert len(stub.ListTrainingRuns(pending, timeout=SECONDS).runs) == 0
    # The command line started them: there is no request of a caller behind them.
    assert {run.request_id for run in whole} == {""}


@pytest.mark.parametrize("method", ["GetTrainingRun", "CancelTrainingRun"])
def test_what_there_is_not_or_is_anothers_is_not_found(stub, runs, method):
    other = runs.start("prophet", request_id="other", parameters={})
    for run_id in ("nothing", other.run_id):
        request = getattr(pb, f"{method}Request")(family=FAMILY, run_id=run_id)
        refused = refusal(lambda request=request: getattr(stub, method)(request, timeout=SECONDS))
        assert refused.code is grpc.StatusCode.NOT_FOUND
        assert refused.message == f"there is no training run {run_id}"


def test_a_run_of_another_account_is_waited_for_and_not_named(runs, launcher):
    made = service(runs, launcher)
    one, two = (
        CallContext(caller=Caller(name, config_ids=frozenset(accounts)))
        for name, accounts in (("one", {1}), ("two", {2}))
    )
    run = made.StartTraining(start(request_id="a"), one).run
    with pytest.raises(AlreadyRunning) as caught:
        made.StartTraining(start(request_id="b"), two)
    assert run.run_id not in str(caught.value.metadata) + caught.value.message
    with pytest.raises(AlreadyRunning) as caught:
        made.StartTraining(start(request_id="c"), one)
    assert caught.value.metadata == {"run_id": run.run_id}


def test_the_request_id_of_another_caller_reveals_nothing_and_blocks_nobody(runs, launcher):
    made = service(runs, launcher)
    squatter, owner = (
        CallContext(caller=Caller(name, config_ids=frozenset(accounts)))
        for name, accounts in (("squatter", {1}), ("owner", {2}))
    )
    long = "nightly-" + "2026-11-29." * 10 + "0123456789"
    for request_id in ("nightly", long):
        taken = made.StartTraining(start(request_id=request_id), squatter)
        made.CancelTrainingRun(
            pb.CancelTrainingRunRequest(family=FAMILY, run_id=taken.run.run_id, reason="out of the way"),
            squatter,
        )
        mine = made.StartTraining(start(request_id=request_id), owner)
        assert not mine.already_started
        assert mine.run.run_id != taken.run.run_id
        assert mine.run.launcher_ref != taken.run.launcher_ref
        assert list(mine.run.scope.config_ids) == [2]
        assert request_id.startswith(mine.run.request_id)
        # A retry finds the caller's own run, and only that.
        again = made.StartTraining(start(request_id=request_id), owner)
        assert (again.already_started, again.run.run_id) == (True, mine.run.run_id)
        made.CancelTrainingRun(
            pb.CancelTrainingRunRequest(family=FAMILY, run_id=mine.run.run_id, reason="enough"), owner
        )
    with pytest.raises(AlreadyExists, match="request id nightly has started another run") as caught:
        made.StartTraining(start(request_id="nightly", shard_count=7), owner)
    assert "~" not in caught.value.message


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_kill_9_between_record_and_launch_loses_no_run_and_starts_none_twice(
    runs, database, database_url, tmp_path, monkeypatch
):
    MetricStore(database).upsert_daily(1, daily_frame(days=1), source="test")
    environment = {**os.environ, "ADSML_DATABASE_URL": database_url}
    request = start(scope=pb.TrainingScope(config_ids=[1]))
    port = free_port()
    killed = subprocess.Popen([sys.executable, str(KILLED), str(port), str(tmp_path)], env=environment)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_retries", 0)]) as channel:
            stub = training_grpc.TrainingServiceStub(channel)
            refused = refusal(lambda: stub.StartTraining(request, timeout=SECONDS, wait_for_ready=True))
            assert refused.code is grpc.StatusCode.UNAVAILABLE
        assert killed.wait(SECONDS) == -signal.SIGKILL
    finally:
        killed.kill()
    (left,) = runs.list()
    assert (left.status, left.started_at) == (RunStatus.PENDING, None)
    # The caller does what it does on UNAVAILABLE: it sends the same request again.
    monkeypatch.setenv("ADSML_DATABASE_URL", database_url)
    launcher = LocalLauncher(runs, log_dir=tmp_path / "logs", command=(sys.executable, str(SCRIPT)))
    with serving(runs, launcher) as stub:
        for _ in range(2):
            again = stub.StartTraining(request, timeout=SECONDS)
            assert (again.already_started, again.run.run_id) == (True, left.run_id)
        eventually(lambda: runs.get(left.run_id).status.ended, within=90.0)
    (done,) = runs.list()
    assert (done.counts.total, done.counts.skipped, done.counts.failed) == (2, 1, 1)
    assert [one.attempts for one in runs.items(left.run_id)] == [1, 1]


def test_a_caller_starts_and_sees_runs_of_its_accounts_and_of_no_others(runs, launcher):
    servicer = service(runs, launcher)
    one, two, everyone = (
        CallContext(caller=Caller(name, config_ids=accounts))
        for name, accounts in (("one", frozenset({1})), ("two", frozenset({2})), ("all", None))
    )
    mine = servicer.StartTraining(start(), one).run
    assert list(mine.scope.config_ids) == [1]
    assert mine.actor == "one"
    with pytest.raises(NotFound):
        servicer.GetTrainingRun(pb.GetTrainingRunRequest(family=FAMILY, run_id=mine.run_id), two)
    with pytest.raises(AlreadyRunning):
        servicer.StartTraining(start(), two)
    assert len(servicer.ListTrainingRuns(pb.ListTrainingRunsRequest(family=FAMILY), two).runs) == 0
    assert len(servicer.ListTrainingRuns(pb.ListTrainingRunsRequest(family=FAMILY), everyone).runs) == 1
    with pytest.raises(InvalidInput):
        servicer.StartTraining(start(request_id="r9"), CallContext(caller=Caller("no", frozenset())))


def test_the_local_launcher_does_the_work_and_the_run_says_how_it_ended(
    runs, database, database_url, tmp_path, monkeypatch
):
    for config_id in (1, 2):
        MetricStore(database).upsert_daily(config_id, daily_frame(days=1), source="test")
    monkeypatch.setenv("ADSML_DATABASE_URL", database_url)
    launcher = LocalLauncher(runs, log_dir=tmp_path / "logs", command=(sys.executable, str(SCRIPT)))
    scope = pb.TrainingScope(config_ids=[1, 2])
    with serving(runs, launcher) as stub:
        run_id = stub.StartTraining(start(scope=scope, shard_count=2), timeout=SECONDS).run.run_id

        def run():
            return stub.GetTrainingRun(
                pb.GetTrainingRunRequest(family=FAMILY, run_id=run_id), timeout=SECONDS
            )

        eventually(lambda: run().run.HasField("end_time"), within=90.0)
        done = run()
        nothing = stub.GetTrainingRun(
            pb.GetTrainingRunRequest(family=FAMILY, run_id=run_id, max_failed_items=0), timeout=SECONDS
        )
    assert done.run.state == pb.TRAINING_RUN_STATE_PARTIAL
    assert (done.run.counts.total, done.run.counts.skipped, done.run.counts.failed) == (4, 2, 2)
    assert [one.item_key for one in done.failed_items] == ["1/bad", "2/bad"]
    assert {one.detail for one in done.failed_items} == {"the rows make no sense"}
    assert done.failed_items[0].entity.config_id == 1
    assert len(nothing.failed_items) == 0


def test_a_process_that_ends_before_its_run_ends_the_run_with_the_reason(runs, tmp_path):
    launcher = LocalLauncher(
        runs, log_dir=tmp_path, command=(sys.executable, "-c", "raise SystemExit('no')"), lease_seconds=1.0
    )
    with serving(runs, launcher) as stub:
        run_id = stub.StartTraining(start(), timeout=SECONDS).run.run_id
        request = pb.GetTrainingRunRequest(family=FAMILY, run_id=run_id)

        def run():
            return stub.GetTrainingRun(request, timeout=SECONDS).run

        eventually(lambda: run().state == pb.TRAINING_RUN_STATE_FAILED)
        assert run().detail == "its process ended with status 1 before the run did; its log has why"
    assert (tmp_path / f"{run_id}.log").read_text().strip() == "no"


def test_one_call_starts_one_process_however_many_shards_it_asks_for(runs, tmp_path):
    """90 shards were 90 processes of 150 MB each, and the machine died."""
    count = "import os, pathlib; pathlib.Path(f'{os.environ[\"STARTED\"]}/{os.getpid()}').touch()"
    started = tmp_path / "started"
    started.mkdir()
    launcher = LocalLauncher(runs, log_dir=tmp_path, command=(sys.executable, "-c", count), lease_seconds=0.5)
    with pytest.MonkeyPatch.context() as patch, serving(runs, launcher, max_shards=256) as stub:
        patch.setenv("STARTED", str(started))
        run_id = stub.StartTraining(start(shard_count=90), timeout=SECONDS).run.run_id
        request = pb.GetTrainingRunRequest(family=FAMILY, run_id=run_id)
        eventually(lambda: stub.GetTrainingRun(request, timeout=SECONDS).run.HasField("end_time"))
    assert len(list(started.iterdir())) == 1


def test_shards_have_a_ceiling(runs, launcher):
    with serving(runs, launcher, max_shards=8) as stub:
        refused = refusal(lambda: stub.StartTraining(start(shard_count=9), timeout=SECONDS))
        assert refused.violations == {"shard_count": "is 9; this server takes at most 8"}
        above = refusal(lambda: stub.StartTraining(start(shard_count=257), timeout=SECONDS))
        assert set(above.violations) == {"shard_count"}
        assert stub.StartTraining(start(shard_count=8), timeout=SECONDS).run.shard_count == 8


@pytest.mark.parametrize(
    "request_id", ["$(ADSML_DATABASE_URL)", "a/b", "job/train-classifiers-1", "", "x" * 129, "ä"]
)
def test_a_request_id_is_of_plain_characters(stub, request_id):
    refused = refusal(lambda: stub.StartTraining(start(request_id=request_id), timeout=SECONDS))
    assert set(refused.violations) == {"request_id"}


@pytest.mark.parametrize("name", ["schedule", "cli"])
def test_the_name_of_a_caller_says_nothing_about_what_started_a_run(runs, name):
    call = CallContext(caller=Caller(name, config_ids=None))
    run = service(runs, ClusterLauncher(shards=2)).StartTraining(start(), call).run
    assert (run.launch_kind, run.actor, run.request_id) == (pb.LAUNCH_KIND_CALLER, name, "r1")
    (recorded,) = runs.launched()
    assert recorded.launch_kind is LaunchKind.CALLER


def test_a_caller_may_have_so_many_runs_open_and_no_more(runs, launcher):
    one = CallContext(caller=Caller("one", config_ids=None))
    runs.start("prophet", request_id="p", parameters={}, launch_kind=LaunchKind.CALLER, actor="one")
    with pytest.raises(Overloaded, match="1 training runs of this caller are open"):
        service(runs, launcher, open_runs=1).StartTraining(start(), one)
    assert not launcher.launched
    two = CallContext(caller=Caller("two", config_ids=None))
    service(runs, launcher, open_runs=1).StartTraining(start(), two)
    assert len(launcher.launched) == 1


def test_of_many_at_once_one_is_taken_on(runs, launcher):
    made = service(runs, launcher)

    def ask(number):
        call = CallContext(caller=Caller(f"caller-{number}", config_ids=None))
        with contextlib.suppress(AlreadyRunning):
            return made.StartTraining(start(request_id=f"r{number}"), call).run.run_id

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6)))
    assert len([one for one in answers if one]) == 1
    assert len(runs.list()) == 1


def test_a_command_that_is_not_there_is_unavailable(runs, tmp_path):
    launcher = LocalLauncher(runs, log_dir=tmp_path, command=("/no/such/command",))
    with serving(runs, launcher) as stub:
        refused = refusal(lambda: stub.StartTraining(start(), timeout=SECONDS))
    assert refused.code is grpc.StatusCode.UNAVAILABLE
