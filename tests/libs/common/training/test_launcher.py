"""The launcher against an API that answers as the real one does, with the CronJobs and the rights of deploy/k8s."""

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
from adsml.common.v1 import answer_pb2
from adsml.training.v1 import training_service_pb2 as pb
from adsml_common.database import Database
from adsml_common.domain.errors import Unavailable
from adsml_common.serving.context import CallContext, Caller
from adsml_common.serving.training_service import TrainingService
from adsml_common.store.metrics import MetricStore
from adsml_common.training.cluster import (
    Cluster,
    JobRejected,
    JobState,
    RequestRefused,
    index_numbers,
    job_body,
)
from adsml_common.training.job import run_job
from adsml_common.training.launcher import BLOCKED, JobLauncher
from adsml_common.training.launchers import ClusterLauncher, job_name
from adsml_common.training.progress import LogProgress
from adsml_common.training.records import Counts, LauncherKind, LaunchKind, RunStatus, TrainingRun
from adsml_common.training.runs import TrainingRuns
from support import train_process
from support.cluster import NAMESPACE, FakeCluster, fake_cluster
from support.daily import daily_frame
from support.jobs import PACE, InProcess, double, items
from support.manifests import of_kind
from support.serving import eventually

JOB = "anomaly-detectors"
TRAIN_PROCESS = Path(train_process.__file__)
OOM = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}


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
        cluster.allow_only(of_kind("overlays/production", "Role")["launcher"])
        cluster.configuration = configuration
        yield cluster


@pytest.fixture
def cluster(api: FakeCluster) -> Cluster:
    return Cluster(NAMESPACE, configuration=api.configuration)


@pytest.fixture
def launcher(runs: TrainingRuns, cluster: Cluster) -> JobLauncher:
    return JobLauncher(runs, cluster, every_seconds=0.05, pods_seconds=0.0)


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


def accepted(
    runs: TrainingRuns, request_id: str = "r1", shards: int = 3, *, actor: str = "dashboard"
) -> TrainingRun:
    """A run as StartTraining records it."""
    service = ClusterLauncher(shards=16)
    return runs.start(
        JOB,
        request_id=request_id,
        parameters={"config_ids": [1], "entity_type": None, "entity_ids": []},
        shard_count=shards,
        launch_kind=LaunchKind.CALLER,
        actor=actor,
        launcher=service.kind,
        launcher_ref=service.reference(JOB, request_id),
    )


def scheduled(runs: TrainingRuns, name: str = "train-anomaly-detectors-29") -> TrainingRun:
    """A run as the first pod of a CronJob's own Job records it."""
    return runs.start(
        JOB, request_id=f"job/{name}", parameters={}, launch_kind=LaunchKind.SCHEDULE,
        launcher=LauncherKind.KUBERNETES, launcher_ref=name,
    )  # fmt: skip


def by_cronjob(api: FakeCluster, name: str = "train-anomaly-detectors-29") -> dict[str, Any]:
    """A Job as the CronJob controller makes it, or `kubectl create job --from`."""
    template = api.cronjobs["train-anomaly-detectors"]["spec"]["jobTemplate"]
    body = {"metadata": {"name": name, "labels": template["metadata"]["labels"]}, "spec": template["spec"]}
    return api.create(body)


def work(runs: TrainingRuns, run: TrainingRun, shard: int, count: int = 9) -> TrainingRun:
    """What the pod of an index does."""
    return run_job(
        JOB, items(count), InProcess(double), runs=runs, request_id=run.request_id, parameters=run.parameters,
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
    spec = job["spec"]
    assert (spec["completions"], spec["parallelism"], spec["maxFailedIndexes"]) == (3, 3, 3)
    container = spec["template"]["spec"]["containers"][0]
    original = template["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == original["args"]
    assert container["env"] == [*original["env"], {"name": "ADSML_TRAIN_RUN_ID", "value": run.run_id}]
    for field in (
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "podReplacementPolicy",
        "activeDeadlineSeconds",
    ):
        assert spec[field] == template["spec"][field]
    assert api.count("POST", "/jobs") == 1
    assert runs.get(run.run_id).job_uid == job["metadata"]["uid"]


def test_what_a_caller_wrote_is_not_expanded_into_a_secret(
    runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
) -> None:
    """The contract allows no dollar; neither does the way to the pod, whoever recorded the run."""
    run = accepted(runs, "$(ADSML_DATABASE_URL)")
    launcher.reconcile()
    url = "postgresql://adsml:s3cret@db/adsml"
    args, environment = api.container(run.launcher_ref, {"adsml-database": url})
    assert environment.pop("ADSML_DATABASE_URL") == url
    assert not [one for one in (*args, *environment.values()) if "s3cret" in one or "$" in one]


def test_a_second_launcher_is_told_that_the_job_is_there(
    runs: TrainingRuns, api: FakeCluster, cluster: Cluster
) -> None:
    run = accepted(runs)
    body = job_body(cluster.cronjob("train-anomaly-detectors"), run)
    assert cluster.create(body) == api.jobs[run.launcher_ref]["metadata"]["uid"]
    assert cluster.create(body) is None
    assert len(api.jobs) == 1
    # One that died before it could note the Job's uid: the next one finds the Job by its label.
    JobLauncher(runs, cluster).reconcile()
    assert runs.get(run.run_id).job_uid == api.jobs[run.launcher_ref]["metadata"]["uid"]


@pytest.mark.parametrize("name", ["schedule", "cli", "launcher"])
def test_a_caller_of_any_name_gets_its_job(
    name: str, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
) -> None:
    run = accepted(runs, actor=name)
    launcher.reconcile()
    assert list(api.jobs) == [run.launcher_ref]


def test_what_others_started_is_left_alone(
    runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
) -> None:
    runs.start(JOB, request_id="by-hand", parameters={})
    launcher.reconcile()
    assert not api.requests  # nothing of its own is open: the cluster is not even asked
    by_cronjob(api)
    run = scheduled(runs)
    launcher.reconcile()
    assert len(api.jobs) == 1
    assert runs.get(run.run_id).status is RunStatus.PENDING


def test_from_a_call_to_the_pods_and_back(
    runs: TrainingRuns, database: Database, database_url: str, api: FakeCluster, launcher: JobLauncher
) -> None:
    """StartTraining twice, the launcher late, and pods as the kubelet starts them: one Job, one run, all of it done."""
    for config_id in (1, 2):
        MetricStore(database).upsert_daily(config_id, daily_frame(days=1), source="test")
    service = TrainingService(runs, family="anomaly", jobs=[JOB], launcher=ClusterLauncher(shards=2))
    request = pb.StartTrainingRequest(
        family=answer_pb2.FAMILY_ANOMALY, request_id="nightly", job=pb.TRAINING_JOB_ANOMALY_DETECTORS,
        scope=pb.TrainingScope(config_ids=[2]),
    )  # fmt: skip
    call = CallContext(caller=Caller("dashboard", None))
    first, again = service.StartTraining(request, call), service.StartTraining(request, call)
    assert (first.already_started, again.already_started) == (False, True)
    for _ in range(2):
        launcher.reconcile()
    (name,) = api.jobs
    assert name == first.run.launcher_ref
    arguments, environment = api.container(name, {"adsml-database": database_url})
    assert arguments[:2] == ["train", JOB]
    for index in range(api.jobs[name]["spec"]["completions"]):
        pod = {**os.environ, **environment, "JOB_COMPLETION_INDEX": str(index), "ADSML_CPUS": "1"}
        pod.pop("ADSML_TRAIN_METRICS_PORT", None)
        subprocess.run([sys.executable, str(TRAIN_PROCESS), JOB], env=pod, check=False, timeout=120)
    got = service.GetTrainingRun(
        pb.GetTrainingRunRequest(family=answer_pb2.FAMILY_ANOMALY, run_id=first.run.run_id), call
    )
    # Of account 2, which was asked for, one item is bad and one has too little history.
    assert (got.run.state, got.run.launch_kind) == (pb.TRAINING_RUN_STATE_PARTIAL, pb.LAUNCH_KIND_CALLER)
    assert (got.run.counts.total, got.run.counts.skipped, got.run.counts.failed) == (2, 1, 1)
    assert len(runs.list()) == 1


def test_as_a_command(runs: TrainingRuns, api: FakeCluster, database_url: str, tmp_path: Path) -> None:
    """Reaches the API as kubectl would, says what keeps it from that, and leaves on SIGTERM."""
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": api.configuration.host}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
    }  # fmt: skip
    (tmp_path / "config").write_text(json.dumps(config))
    run = accepted(runs)
    api.fail(503, times=2, path="/jobs")
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
    assert "urllib3" not in said
    assert said.count("can't be compared now: the cluster's API failed with 503") == 2


class TestRefusals:
    """What the API refuses is waited out; only an invalid Job is the end."""

    @pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 503, 504])
    @pytest.mark.parametrize("method", ["", "GET", "POST"])
    def test_no_run_is_lost_by_one(
        self, code: int, method: str, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        """A run that waits and one at work, through a window such as each restart of an API server has."""
        at_work = accepted(runs, "at-work", shards=1)
        launcher.reconcile()
        api.set_status(at_work.launcher_ref, active=1)
        runs.acquire(at_work, shard_index=0, holder="pod", seconds=60)
        waiting = accepted(runs)
        with api.answering(code, method):
            for _ in range(3):
                try:
                    launcher.reconcile()
                except (RequestRefused, Unavailable):
                    continue
            assert runs.get(at_work.run_id).status is RunStatus.RUNNING
            assert runs.get(waiting.run_id).status is RunStatus.PENDING
            if code < 429:
                assert (
                    "refuses" in runs.get(waiting.run_id).detail
                    or "has no" in runs.get(waiting.run_id).detail
                )
        launcher.reconcile()
        launcher.reconcile()
        assert set(api.jobs) == {at_work.launcher_ref, waiting.launcher_ref}
        assert [runs.get(one.run_id).detail for one in (at_work, waiting)] == ["", ""]

    def test_a_quota_that_is_used_up_is_said_and_waited_for(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        by_cronjob(api)
        api.job_quota = 1
        run = accepted(runs)
        launcher.reconcile()
        waiting = runs.get(run.run_id)
        assert waiting.status is RunStatus.PENDING
        assert "exceeded quota: jobs" in waiting.detail
        assert BLOCKED.labels(JOB, "Forbidden")._value.get() == 1
        api.job_quota = 2
        launcher.reconcile()
        launcher.reconcile()
        assert run.launcher_ref in api.jobs
        assert runs.get(run.run_id).detail == ""
        assert not next(iter(BLOCKED.collect())).samples

    def test_a_cronjob_that_is_applied_anew_is_waited_for(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        cronjob = api.cronjobs.pop("train-anomaly-detectors")
        run = accepted(runs)
        launcher.reconcile()
        assert runs.get(run.run_id).detail == "the cluster has no CronJob train-anomaly-detectors"
        api.cronjobs["train-anomaly-detectors"] = cronjob
        launcher.reconcile()
        assert run.launcher_ref in api.jobs

    def test_so_is_a_template_without_our_container(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        spec = api.cronjobs["train-anomaly-detectors"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        spec["containers"][0]["name"] = "main"
        run = accepted(runs)
        launcher.reconcile()
        assert "no container named adsml" in runs.get(run.run_id).detail
        assert runs.get(run.run_id).status is RunStatus.PENDING

    def test_after_the_setting_a_run_that_could_not_start_has_failed(
        self, runs: TrainingRuns, api: FakeCluster, cluster: Cluster
    ) -> None:
        api.job_quota = 0
        run = accepted(runs)
        JobLauncher(runs, cluster, start_seconds=0.0).reconcile()
        ended = runs.get(run.run_id)
        assert ended.status is RunStatus.FAILED
        assert ended.detail.startswith("could not start for 0 s: ")
        assert "exceeded quota" in ended.detail

    def test_an_invalid_job_ends_the_run_with_the_reason(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        api.cronjobs["train-anomaly-detectors"]["spec"]["jobTemplate"]["spec"]["paralellism"] = 3
        run, other = accepted(runs), accepted(runs, "r2")
        launcher.reconcile()
        ended = runs.get(run.run_id)
        assert ended.status is RunStatus.FAILED
        assert 'unknown field "spec.paralellism"' in ended.detail
        assert "shard" not in ended.detail
        assert runs.get(other.run_id).status is RunStatus.FAILED
        assert not api.jobs

    def test_so_does_one_that_lacks_something(
        self, runs: TrainingRuns, api: FakeCluster, cluster: Cluster
    ) -> None:
        body = job_body(cluster.cronjob("train-anomaly-detectors"), accepted(runs))
        del body["spec"]["template"]["spec"]["restartPolicy"]
        with pytest.raises(JobRejected, match="restartPolicy"):
            cluster.create(body)
        del body["spec"]["template"]
        with pytest.raises(JobRejected, match="template"):
            cluster.create(body)

    def test_away_it_is_unavailable(self, runs: TrainingRuns) -> None:
        with fake_cluster() as (_, configuration):
            pass
        with pytest.raises(Unavailable, match="does not answer"):
            Cluster(NAMESPACE, configuration=configuration).jobs()

    def test_after_a_restore_of_etcd_it_sees_what_there_is(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        """Whose versions go back: a watch from before would hear nothing of what happens now."""
        before = api.snapshot()
        run = accepted(runs)
        with running(launcher):
            eventually(lambda: api.jobs)
            api.restore(before)
            eventually(lambda: run.launcher_ref in api.jobs)
            for shard in range(3):
                work(runs, run, shard)
            runs.cancel(accepted(runs, "r2").run_id)
        assert runs.get(run.run_id).status is RunStatus.SUCCEEDED


class TestOwnership:
    """It deletes what it made, by label and uid, and nothing else."""

    def test_a_job_made_by_hand_whose_run_was_refused_keeps_its_logs(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        """`kubectl create job --from=cronjob/...` while another run is at work: refused, and cancelled."""
        by_cronjob(api, "by-hand")
        run = scheduled(runs, "by-hand")
        launcher.reconcile()
        runs.cancel(run.run_id, reason="another run of it is at work")
        for _ in range(2):
            launcher.reconcile()
        assert list(api.jobs) == ["by-hand"]
        assert api.count("DELETE", "") == 0

    def test_a_job_of_its_name_that_it_did_not_make_is_neither_followed_nor_deleted(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        run = accepted(runs)
        by_cronjob(api, run.launcher_ref)
        api.end(run.launcher_ref, failed="0")
        launcher.reconcile()
        waiting = runs.get(run.run_id)
        assert (waiting.status, "not made for this run" in waiting.detail) == (RunStatus.PENDING, True)
        runs.cancel(run.run_id)
        launcher.reconcile()
        assert list(api.jobs) == [run.launcher_ref]

    def test_one_that_was_made_anew_by_somebody_is_not_deleted(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher, cluster: Cluster
    ) -> None:
        run = accepted(runs)
        launcher.reconcile()
        body = {key: api.jobs[run.launcher_ref][key] for key in ("metadata", "spec")}
        api.delete(run.launcher_ref)
        again = api.create({**body, "metadata": {**body["metadata"], "uid": None, "namespace": None}})
        runs.cancel(run.run_id)
        launcher.reconcile()
        assert list(api.jobs) == [run.launcher_ref]
        # Nor in the moment between a look and the deletion.
        cluster.delete(run.launcher_ref, uid="of the one before")
        assert api.jobs[run.launcher_ref]["metadata"]["uid"] == again["metadata"]["uid"]

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

    def test_the_deletion_of_a_cancelled_one_is_tried_until_it_is_allowed(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        run = accepted(runs)
        launcher.reconcile()
        runs.cancel(run.run_id)
        with api.answering(403, "DELETE"):
            launcher.reconcile()
        assert api.jobs
        launcher.reconcile()
        assert not api.jobs
        launcher.reconcile()
        assert not runs.launched()


class TestPodsThatDoNotStart:
    """Why stands in the run within a pass."""

    @pytest.fixture
    def run(self, runs: TrainingRuns, launcher: JobLauncher) -> TrainingRun:
        run = accepted(runs)
        launcher.reconcile()
        return run

    @pytest.mark.parametrize(
        ("status", "detail"),
        [
            (
                {"containerStatuses": [{"state": {"waiting": {
                    "reason": "ImagePullBackOff", "message": 'Back-off pulling image "r/anomaly@sha256:0"'}}}]},
                'ImagePullBackOff: Back-off pulling image "r/anomaly@sha256:0"',
            ),
            (
                {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                                 "message": "0/3 nodes are available: 3 Insufficient memory."}]},
                "Unschedulable: 0/3 nodes are available: 3 Insufficient memory.",
            ),
            (
                {"initContainerStatuses": [{"state": {"waiting": {
                    "reason": "CreateContainerConfigError", "message": 'secret "adsml-database" not found'}}}]},
                'CreateContainerConfigError: secret "adsml-database" not found',
            ),
        ],
    )  # fmt: skip
    def test_by_their_own_word(
        self, status: dict[str, Any], detail: str, run: TrainingRun, runs: TrainingRuns, api: FakeCluster,
        launcher: JobLauncher,
    ) -> None:  # fmt: skip
        api.set_status(run.launcher_ref, active=3)
        pod = api.add_pod(run.launcher_ref, 0, **status)
        launcher.reconcile()
        assert runs.get(run.run_id).detail == detail
        assert BLOCKED.labels(JOB, detail.split(":", maxsplit=1)[0])._value.get() == 1
        pod["status"] = {"phase": "Running"}
        launcher.reconcile()
        assert runs.get(run.run_id).detail == ""

    def test_by_the_events_of_a_job_that_can_make_none(
        self, run: TrainingRun, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        message = 'Error creating: pods "p" is forbidden: exceeded quota: compute, requested: requests.cpu=2'
        api.warn(api.jobs[run.launcher_ref]["metadata"]["uid"], "FailedCreate", message)
        launcher.reconcile()
        assert runs.get(run.run_id).detail == f"FailedCreate: {message}"

    def test_by_the_events_of_a_pod_that_waits_without_a_reason(
        self, run: TrainingRun, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        waiting = {"state": {"waiting": {"reason": "ContainerCreating"}}}
        pod = api.add_pod(run.launcher_ref, 0, containerStatuses=[waiting])
        launcher.reconcile()
        assert runs.get(run.run_id).detail == ""
        api.warn(pod["metadata"]["uid"], "FailedMount", 'secret "adsml-s3" not found')
        launcher.reconcile()
        assert runs.get(run.run_id).detail == 'FailedMount: secret "adsml-s3" not found'

    def test_pods_that_were_killed_and_are_tried_again(
        self, run: TrainingRun, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        api.set_status(run.launcher_ref, active=1)
        api.add_pod(run.launcher_ref, 2, phase="Failed", containerStatuses=[{"state": OOM}])
        launcher.reconcile()
        assert runs.get(run.run_id).detail == "shard 2: OOMKilled, exit status 137: out of memory"

    def test_after_the_setting_the_run_has_failed_and_its_job_is_gone(
        self, run: TrainingRun, runs: TrainingRuns, api: FakeCluster, cluster: Cluster
    ) -> None:
        waiting = {"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}
        api.add_pod(run.launcher_ref, 0, containerStatuses=[waiting])
        JobLauncher(runs, cluster, start_seconds=0.0).reconcile()
        ended = runs.get(run.run_id)
        assert ended.status is RunStatus.FAILED
        assert ended.detail == "could not start for 0 s: ErrImagePull: not found"
        assert not api.jobs

    def test_a_queue_may_hold_it_for_as_long_as_it_likes(
        self, run: TrainingRun, runs: TrainingRuns, api: FakeCluster, cluster: Cluster
    ) -> None:
        api.set_status(run.launcher_ref, conditions=[{"type": "Suspended", "status": "True"}])
        JobLauncher(runs, cluster, start_seconds=0.0).reconcile()
        waiting = runs.get(run.run_id)
        assert (waiting.status, "suspended" in waiting.detail) == (RunStatus.PENDING, True)

    def test_a_run_at_work_is_not_given_up_for_shards_that_find_no_room(
        self, run: TrainingRun, runs: TrainingRuns, api: FakeCluster, cluster: Cluster
    ) -> None:
        work(runs, run, 0)
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "full"}
        api.set_status(run.launcher_ref, active=1)
        api.add_pod(run.launcher_ref, 1, conditions=[condition])
        JobLauncher(runs, cluster, start_seconds=0.0).reconcile()
        going = runs.get(run.run_id)
        assert (going.status, going.detail) == (RunStatus.RUNNING, "Unschedulable: full")


class TestEnds:
    def test_all_indexes_done(self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher) -> None:
        run = accepted(runs)
        launcher.reconcile()
        for shard in range(3):
            work(runs, run, shard)
        api.end(run.launcher_ref, succeeded=3)
        launcher.reconcile()
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
            api.add_pod(run.launcher_ref, 2, phase="Failed", containerStatuses=[{"state": OOM}])
            api.end(run.launcher_ref, failed="1-2", succeeded=1)
            eventually(lambda: runs.get(run.run_id).status.ended)
        ended = runs.get(run.run_id)
        assert (ended.status, ended.exit_status) == (RunStatus.PARTIAL, 1)
        assert ended.detail == (
            "shard 1: its pods failed; shard 2: its pods failed (OOMKilled, exit status 137: out of memory)"
        )

    def test_past_its_deadline_with_nothing_done(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        run = accepted(runs, shards=2)
        launcher.reconcile()
        api.end(run.launcher_ref, reason="DeadlineExceeded")
        launcher.reconcile()
        ended = runs.get(run.run_id)
        word = "its Job ended: DeadlineExceeded: Job was active longer than specified deadline"
        assert (ended.status, ended.detail) == (RunStatus.FAILED, word)

    def test_past_its_deadline_at_work(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        """Its process was asked to stop and noted that; why it was asked only the Job knows."""
        run = accepted(runs, shards=1)
        launcher.reconcile()
        stop = threading.Event()
        stop.set()
        left = run_job(
            JOB, items(3), InProcess(double), runs=runs, request_id=run.request_id, parameters=run.parameters,
            stop=stop, progress=LogProgress(), pace=PACE,
        )  # fmt: skip
        assert left.status is RunStatus.FAILED
        api.set_status(run.launcher_ref, active=1)
        launcher.reconcile()
        assert "DeadlineExceeded" not in runs.get(run.run_id).detail
        api.end(run.launcher_ref, reason="DeadlineExceeded")
        launcher.reconcile()
        detail = runs.get(run.run_id).detail
        assert "3 of 3 items left" in detail
        assert "its Job ended: DeadlineExceeded" in detail
        assert not runs.launched()

    def test_the_exit_status_and_last_line_of_a_pod_are_told(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        run = accepted(runs, shards=1)
        launcher.reconcile()
        line = json.dumps({"level": "ERROR", "message": "ADSML_ARTIFACT_URL is empty"})
        state = {"terminated": {"exitCode": 2, "reason": "Error", "message": f"starting\n{line}\n"}}
        api.add_pod(run.launcher_ref, 0, phase="Failed", containerStatuses=[{"state": state}])
        api.end(run.launcher_ref, failed="0")
        launcher.reconcile()
        assert runs.get(run.run_id).detail == (
            "its pods failed (Error, exit status 2: a wrong setting or option (ADSML_ARTIFACT_URL is empty))"
        )

    @pytest.mark.parametrize("begin", [accepted, scheduled])
    def test_deleted_by_someone(
        self, begin: Any, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        if begin is scheduled:
            by_cronjob(api)
        run = begin(runs)
        launcher.reconcile()
        runs.acquire(run, shard_index=0, holder="pod", seconds=0.0)
        api.delete(run.launcher_ref)
        launcher.reconcile()
        ended = runs.get(run.run_id)
        assert (ended.status, ended.detail) == (RunStatus.FAILED, f"its Job {run.launcher_ref} is gone")

    def test_deleted_before_anybody_began_it_is_made_again(
        self, runs: TrainingRuns, api: FakeCluster, launcher: JobLauncher
    ) -> None:
        run = accepted(runs)
        launcher.reconcile()
        api.delete(run.launcher_ref)
        launcher.reconcile()
        assert runs.get(run.run_id).job_uid == api.jobs[run.launcher_ref]["metadata"]["uid"]

    def test_one_that_is_still_at_work_is_not_given_up(self, runs: TrainingRuns) -> None:
        run = accepted(runs, shards=1)
        runs.acquire(run, shard_index=0, holder="pod", seconds=60)
        assert runs.abandon(run.run_id, detail="its Job is gone").status is RunStatus.RUNNING


def test_states() -> None:
    def state(**status: Any) -> JobState:
        return JobState.of({"metadata": {"name": "j", "uid": "u"}, "status": status})

    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}
    for going in (
        state(),
        state(active=1),
        # On its way to an end its pods may still run.
        state(active=1, conditions=[{"type": "FailureTarget", "status": "True"}]),
        state(active=1, conditions=[failed | {"status": "False"}]),
    ):
        assert not going.ended
        assert not going.suspended
    held_back = state(conditions=[{"type": "Suspended", "status": "True"}])
    assert held_back.suspended
    assert not held_back.ended
    complete = state(conditions=[{"type": "Complete", "status": "True"}])
    assert complete.ended
    assert complete.complete
    assert state(conditions=[failed]).ended
    assert state(conditions=[failed]).reason == "DeadlineExceeded: too long"
    partly = state(conditions=[failed], succeeded=2, failedIndexes="1,3-5")
    assert partly.ended
    assert not partly.complete
    assert partly.failed_indexes == {1, 3, 4, 5}
    assert list(index_numbers("")) == []
