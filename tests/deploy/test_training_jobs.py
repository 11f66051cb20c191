"""What the scheduler relies on: when training starts, how it is split, how it ends."""

import math
import re
from typing import Any

import pytest
from adsml_common.serving.training_service import JOBS
from adsml_common.settings import Settings, variables
from adsml_common.training.cluster import CONTAINER, SELECTOR
from adsml_common.training.job import Pace
from adsml_common.training.launchers import CRONJOB
from adsml_common.training.workers import default_count
from support.manifests import (
    READ_ELSEWHERE,
    SCHEDULES,
    environment,
    of_kind,
    overlays,
    pod_of,
    with_components,
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


def components_cronjobs(*names: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in with_components(*names) if one["kind"] == "CronJob"}


def test_a_queue_can_be_put_before_training() -> None:
    templates = {
        name: one["spec"]["jobTemplate"]
        for name, one in components_cronjobs("scan-anomalies", "sync", "kueue").items()
    }
    queued = {
        name
        for name, template in templates.items()
        if template["metadata"]["labels"].get("kueue.x-k8s.io/queue-name") == "adsml-training"
        and template["spec"].get("suspend") is True
    }
    assert queued == {"scan-anomalies", *(CRONJOB.format(job=job) for job in SCHEDULES)}


def test_the_other_cronjobs_come_before_and_after_training() -> None:
    cronjobs = components_cronjobs("sync", "scan-anomalies")
    schedules = {name: cronjobs[name]["spec"]["schedule"] for name in ("sync", "scan-anomalies")}
    assert schedules == {"sync": "0 1 * * *", "scan-anomalies": "30 5 * * *"}


def test_a_scan_is_a_run_that_the_launcher_sees_to_and_a_sync_is_none() -> None:
    cronjobs = components_cronjobs("sync", "scan-anomalies")
    selector = dict(part.split("=") for part in SELECTOR.split(","))
    labels = {name: one["spec"]["jobTemplate"]["metadata"]["labels"] for name, one in cronjobs.items()}
    assert selector.items() <= labels["scan-anomalies"].items()
    assert not selector.items() <= labels["sync"].items()
    spec = cronjobs["scan-anomalies"]["spec"]["jobTemplate"]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert f"--shard-count={spec['completions']}" in spec["template"]["spec"]["containers"][0]["args"]


@overlays
@jobs
def test_memory_is_enough_for_as_many_processes_as_processors(overlay: str, job: str) -> None:
    """As `adsml train` counts them, by what was measured."""
    (container,) = pod_of(cronjob(overlay, job))["containers"]
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", container["resources"]["limits"]["memory"]).groups()  # type: ignore[union-attr]
    memory = int(number) << {"Mi": 20, "Gi": 30}[unit]
    asked = container["resources"]["requests"]["cpu"]
    processors = math.ceil(int(asked.removesuffix("m")) / 1000) if asked.endswith("m") else int(asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("adsml_common.training.workers.memory_limit", lambda: memory)
        assert default_count(processors) == processors
