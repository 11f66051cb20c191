"""What the scheduler relies on: when training starts, how it is split, how it ends."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from adsml_common.serving.training_service import JOBS
from adsml_common.settings import Settings, variables
from adsml_common.training.cluster import CONTAINER, SELECTOR
from adsml_common.training.job import Pace
from adsml_common.training.launchers import CRONJOB
from support.manifests import (
    KUBECTL,
    KUBERNETES,
    READ_ELSEWHERE,
    SCHEDULES,
    environment,
    of_kind,
    overlays,
    pod_of,
)

jobs = pytest.mark.parametrize("job", SCHEDULES)


def cronjob(overlay: str, job: str) -> dict[str, Any]:
    return of_kind(overlay, "CronJob")[CRONJOB.format(job=job)]


@overlays
@jobs
def test_when(overlay: str, job: str) -> None:
    spec = cronjob(overlay, job)["spec"]
    assert (spec["schedule"], spec["timeZone"]) == (SCHEDULES[job], "Etc/UTC")
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["startingDeadlineSeconds"] > 0
    assert len(CRONJOB.format(job=job)) <= 52


@overlays
@jobs
def test_shards(overlay: str, job: str) -> None:
    """An index is a shard: the Job's number and the command's are one, and all pods are one run."""
    spec = cronjob(overlay, job)["spec"]["jobTemplate"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["completionMode"] == "Indexed"
    assert f"--shard-count={spec['completions']}" in container["args"]
    assert spec["parallelism"] <= spec["completions"] <= 256
    assert spec["maxFailedIndexes"] <= spec["completions"]
    (named,) = [one for one in container["env"] if one["name"] == "ADSML_TRAIN_JOB_NAME"]
    assert named["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['batch.kubernetes.io/job-name']"


@overlays
@jobs
def test_ends(overlay: str, job: str) -> None:
    spec = cronjob(overlay, job)["spec"]["jobTemplate"]["spec"]
    assert spec["backoffLimitPerIndex"] > 0
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["activeDeadlineSeconds"] > 0
    assert spec["ttlSecondsAfterFinished"] > 0
    ignore, fail = spec["podFailurePolicy"]["rules"]
    assert ignore == {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    assert fail["action"] == "FailIndex"
    assert 42 in fail["onExitCodes"]["values"]
    assert 1 not in fail["onExitCodes"]["values"]
    assert fail["onExitCodes"]["containerName"] == CONTAINER
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    # What is in work may be finished after SIGTERM.
    assert pod["terminationGracePeriodSeconds"] > Pace().grace


@overlays
@jobs
def test_the_launcher_finds_its_jobs(overlay: str, job: str) -> None:
    template = cronjob(overlay, job)["spec"]["jobTemplate"]
    wanted = dict(part.split("=") for part in SELECTOR.split(","))
    assert wanted.items() <= template["metadata"]["labels"].items()
    assert [one["name"] for one in template["spec"]["template"]["spec"]["containers"]] == [CONTAINER]


@overlays
@jobs
def test_its_settings_are_some(overlay: str, job: str) -> None:
    seen = environment(overlay, pod_of(cronjob(overlay, job)))
    assert set(seen) <= set(variables(Settings).values()) | READ_ELSEWHERE
    assert seen["ADSML_ARTIFACT_URL"]


def test_every_job_of_the_contract_has_its_cronjob() -> None:
    assert set(JOBS.values()) == set(SCHEDULES)
    assert set(of_kind("overlays/production", "CronJob")) == {CRONJOB.format(job=job) for job in SCHEDULES}


def test_a_queue_can_be_put_before_training(tmp_path: Path) -> None:
    shutil.copytree(KUBERNETES, tmp_path / "k8s")
    (tmp_path / "k8s" / "queued").mkdir()
    (tmp_path / "k8s" / "queued" / "kustomization.yaml").write_text(
        "resources: [../overlays/production]\ncomponents: [../components/kueue]\nnamespace: adsml\n"
    )
    done = subprocess.run(
        [str(KUBECTL), "kustomize", str(tmp_path / "k8s" / "queued")],
        capture_output=True,
        text=True,
        check=True,
    )
    found = [one for one in yaml.safe_load_all(done.stdout) if one["kind"] == "CronJob"]
    assert len(found) == len(SCHEDULES)
    for one in found:
        template = one["spec"]["jobTemplate"]
        assert template["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "adsml-training"
        assert template["spec"]["suspend"] is True
