"""Training runs as one process serves them, on both databases."""

import contextlib
import sys
from pathlib import Path

import grpc
import pytest
from adsml.common.v1 import entity_pb2
from adsml.training.v1 import training_service_pb2 as pb
from adsml.training.v1 import training_service_pb2_grpc as training_grpc
from adsml_common.domain.errors import AlreadyExists, InvalidInput, NotFound
from adsml_common.serving.context import CallContext, Caller
from adsml_common.serving.server import ServerBuilder
from adsml_common.serving.training_service import JOBS, SERVICE, TrainingService
from adsml_common.training.launchers import LocalLauncher
from adsml_common.training.runs import TrainingRuns
from support.serving import SECONDS, eventually, refusal, settings

SCRIPT = Path(__file__).parents[3] / "support" / "train_process.py"
CLASSIFIERS = pb.TRAINING_JOB_CLASSIFIERS


class Noted:
    """A launcher that only notes what it is asked."""

    name, default_shards = "noted", 2

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
    return Noted()


@pytest.fixture
def stub(runs, launcher):
    with serving(runs, launcher) as made:
        yield made


@contextlib.contextmanager
def serving(runs, launcher):
    built = ServerBuilder(settings()).add(
        training_grpc.add_TrainingServiceServicer_to_server,
        TrainingService(runs, jobs=["classifiers"], launcher=launcher),
        SERVICE,
    )
    with built.start() as server, grpc.insecure_channel(server.target) as channel:
        yield training_grpc.TrainingServiceStub(channel)


def start(**changed):
    return pb.StartTrainingRequest(**({"request_id": "r1", "job": CLASSIFIERS} | changed))


def test_the_contract_and_the_records_name_the_same_jobs():
    assert set(JOBS) == {number for number in pb.TrainingJob.values() if number}


def test_a_run_is_started_once_however_often_it_is_asked_for(stub, launcher):
    scope = pb.TrainingScope(config_ids=[2, 1], entity_type=entity_pb2.ENTITY_TYPE_ADSET)
    first = stub.StartTraining(start(scope=scope), timeout=SECONDS)
    assert not first.already_started
    assert first.run.state == pb.TRAINING_RUN_STATE_PENDING
    assert (first.run.job, first.run.request_id, first.run.shard_count) == (CLASSIFIERS, "r1", 2)
    assert list(first.run.scope.config_ids) == [1, 2]
    assert (first.run.launcher, first.run.launcher_ref) == ("noted", "jobs/classifiers-r1")
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
    stub.CancelTrainingRun(pb.CancelTrainingRunRequest(run_id=run.run_id, reason="enough"), timeout=SECONDS)
    assert stub.StartTraining(start(request_id="r2"), timeout=SECONDS).run.request_id == "r2"


def test_another_services_job_is_the_callers_mistake(stub):
    refused = refusal(lambda: stub.StartTraining(start(job=pb.TRAINING_JOB_PROPHET), timeout=SECONDS))
    assert refused.violations == {"job": "is another service's; this one trains classifiers"}


def test_a_scope_of_entities_needs_one_account_and_a_level(stub):
    scope = pb.TrainingScope(config_ids=[1, 2], entity_ids=["a"])
    refused = refusal(lambda: stub.StartTraining(start(scope=scope), timeout=SECONDS))
    assert set(refused.violations) == {"scope.entity_ids"}


def test_without_a_launcher_runs_are_looked_at_and_not_started(runs):
    with serving(runs, None) as stub:
        refused = refusal(lambda: stub.StartTraining(start(), timeout=SECONDS))
        assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
        assert len(stub.ListTrainingRuns(pb.ListTrainingRunsRequest(), timeout=SECONDS).runs) == 0


def test_runs_are_listed_newest_first_in_pages(stub, runs):
    for number in range(5):
        run = runs.start("classifiers", request_id=f"r{number}", parameters={})
        runs.cancel(run.run_id)
    runs.start("prophet", request_id="other", parameters={})
    first = stub.ListTrainingRuns(pb.ListTrainingRunsRequest(page_size=3), timeout=SECONDS)
    rest = stub.ListTrainingRuns(
        pb.ListTrainingRunsRequest(page_size=3, page_token=first.next_page_token), timeout=SECONDS
    )
    whole = stub.ListTrainingRuns(pb.ListTrainingRunsRequest(), timeout=SECONDS).runs
    assert [*first.runs, *rest.runs] == list(whole)
    assert len(whole) == 5
    assert rest.next_page_token == ""
    pending = pb.ListTrainingRunsRequest(state=pb.TRAINING_RUN_STATE_PENDING)
    assert len(stub.ListTrainingRuns(pending, timeout=SECONDS).runs) == 0
    # The command line started them: there is no request of a caller behind them.
    assert {run.request_id for run in whole} == {""}


@pytest.mark.parametrize("method", ["GetTrainingRun", "CancelTrainingRun"])
def test_what_there_is_not_or_is_anothers_is_not_found(stub, runs, method):
    other = runs.start("prophet", request_id="other", parameters={})
    for run_id in ("nothing", other.run_id):
        request = getattr(pb, f"{method}Request")(run_id=run_id)
        refused = refusal(lambda request=request: getattr(stub, method)(request, timeout=SECONDS))
        assert refused.code is grpc.StatusCode.NOT_FOUND
        assert refused.message == f"there is no training run {run_id}"


def test_a_caller_starts_and_sees_runs_of_its_accounts_and_of_no_others(runs, launcher):
    servicer = TrainingService(runs, jobs=["classifiers"], launcher=launcher)
    one, two, everyone = (
        CallContext(caller=Caller(name, config_ids=accounts))
        for name, accounts in (("one", frozenset({1})), ("two", frozenset({2})), ("all", None))
    )
    mine = servicer.StartTraining(start(), one).run
    assert list(mine.scope.config_ids) == [1]
    assert mine.actor == "one"
    with pytest.raises(NotFound):
        servicer.GetTrainingRun(pb.GetTrainingRunRequest(run_id=mine.run_id), two)
    with pytest.raises(AlreadyExists):
        servicer.StartTraining(start(), two)
    assert len(servicer.ListTrainingRuns(pb.ListTrainingRunsRequest(), two).runs) == 0
    assert len(servicer.ListTrainingRuns(pb.ListTrainingRunsRequest(), everyone).runs) == 1
    with pytest.raises(InvalidInput):
        servicer.StartTraining(start(request_id="r9"), CallContext(caller=Caller("no", frozenset())))


def test_the_local_launcher_does_the_work_and_the_run_says_how_it_ended(
    runs, database_url, tmp_path, monkeypatch
):
    monkeypatch.setenv("ADSML_DATABASE_URL", database_url)
    launcher = LocalLauncher(runs, log_dir=tmp_path / "logs", command=(sys.executable, str(SCRIPT)))
    scope = pb.TrainingScope(config_ids=[1, 2])
    with serving(runs, launcher) as stub:
        run_id = stub.StartTraining(start(scope=scope, shard_count=2), timeout=SECONDS).run.run_id

        def run():
            return stub.GetTrainingRun(pb.GetTrainingRunRequest(run_id=run_id), timeout=SECONDS)

        eventually(lambda: run().run.HasField("finished_time"), within=90.0)
        done = run()
        nothing = stub.GetTrainingRun(
            pb.GetTrainingRunRequest(run_id=run_id, max_failed_items=0), timeout=SECONDS
        )
    assert done.run.state == pb.TRAINING_RUN_STATE_PARTIAL
    assert (done.run.counts.total, done.run.counts.skipped, done.run.counts.failed) == (4, 2, 2)
    assert [one.item_key for one in done.failed_items] == ["1/bad", "2/bad"]
    assert {one.detail for one in done.failed_items} == {"the rows make no sense"}
    assert done.failed_items[0].entity.config_id == 1
    assert len(nothing.failed_items) == 0


def test_a_process_that_ends_before_it_begins_ends_the_run_with_the_reason(runs, tmp_path):
    launcher = LocalLauncher(runs, log_dir=tmp_path, command=(sys.executable, "-c", "raise SystemExit('no')"))
    with serving(runs, launcher) as stub:
        run_id = stub.StartTraining(start(), timeout=SECONDS).run.run_id
        request = pb.GetTrainingRunRequest(run_id=run_id)
        eventually(
            lambda: stub.GetTrainingRun(request, timeout=SECONDS).run.state == pb.TRAINING_RUN_STATE_CANCELLED
        )
        assert "ended before it began" in stub.GetTrainingRun(request, timeout=SECONDS).run.detail
    assert (tmp_path / f"{run_id}-0.log").read_text().strip() == "no"


def test_a_command_that_is_not_there_is_unavailable(runs, tmp_path):
    launcher = LocalLauncher(runs, log_dir=tmp_path, command=("/no/such/command",))
    with serving(runs, launcher) as stub:
        refused = refusal(lambda: stub.StartTraining(start(), timeout=SECONDS))
    assert refused.code is grpc.StatusCode.UNAVAILABLE
