"""Jobs of a Kubernetes namespace, through the cluster's API. Needs the extra ``kubernetes``."""

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from adsml_common.domain.errors import AdsmlError, FailedPrecondition, Unavailable
from adsml_common.training.records import RUN_ID_VARIABLE, TrainingRun

SELECTOR: Final = "app.kubernetes.io/part-of=adsml,app.kubernetes.io/component=training"
CONTAINER: Final = "adsml"
RUN_LABEL: Final = "adsml/run-id"
REQUEST_ANNOTATION: Final = "adsml/request-id"
_TIMEOUT: Final = (5.0, 30.0)
_WORDS: Final = {400: "BadRequest", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 422: "Invalid"}
"""Of a status, whatever the answer's body says; others by that."""


class JobRejected(AdsmlError):
    """The API holds a Job to be invalid: asking again with the same does not help."""

    reason = "JOB_REJECTED"


class RequestRefused(AdsmlError):
    """The API answered, and refused for now: rights, quota, something that is not there (yet); `word` is its reason."""

    reason = "REQUEST_REFUSED"

    def __init__(self, message: str, *, word: str) -> None:
        self.word = word
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class JobState:
    """A Job as the API shows it."""

    name: str
    uid: str
    run_id: str = ""
    """The run that the launcher made it for; empty for a CronJob's own."""
    suspended: bool = False
    """Held back, by a queue such as Kueue's."""
    complete: bool = False
    failed: bool = False
    """Ended, and not all of its indexes are done."""
    reason: str = ""
    """The cluster's word on why it failed, such as ``DeadlineExceeded: Job was active longer than ...``."""
    failed_indexes: frozenset[int] = frozenset()
    """Those that are given up."""

    @property
    def ended(self) -> bool:
        """Whether none of its pods will run any more."""
        return self.complete or self.failed

    @classmethod
    def of(cls, job: Mapping[str, Any]) -> "JobState":
        """From the API's JSON."""
        metadata, status = job["metadata"], job.get("status") or {}
        conditions = {
            one["type"]: one for one in status.get("conditions") or () if one.get("status") == "True"
        }
        failure = conditions.get("Failed") or {}
        return cls(
            metadata["name"],
            metadata["uid"],
            run_id=(metadata.get("labels") or {}).get(RUN_LABEL, ""),
            suspended="Suspended" in conditions and not status.get("active"),
            complete="Complete" in conditions,
            failed="Failed" in conditions,
            reason=": ".join(filter(None, (failure.get("reason"), failure.get("message")))),
            failed_indexes=frozenset(index_numbers(status.get("failedIndexes") or "")),
        )


def index_numbers(text: str) -> Iterator[int]:
    """The numbers in the API's form of them, ``"1,3-5"``."""
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def job_body(cronjob: Mapping[str, Any], run: TrainingRun) -> dict[str, Any]:
    """The Job of a run: a CronJob's own template (the API's JSON, whole), with the run's id and its number of shards.

    What a caller wrote goes into an annotation alone. Arguments and environment of a container are no place for
    it: the kubelet replaces ``$(NAME)`` in them, by secrets too. `RequestRefused` where the template has no container
    of ours.
    """
    template = copy.deepcopy(cronjob["spec"]["jobTemplate"])
    spec = template["spec"]
    containers = spec["template"]["spec"]["containers"]
    container = next((one for one in containers if one["name"] == CONTAINER), None)
    if container is None:
        raise RequestRefused(
            f"CronJob {cronjob['metadata']['name']} has no container named {CONTAINER} to start a run with",
            word="NoContainer",
        )
    others = [one for one in container.get("env") or () if one["name"] != RUN_ID_VARIABLE]
    container["env"] = [*others, {"name": RUN_ID_VARIABLE, "value": run.run_id}]
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


class Cluster:
    """The Jobs and CronJobs of one namespace.

    Every method raises `RequestRefused` where the API answers with a refusal, and `Unavailable` where it fails
    or does not answer. Without a `configuration` (`kubernetes.client.Configuration`) the API is reached as a pod of
    the cluster is told, else as ``kubectl`` would.

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
        # The next pass is the next try: urllib3's own would only log beside it.
        configuration.retries = False
        self._error = kubernetes.client.ApiException
        client = kubernetes.client.ApiClient(configuration)
        self._batch = kubernetes.client.BatchV1Api(client)
        self._core = kubernetes.client.CoreV1Api(client)
        self.namespace = namespace

    def cronjob(self, name: str) -> dict[str, Any]:
        """The JSON of a CronJob."""
        return self._call(f"CronJob {name}", self._batch.read_namespaced_cron_job, name)

    def jobs(self) -> dict[str, JobState]:
        """Every training Job by name, as of now: what is not there, is not there."""
        found = self._list("Jobs", self._batch.list_namespaced_job, label_selector=SELECTOR)
        return {one["metadata"]["name"]: JobState.of(one) for one in found}

    def create(self, body: Mapping[str, Any]) -> str | None:
        """Make a Job; its uid, or None if one of its name is there already. `JobRejected` if it is invalid."""
        name = body["metadata"]["name"]
        try:
            # A field that the API does not know would be dropped without a word.
            made = self._call(
                f"Job {name}", self._batch.create_namespaced_job, body=dict(body), field_validation="Strict"
            )
        except RequestRefused as error:
            if error.word == "Conflict":
                return None
            if error.word in ("BadRequest", "Invalid"):
                raise JobRejected(error.message) from error
            raise
        uid: str = made["metadata"]["uid"]
        return uid

    def delete(self, name: str, *, uid: str) -> None:
        """Delete a Job and its pods; one that is gone, or has another uid, is left as it is."""
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            self._call(f"Job {name}", self._batch.delete_namespaced_job, name, body=options)
        except RequestRefused as error:
            if error.word not in ("Conflict", "NotFound"):
                raise

    def pods(self, job_name: str) -> list[dict[str, Any]]:
        """The JSON of a Job's pods."""
        selector = f"batch.kubernetes.io/job-name={job_name}"
        return self._list("Pods", self._core.list_namespaced_pod, label_selector=selector)

    def warnings(self, uid: str) -> list[dict[str, Any]]:
        """The JSON of the warnings that the cluster has on an object, of the last hour or so."""
        selector = f"involvedObject.uid={uid},type=Warning"
        return self._list("Events", self._core.list_namespaced_event, field_selector=selector)

    def _list(self, what: str, method: Any, **selector: str) -> list[dict[str, Any]]:
        return self._call(what, method, **selector).get("items") or []

    def _call(self, what: str, method: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        """The API's JSON; what the client raises, in our own words."""
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - comes with the client

        options |= {"namespace": self.namespace, "_preload_content": False, "_request_timeout": _TIMEOUT}
        try:
            body: dict[str, Any] = json.loads(method(*arguments, **options).data)
            return body
        except self._error as error:
            raise _translated(what, error) from error
        except (HTTPError, OSError, json.JSONDecodeError) as error:
            raise Unavailable(f"the cluster's API does not answer: {type(error).__name__}") from error


def _translated(what: str, error: Any) -> AdsmlError:
    message, word = error.reason or "", ""
    with suppress(TypeError, ValueError, KeyError):
        body = json.loads(error.body)
        message, word = body["message"], body.get("reason") or ""
    if error.status == 429 or error.status >= 500:
        return Unavailable(f"the cluster's API failed with {error.status}: {message}")
    word = _WORDS.get(error.status, word or f"Status{error.status}")
    said = f"has no {what}" if word == "NotFound" else f"refuses {what}: {message}"
    return RequestRefused(f"the cluster {said}", word=word)
