"""The launcher against an API that answers as the real one does, with the CronJobs of deploy/k8s."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from adsml.training.v1 import training_service_pb2 as pb
from adsml_common.database import Database
from adsml_common.domain.errors import FailedPrecondition, Unavailable
from adsml_common.serving.context import CallContext, Caller
from adsml_common.serving.training_service import TrainingService
from adsml_common.training.cluster import Cluster, Expired, JobPhase, JobState, indexes, job_body
from adsml_common.training.job import run_job
from adsml_common.training.launcher import JobLauncher
from adsml_common.training.launchers import ClusterLauncher, job_name
from adsml_common.training.progress import LogProgress
from adsml_common.training.records import Counts, RunStatus, TrainingRun
from adsml_common.training.runs import TrainingRuns
from support.cluster import NAMESPACE, FakeCluster, fake_cluster
from support.jobs import PACE, double, items
from support.manifests import of_kind
from support.serving import eventually

JOB = "anomaly-detectors"


@pytest.fixture(params=["sqlite"])
def dialect(request: pytest.FixtureRequest) -> str:
    """The record is tested on both elsewhere."""
    return str(request.param)


@pytest.fixture
def runs(database: Database) -> TrainingRuns:
    return TrainingRuns(database)


@pytest.fixture
def api() -> Iterator[FakeCluster]:
    with fake_cluster() as (cluster, configuration):
        for cronjob in of_kind("overlays/production", "CronJob").values():
            del cronjob["metadata"]["namespace"]
            cluster.add_cronjob(cronjob)
        cluster.configuration = configuration
        yield cluster


@pytest.fixture
def cluster(api: FakeCluster) -> Cluster:
    return Cluster(NAMESPACE, configuration=api.configuration)


@pytest.fixture
def launcher(runs: TrainingRuns, cluster: Cluster) -> JobLauncher:
    return JobLauncher(runs, cluster, every_seconds=0.05)


@contextmanager
def running(launcher: JobLauncher) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=launcher.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def accepted(runs: TrainingRuns, request_id: str = "r1", shards: int = 3) -> TrainingRun:
    """A run as StartTraining records it."""
    service = ClusterLauncher(shards=16)
    return runs.start(
        JOB,
        request_id=request_id,
        parameters={"config_ids": [1], "entity_type": None, "entity_ids": []},
        shard_count=shards,
        actor="dashboard",
        launcher=service.name,
        launcher_ref=service.reference(JOB, request_id),
    )


def work(runs: TrainingRuns, run: TrainingRun, shard: int, count: int = 9) -> TrainingRun:
    """What the pod of an index does."""
    return run_job(
        JOB, items(count), double, runs=runs, request_id=run.request_id, parameters=run.parameters,
        shard_index=shard, shard_count=run.shard_count, progress=LogProgress(), pace=PACE,
    )  # fmt: skip


def test_a_run_becomes_one_job_of_the_cronjobs_own_template(
    runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
) -> None:
    run = accepted(runs)
    for _ in range(3):
        launcher.reconcile()
    (job,) = api.jobs.values()
    template = api.cronjobs["train-anomaly-detectors"]["spec"]["jobTemplate"]
    assert job["metadata"]["name"] == run.launcher_ref == job_name(JOB, "r1")
    assert (
        job["metadata"]["ownerReferences"][0]["uid"]
        == api.cronjobs["train-anomaly-detectors"]["metadata"]["uid"]
    )
    assert job["metadata"]["labels"] == {**template["metadata"]["labels"], "adsml/run-id": run.run_id}
    assert (job["spec"]["completions"], job["spec"]["parallelism"], job["spec"]["maxFailedIndexes"]) == (
        3,
        3,
        3,
    )
    asked = job["spec"]["template"]["spec"]["containers"][0].pop("args")
    told = template["spec"]["template"]["spec"]["containers"][0]["args"]
    assert asked == [*told, "--request-id=r1", "--shard-count=3"]
    for field in (
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "podReplacementPolicy",
        "activeDeadlineSeconds",
    ):
        assert job["spec"][field] == template["spec"][field]
    assert api.count("POST", "/jobs") == 1


def test_a_second_launcher_is_told_that_the_job_is_there(
    runs: TrainingRuns, api: FakeCluster, cluster: Cluster
) -> None:
    run = accepted(runs)
    body = job_body(cluster.cronjob("train-anomaly-detectors"), run)
    assert cluster.create(body) is True
    assert cluster.create(body) is False
    assert len(api.jobs) == 1


def test_the_cronjobs_own_runs_are_not_started_again(
    runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
) -> None:
    runs.start(
        JOB, request_id="train-x-1", parameters={}, actor="schedule", launcher="kubernetes",
        launcher_ref="train-x-1",
    )  # fmt: skip
    launcher.reconcile()
    assert not api.jobs


def test_what_a_person_or_another_machine_started_is_left_alone(
    runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
) -> None:
    runs.start(JOB, request_id="by-hand", parameters={})
    launcher.reconcile()
    assert not api.jobs


def test_a_service_is_asked_twice_and_one_job_is_made(
    runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
) -> None:
    """StartTraining to the Job and back, with the launcher away at first."""
    servicer = TrainingService(runs, jobs=[JOB], launcher=ClusterLauncher(shards=4))
    request = pb.StartTrainingRequest(
        request_id="nightly", job=pb.TRAINING_JOB_ANOMALY_DETECTORS, scope=pb.TrainingScope(config_ids=[1])
    )
    call = CallContext(caller=Caller("dashboard", None))
    first = servicer.StartTraining(request, call)
    again = servicer.StartTraining(request, call)
    assert (first.already_started, again.already_started) == (False, True)
    assert first.run.run_id == again.run.run_id
    assert not api.jobs
    launcher.reconcile()
    launcher.reconcile()
    servicer.StartTraining(request, call)
    (job,) = api.jobs.values()
    assert job["metadata"]["name"] == first.run.launcher_ref
    assert job["spec"]["completions"] == first.run.shard_count == 4
    for shard in range(4):
        work(runs, runs.get(first.run.run_id), shard)
    told = servicer.GetTrainingRun(pb.GetTrainingRunRequest(run_id=first.run.run_id), call).run
    assert (told.state, told.counts.trained) == (pb.TRAINING_RUN_STATE_SUCCEEDED, 9)


def test_as_a_command(runs: TrainingRuns, api: FakeCluster, database_url: str, tmp_path: Path) -> None:
    """Reaches the API as kubectl would, and leaves on SIGTERM."""
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": api.configuration.host}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
    }  # fmt: skip
    (tmp_path / "config").write_text(json.dumps(config))
    run = accepted(runs)
    process = subprocess.Popen(
        [sys.executable, "-m", "adsml_common.cli", "launcher", "--every-seconds=0.1"],
        env={**os.environ, "ADSML_DATABASE_URL": database_url, "KUBECONFIG": str(tmp_path / "config")},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: api.jobs or process.poll() is not None, within=90.0)
        process.terminate()
        _, said = process.communicate(timeout=60.0)
    finally:
        process.kill()
    assert list(api.jobs) == [run.launcher_ref], said
    assert process.returncode == 0, said


class TestTheApi:
    def test_a_body_with_an_unknown_field_is_refused_and_ends_the_run_with_the_reason(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        api.cronjobs["train-anomaly-detectors"]["spec"]["jobTemplate"]["spec"]["paralellism"] = 3
        run = accepted(runs)
        launcher.reconcile()
        ended = runs.get(run.run_id)
        assert ended.status is RunStatus.CANCELLED
        assert 'unknown field "spec.paralellism"' in ended.detail
        assert not api.jobs

    def test_so_is_one_that_lacks_something(
        self, runs: TrainingRuns, api: FakeCluster, cluster: Cluster
    ) -> None:
        body = job_body(cluster.cronjob("train-anomaly-detectors"), accepted(runs))
        del body["spec"]["template"]["spec"]["restartPolicy"]
        with pytest.raises(FailedPrecondition, match="restartPolicy"):
            cluster.create(body)
        del body["spec"]["template"]
        with pytest.raises(FailedPrecondition, match="template"):
            cluster.create(body)

    def test_without_its_cronjob_a_run_ends_with_the_reason(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        api.cronjobs.clear()
        run = accepted(runs)
        launcher.reconcile()
        assert runs.get(run.run_id).detail == "the cluster has no CronJob train-anomaly-detectors"

    def test_without_the_container_that_could_be_told_too(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        spec = api.cronjobs["train-anomaly-detectors"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        spec["containers"][0]["name"] = "main"
        run = accepted(runs)
        launcher.reconcile()
        assert "no container named adsml" in runs.get(run.run_id).detail

    @pytest.mark.parametrize("code", [500, 503, 504, 429])
    def test_while_it_fails_a_run_waits(
        self, code: int, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        run = accepted(runs)
        api.fail(code, method="POST")
        with pytest.raises((Unavailable, Expired)):
            launcher.reconcile()
        assert runs.get(run.run_id).status is RunStatus.PENDING
        launcher.reconcile()
        assert len(api.jobs) == 1

    def test_away_it_is_unavailable(self, runs: TrainingRuns) -> None:
        with fake_cluster() as (_, configuration):
            pass
        with pytest.raises(Unavailable, match="does not answer"):
            Cluster(NAMESPACE, configuration=configuration).jobs()


class TestWatching:
    def test_changes_are_heard_of(self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher) -> None:
        run = accepted(runs)
        with running(launcher):
            eventually(lambda: api.jobs)
            api.set_status(run.launcher_ref, active=3)
            eventually(lambda: [one.phase for one in launcher.known] == [JobPhase.RUNNING])
            api.delete(run.launcher_ref)
            eventually(lambda: run.launcher_ref in api.jobs)  # made again: it has not begun
        assert api.count("GET", "/jobs?") == 2  # one list, one watch

    def test_too_old_a_version_is_listed_anew(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        run = accepted(runs)
        with running(launcher):
            eventually(lambda: run.launcher_ref in {one.name for one in launcher.known})
            api.forget()
            eventually(lambda: api.count("GET", "watch=True") >= 2)
            api.set_status(run.launcher_ref, active=1)
            eventually(lambda: [one.phase for one in launcher.known] == [JobPhase.RUNNING])

    def test_so_is_after_a_gateway_that_gave_up(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        run = accepted(runs)
        api.fail(504, times=2, path="watch=True")
        with running(launcher):
            eventually(lambda: api.count("GET", "watch=True") >= 3)
            eventually(lambda: api.jobs)
            api.set_status(run.launcher_ref, active=1)
            eventually(lambda: [one.phase for one in launcher.known] == [JobPhase.RUNNING])

    def test_jobs_of_others_are_not_ours(self, api: FakeCluster, cluster: Cluster) -> None:
        body: dict[str, Any] = {
            "metadata": {"name": "other"},
            "spec": {
                "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}
            },
        }
        api.create(body)
        assert cluster.jobs()[0] == {}


class TestEnds:
    def test_all_indexes_done(self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher) -> None:
        run = accepted(runs)
        with running(launcher):
            eventually(lambda: api.jobs)
            for shard in range(3):
                work(runs, run, shard)
            api.end(run.launcher_ref, succeeded=3)
            eventually(lambda: [one.phase for one in launcher.known] == [JobPhase.COMPLETE])
        ended = runs.get(run.run_id)
        assert (ended.status, ended.exit_status, ended.counts) == (RunStatus.SUCCEEDED, 0, Counts(trained=9))

    def test_some_indexes_failed(self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher) -> None:
        """Index 1 never began, index 2 was killed at work: the run is partial and says why."""
        run = accepted(runs)
        with running(launcher):
            eventually(lambda: api.jobs)
            work(runs, run, 0)
            lease = runs.acquire(run, shard_index=2, holder="pod", seconds=0.05)
            runs.plan(lease, items(1))
            api.pods.append(
                {
                    "metadata": {
                        "labels": {"batch.kubernetes.io/job-name": run.launcher_ref},
                        "annotations": {"batch.kubernetes.io/job-completion-index": "2"},
                    },
                    "status": {
                        "containerStatuses": [
                            {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
                        ]
                    },
                }
            )
            api.end(run.launcher_ref, failed="1-2", succeeded=1)
            eventually(lambda: runs.get(run.run_id).status.ended)
        ended = runs.get(run.run_id)
        assert (ended.status, ended.exit_status) == (RunStatus.PARTIAL, 1)
        assert (
            ended.detail == "shard 1: its pods failed; shard 2: its pods failed (OOMKilled, exit status 137)"
        )

    def test_past_its_deadline_with_nothing_done(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        run = accepted(runs, shards=1)
        with running(launcher):
            eventually(lambda: api.jobs)
            api.end(run.launcher_ref, failed="0", reason="DeadlineExceeded")
            eventually(lambda: runs.get(run.run_id).status.ended)
        assert runs.get(run.run_id).status is RunStatus.FAILED

    def test_deleted_by_someone(self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher) -> None:
        run = accepted(runs, shards=1)
        with running(launcher):
            eventually(lambda: api.jobs)
            runs.acquire(run, shard_index=0, holder="pod", seconds=0.05)
            api.delete(run.launcher_ref)
            eventually(lambda: runs.get(run.run_id).status.ended)
        ended = runs.get(run.run_id)
        assert (ended.status, ended.detail) == (
            RunStatus.FAILED,
            f"shard 0: its Job {run.launcher_ref} is gone",
        )

    def test_cancelled_its_job_is_deleted_and_what_was_done_is_kept(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        run = accepted(runs)
        with running(launcher):
            eventually(lambda: api.jobs)
            done = work(runs, run, 0).counts.trained
            runs.acquire(run, shard_index=1, holder="pod", seconds=0.05)
            runs.cancel(run.run_id, reason="wrong account")
            eventually(lambda: not api.jobs)
            eventually(lambda: runs.get(run.run_id).status is RunStatus.CANCELLED)
        ended = runs.get(run.run_id)
        assert (ended.detail, ended.counts) == ("wrong account", Counts(trained=done))
        assert done > 0

    def test_one_that_is_still_at_work_is_not_given_up(self, runs: TrainingRuns) -> None:
        run = accepted(runs, shards=1)
        runs.acquire(run, shard_index=0, holder="pod", seconds=60)
        assert runs.abandon(run.run_id, detail="its Job is gone").status is RunStatus.RUNNING


def test_states() -> None:
    def state(**status: Any) -> JobState:
        return JobState.of({"metadata": {"name": "j"}, "status": status})

    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}
    assert state().phase is JobPhase.PENDING
    assert state(active=1).phase is JobPhase.RUNNING
    assert state(conditions=[{"type": "Suspended", "status": "True"}]).phase is JobPhase.PENDING
    # On its way to an end its pods may still run.
    assert state(active=1, conditions=[{"type": "FailureTarget", "status": "True"}]).phase is JobPhase.RUNNING
    assert state(conditions=[failed]).phase is JobPhase.FAILED
    assert state(conditions=[failed]).reason == "DeadlineExceeded: too long"
    assert state(conditions=[failed], succeeded=2, failedIndexes="1,3-5").phase is JobPhase.PARTIAL
    assert state(conditions=[failed], failedIndexes="1,3-5").failed_indexes == {1, 3, 4, 5}
    assert list(indexes("")) == []
