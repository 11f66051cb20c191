"""Jobs of a Kubernetes namespace, through the cluster's API. Needs the extra ``kubernetes``."""

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from adsml_common.domain.errors import AdsmlError, FailedPrecondition, NotFound, Unavailable
from adsml_common.training.records import TrainingRun

SELECTOR: Final = "app.kubernetes.io/part-of=adsml,app.kubernetes.io/component=training"
CONTAINER: Final = "adsml"
RUN_LABEL: Final = "adsml/run-id"
REQUEST_ANNOTATION: Final = "adsml/request-id"
_TIMEOUT: Final = (5.0, 30.0)
_GONE: Final = 410
_GATEWAY_TIMEOUT: Final = 504


class JobPhase(StrEnum):
    """How far a Job is."""

    PENDING = "WAITING"
    """Suspended, or none of its pods was made yet."""
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    PARTIAL = "PARTIAL"
    """Ended; some indexes failed and the others are done."""
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        """Whether none of its pods will run any more."""
        return self in (JobPhase.COMPLETE, JobPhase.PARTIAL, JobPhase.FAILED)


@dataclass(frozen=True, slots=True)
class JobState:
    """A Job as the API tells it.

    Attributes
    ----------
    name
        In its namespace.
    phase
        How far it is.
    reason
        The cluster's word on why it failed, such as ``DeadlineExceeded: Job was active longer than ...``.
    failed_indexes
        Of an Indexed Job: those that are given up.
    """

    name: str
    phase: JobPhase
    reason: str = ""
    failed_indexes: frozenset[int] = frozenset()

    @classmethod
    def of(cls, job: Mapping[str, Any]) -> "JobState":
        """From the API's JSON."""
        status = job.get("status") or {}
        held = {one["type"]: one for one in status.get("conditions") or () if one.get("status") == "True"}
        failed = frozenset(indexes(status.get("failedIndexes") or ""))
        reason = ""
        if "Failed" in held:
            phase = JobPhase.PARTIAL if status.get("succeeded") else JobPhase.FAILED
            told = (held["Failed"].get("reason"), held["Failed"].get("message"))
            reason = ": ".join(word for word in told if word)
        elif "Complete" in held:
            phase = JobPhase.COMPLETE
        else:
            phase = JobPhase.RUNNING if status.get("active") else JobPhase.PENDING
        return cls(job["metadata"]["name"], phase, reason, failed)


def indexes(text: str) -> Iterator[int]:
    """The numbers in the API's form of them, ``"1,3-5"``."""
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def job_body(cronjob: Mapping[str, Any], run: TrainingRun) -> dict[str, Any]:
    """The Job of a run: a CronJob's own template, with the request and the shards that were asked for.

    Parameters
    ----------
    cronjob
        The API's JSON, whole: what this version does not know of it is passed on all the same.
    run
        Whose work it is; its `TrainingRun.launcher_ref` is the Job's name.

    Raises
    ------
    FailedPrecondition
        The template has no container that could be told.
    """
    template = copy.deepcopy(cronjob["spec"]["jobTemplate"])
    spec = template["spec"]
    containers = spec["template"]["spec"]["containers"]
    container = next((one for one in containers if one["name"] == CONTAINER), None)
    if container is None:
        raise FailedPrecondition(
            f"CronJob {cronjob['metadata']['name']} has no container named {CONTAINER} to start a run with"
        )
    # The last of an option counts.
    container["args"] = [
        *container.get("args", ()),
        f"--request-id={run.request_id}",
        f"--shard-count={run.shard_count}",
    ]
    spec["completionMode"] = "Indexed"
    spec["completions"] = run.shard_count
    spec["parallelism"] = min(spec.get("parallelism", run.shard_count), run.shard_count)
    if "maxFailedIndexes" in spec:
        spec["maxFailedIndexes"] = min(spec["maxFailedIndexes"], run.shard_count)
    metadata = template.get("metadata") or {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": run.launcher_ref,
            "labels": {**(metadata.get("labels") or {}), RUN_LABEL: run.run_id},
            "annotations": {**(metadata.get("annotations") or {}), REQUEST_ANNOTATION: run.request_id},
            # As `kubectl create job --from=cronjob/...` does: goes with its CronJob, and is not counted by it.
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "CronJob",
                    "name": cronjob["metadata"]["name"],
                    "uid": cronjob["metadata"]["uid"],
                }
            ],
        },
        "spec": spec,
    }


class Expired(AdsmlError):
    """What was watched has to be listed anew."""

    reason = "EXPIRED"


class Cluster:
    """The Jobs and CronJobs of one namespace.

    Parameters
    ----------
    namespace
        Where they are.
    configuration
        How to reach the API (`kubernetes.client.Configuration`); None: as a pod of the cluster is told, else
        as ``kubectl`` would.

    Raises
    ------
    FailedPrecondition
        The client is not installed, or knows of no cluster.
    """

    def __init__(self, namespace: str, *, configuration: Any = None) -> None:
        try:
            import kubernetes  # noqa: PLC0415 - an extra, and slow to load
        except ImportError:
            raise FailedPrecondition(
                "the client of the cluster's API is not installed: install adsml-common[kubernetes]"
            ) from None
        if configuration is None:
            configuration = kubernetes.client.Configuration()
            try:
                kubernetes.config.load_incluster_config(client_configuration=configuration)
            except kubernetes.config.ConfigException:
                try:
                    kubernetes.config.load_kube_config(client_configuration=configuration)
                except kubernetes.config.ConfigException as error:
                    raise FailedPrecondition(f"no cluster is known here: {error}") from None
        self._error = kubernetes.client.ApiException
        client = kubernetes.client.ApiClient(configuration)
        self._batch = kubernetes.client.BatchV1Api(client)
        self._core = kubernetes.client.CoreV1Api(client)
        self.namespace = namespace

    def cronjob(self, name: str) -> dict[str, Any]:
        """The JSON of a CronJob.

        Raises
        ------
        NotFound, FailedPrecondition, Unavailable
            There is none; it may not be looked at; the API does not answer.
        """
        with self._errors(f"CronJob {name}"):
            answer = self._batch.read_namespaced_cron_job(
                name, self.namespace, _preload_content=False, _request_timeout=_TIMEOUT
            )
            found: dict[str, Any] = _json(answer)
            return found

    def create(self, body: Mapping[str, Any]) -> bool:
        """Make a Job; False if one of its name is there already.

        Raises
        ------
        FailedPrecondition, Unavailable
            The API refuses it; the API does not answer.
        """
        try:
            with self._errors(f"Job {body['metadata']['name']}"):
                # A field that the API does not know would be dropped without a word.
                self._batch.create_namespaced_job(
                    self.namespace,
                    dict(body),
                    field_validation="Strict",
                    _preload_content=False,
                    _request_timeout=_TIMEOUT,
                )
        except _Exists:
            return False
        return True

    def job(self, name: str) -> JobState | None:
        """A Job as it is now; None if there is none."""
        try:
            with self._errors(f"Job {name}"):
                answer = self._batch.read_namespaced_job(
                    name, self.namespace, _preload_content=False, _request_timeout=_TIMEOUT
                )
                return JobState.of(_json(answer))
        except NotFound:
            return None

    def delete(self, name: str) -> None:
        """Delete a Job and its pods; one that is gone is as good as deleted."""
        try:
            with self._errors(f"Job {name}"):
                self._batch.delete_namespaced_job(
                    name,
                    self.namespace,
                    propagation_policy="Background",
                    _preload_content=False,
                    _request_timeout=_TIMEOUT,
                )
        except NotFound:
            return

    def jobs(self) -> tuple[dict[str, JobState], str]:
        """Every training Job by name, and the version of the list, to watch from."""
        with self._errors("Jobs"):
            answer = self._batch.list_namespaced_job(
                self.namespace, label_selector=SELECTOR, _preload_content=False, _request_timeout=_TIMEOUT
            )
            found = _json(answer)
        states = (JobState.of(one) for one in found.get("items") or ())
        return {one.name: one for one in states}, found["metadata"]["resourceVersion"]

    def watch(self, version: str, *, seconds: int) -> Iterator[tuple[str, JobState | None, str]]:
        """Changes of training Jobs since a version: name, state (None: deleted), and version.

        Ends by itself after `seconds`.

        Raises
        ------
        Expired
            Too long ago, or the way to the API was cut on its side: list anew.
        Unavailable
            The API does not answer.
        """
        with self._errors("Jobs"):
            answer = self._batch.list_namespaced_job(
                self.namespace,
                label_selector=SELECTOR,
                watch=True,
                resource_version=version,
                allow_watch_bookmarks=True,
                timeout_seconds=seconds,
                _preload_content=False,
                _request_timeout=(_TIMEOUT[0], seconds + _TIMEOUT[1]),
            )
            try:
                for line in _lines(answer):
                    event = json.loads(line)
                    thing = event["object"]
                    if event["type"] == "ERROR":
                        code = thing.get("code")
                        if code in (_GONE, _GATEWAY_TIMEOUT):
                            raise Expired(str(thing.get("message")))
                        raise Unavailable(f"the cluster's API ended a watch: {thing.get('message')}")
                    metadata = thing["metadata"]
                    if event["type"] == "BOOKMARK":
                        yield "", None, metadata["resourceVersion"]
                        continue
                    gone = event["type"] == "DELETED"
                    yield metadata["name"], None if gone else JobState.of(thing), metadata["resourceVersion"]
            finally:
                answer.close()

    def pod_failure_reasons(self, name: str) -> dict[int, str]:
        """Why pods of a Job ended badly, by index; the last word of each."""
        with self._errors("Pods"):
            answer = self._core.list_namespaced_pod(
                self.namespace,
                label_selector=f"batch.kubernetes.io/job-name={name}",
                _preload_content=False,
                _request_timeout=_TIMEOUT,
            )
            pods = _json(answer).get("items") or ()
        told: dict[int, str] = {}
        for pod in sorted(pods, key=lambda one: str(one["metadata"].get("creationTimestamp"))):
            index = (pod["metadata"].get("annotations") or {}).get("batch.kubernetes.io/job-completion-index")
            for container in (pod.get("status") or {}).get("containerStatuses") or ():
                ended = (container.get("state") or {}).get("terminated")
                if index is not None and ended and ended.get("exitCode"):
                    told[int(index)] = f"{ended.get('reason') or 'Error'}, exit status {ended['exitCode']}"
        return told

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """What the client raises, in our own words."""
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - comes with the client

        try:
            yield
        except self._error as error:
            raise _told(what, error) from error
        except (HTTPError, OSError, json.JSONDecodeError) as error:
            raise Unavailable(f"the cluster's API does not answer: {type(error).__name__}") from error


class _Exists(AdsmlError):
    """Something of that name is there already."""


def _told(what: str, error: Any) -> AdsmlError:
    message = error.reason or ""
    with suppress(TypeError, ValueError, KeyError):
        message = json.loads(error.body)["message"]
    match error.status:
        case 404:
            return NotFound(f"the cluster has no {what}")
        case 409:
            return _Exists(message)
        case 410 | 504:
            return Expired(message)
        case 400 | 401 | 403 | 413 | 422:
            return FailedPrecondition(f"the cluster refuses {what}: {message}")
        case _:
            return Unavailable(f"the cluster's API failed with {error.status}: {message}")


def _json(answer: Any) -> Any:
    return json.loads(answer.data)


def _lines(answer: Any) -> Iterator[str]:
    rest = b""
    for piece in answer.stream(amt=None, decode_content=False):
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode() for line in whole if line.strip())
