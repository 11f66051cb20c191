"""A Kubernetes API of our own: the few calls that the launcher makes, answered as the real one does.

Bodies are checked against the models of the ``kubernetes`` client, which are generated from the API's own
description: an unknown field is 400 (as with ``fieldValidation=Strict``), a missing or senseless one 422.
"""

import copy
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes
from kubernetes.client import models

NAMESPACE = "adsml"
LABEL = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$|^$")
REASONS = {
    401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 429: "TooManyRequests", 504: "Timeout",
}  # fmt: skip
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message

    def body(self) -> dict[str, Any]:
        return {
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": self.code,
            "reason": self.reason, "message": self.message,
        }  # fmt: skip


class FakeCluster:
    """State of the API, and what a test does to it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.cronjobs: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        self.rights: set[tuple[str, str]] | None = None
        self.job_quota: int | None = None
        self.faults: list[tuple[Callable[[str, str], bool], int]] = []
        self.window: tuple[int, str] | None = None

    # -- what tests do --------------------------------------------------------------------------------------

    def add_cronjob(self, cronjob: Mapping[str, Any]) -> None:
        made = copy.deepcopy(dict(cronjob))
        check(made, models.V1CronJob, "")
        made["metadata"] |= {"uid": str(uuid.uuid4()), "namespace": NAMESPACE}
        self.cronjobs[made["metadata"]["name"]] = made

    def allow_only(self, role: Mapping[str, Any]) -> None:
        """Hold every request to the rights of a Role."""
        self.rights = {
            (resource, verb)
            for rule in role["rules"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    @contextmanager
    def answering(self, code: int, method: str = "") -> Iterator[None]:
        """For a while every request, or every one of a method, gets this code: as after a restart, when a quota
        is used up, or while somebody changes rights."""
        self.window = (code, method)
        try:
            yield
        finally:
            self.window = None

    def set_status(self, name: str, **status: Any) -> None:
        """What the Job controller would have found."""
        with self.lock:
            self.jobs[name]["status"] = status

    def end(self, name: str, *, failed: str = "", succeeded: int = 0, reason: str = "FailedIndexes") -> None:
        kind = "Failed" if failed or reason == "DeadlineExceeded" else "Complete"
        message = (
            "Job was active longer than specified deadline" if reason == "DeadlineExceeded" else "as told"
        )
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        self.set_status(name, conditions=[condition], failedIndexes=failed, succeeded=succeeded)

    def add_pod(self, job: str, index: int, *, phase: str = "Pending", **status: Any) -> dict[str, Any]:
        """A pod of a Job, as the kubelet and the scheduler report it."""
        pod = {
            "metadata": {
                "name": f"{job}-{index}", "uid": str(uuid.uuid4()),
                "labels": {"batch.kubernetes.io/job-name": job},
                "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
            },
            "status": {"phase": phase, **status},
        }  # fmt: skip
        self.pods.append(pod)
        return pod

    def warn(self, uid: str, reason: str, message: str) -> None:
        """An event on an object."""
        self.events.append(
            {"involvedObject": {"uid": uid}, "type": "Warning", "reason": reason, "message": message}
        )

    def fail(self, code: int, *, times: int = 1, method: str = "GET", path: str = "") -> None:
        """Answer the next requests of this kind with an error."""
        self.faults += [(lambda m, p: m == method and path in p, code)] * times

    def snapshot(self) -> dict[str, Any]:
        """As `etcdctl snapshot save`."""
        with self.lock:
            return copy.deepcopy({"jobs": self.jobs, "cronjobs": self.cronjobs})

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """As a restore of etcd: back to what was, without a word to anybody."""
        with self.lock:
            for name, value in copy.deepcopy(dict(snapshot)).items():
                setattr(self, name, value)

    def count(self, method: str, path: str) -> int:
        return sum(1 for one in self.requests if one[0] == method and path in one[1])

    def container(self, job: str, secrets: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
        """Arguments and environment of a Job's container as a kubelet starts it: ``$(NAME)`` is replaced."""
        spec = self.jobs[job]["spec"]["template"]["spec"]["containers"][0]
        environment: dict[str, str] = {}
        for one in spec.get("env", ()):
            source = one.get("valueFrom", {})
            if "secretKeyRef" in source:
                environment[one["name"]] = secrets[source["secretKeyRef"]["name"]]
            elif "fieldRef" in source:
                environment[one["name"]] = job if "job-name" in source["fieldRef"]["fieldPath"] else "adsml"
            else:
                environment[one["name"]] = expanded(one.get("value", ""), environment)
        return [expanded(one, environment) for one in spec.get("args", ())], environment

    # -- what the API does ----------------------------------------------------------------------------------

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        check(body, models.V1Job, "")
        sensible(body)
        with self.lock:
            name = body["metadata"]["name"]
            if name in self.jobs:
                raise Refused(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
            if self.job_quota is not None and len(self.jobs) >= self.job_quota:
                used = f"count/jobs.batch={len(self.jobs)}, limited: count/jobs.batch={self.job_quota}"
                raise Refused(
                    403, "Forbidden",
                    f'jobs.batch "{name}" is forbidden: exceeded quota: jobs, requested: count/jobs.batch=1, used: {used}',
                )  # fmt: skip
            made = copy.deepcopy(body)
            made["metadata"] |= {"uid": str(uuid.uuid4()), "namespace": NAMESPACE}
            made["status"] = {}
            self.jobs[name] = made
            return made

    def delete(self, name: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        with self.lock:
            job = self.jobs.get(name)
            if job is None:
                raise Refused(404, "NotFound", f'jobs.batch "{name}" not found')
            meant = ((options or {}).get("preconditions") or {}).get("uid")
            if meant not in (None, job["metadata"]["uid"]):
                raise Refused(409, "Conflict", f"the UID in the precondition ({meant}) does not match")
            del self.jobs[name]
            return {"kind": "Status", "status": "Success"}


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """As the kubelet does it: ``$(NAME)`` where there is such a variable, ``$$`` for a dollar."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        return "$" if name is None else environment.get(name, match[0])

    return re.sub(r"\$(?:\$|\(([^)]*)\))", value, text)


def selected(thing: Mapping[str, Any], selector: Mapping[str, str]) -> bool:
    labels = thing["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in selector.items())


def check(value: Any, model: Any, path: str) -> None:
    """Unknown fields, wrong types and missing ones, by the client's models."""
    if not isinstance(value, dict):
        raise Refused(400, "BadRequest", f"{path or '.'}: expected an object, got {type(value).__name__}")
    fields = {json_name: model.openapi_types[name] for name, json_name in model.attribute_map.items()}
    for key, one in value.items():
        where = f"{path}.{key}".lstrip(".")
        if key not in fields:
            raise Refused(400, "BadRequest", f'strict decoding error: unknown field "{where}"')
        _check_type(one, fields[key], where)
    given = {name: value.get(json_name) for name, json_name in model.attribute_map.items()}
    try:
        model(**given)
    except ValueError as error:
        raise Refused(422, "Invalid", f"{path}: {error}") from None


def _check_type(value: Any, kind: str, path: str) -> None:
    if value is None:
        return
    if kind.startswith("list["):
        if not isinstance(value, list):
            raise Refused(400, "BadRequest", f"{path}: expected a list")
        for i, one in enumerate(value):
            _check_type(one, kind[5:-1], f"{path}[{i}]")
    elif kind.startswith("dict("):
        inner = kind[5:-1].split(", ", 1)[1]
        for key, one in value.items():
            _check_type(one, inner, f"{path}.{key}")
    elif hasattr(models, kind):
        check(value, getattr(models, kind), path)
    elif {"str": str, "int": int, "bool": bool}.get(kind, object) is not object and not isinstance(
        value, {"str": str, "int": int, "bool": bool}[kind]
    ):
        raise Refused(400, "BadRequest", f"{path}: expected {kind}, got {value!r}")


def sensible(job: Mapping[str, Any]) -> None:
    """The rules between fields that the real API holds a Job to."""
    metadata, spec = job["metadata"], job["spec"]
    pod = spec["template"]["spec"]

    def unless(holds: bool, field: str, word: str) -> None:
        if not holds:
            raise Refused(422, "Invalid", f'Job.batch "{metadata.get("name")}" is invalid: {field}: {word}')

    unless(bool(NAME.fullmatch(metadata.get("name", ""))), "metadata.name", "must be a DNS label")
    for value in (metadata.get("labels") or {}).values():
        unless(len(value) <= 63 and bool(LABEL.match(value)), "metadata.labels", f"{value!r} is no label")
    unless(pod.get("restartPolicy") in ("Never", "OnFailure"), "restartPolicy", "Never or OnFailure")
    if "podFailurePolicy" in spec:
        unless(pod.get("restartPolicy") == "Never", "podFailurePolicy", "needs restartPolicy Never")
    if "backoffLimitPerIndex" in spec:
        unless(spec.get("completionMode") == "Indexed", "backoffLimitPerIndex", "needs Indexed")
    if "maxFailedIndexes" in spec:
        unless("backoffLimitPerIndex" in spec, "maxFailedIndexes", "needs backoffLimitPerIndex")
        unless(
            spec["maxFailedIndexes"] <= spec.get("completions", 0), "maxFailedIndexes", "above completions"
        )
    if spec.get("completionMode") == "Indexed":
        unless(spec.get("completions", 0) > 0, "completions", "is required when completion mode is Indexed")
    unless(bool(pod["containers"]), "containers", "required")
    for one in pod["containers"]:
        unless(bool(one.get("image")), "image", "required")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: FakeCluster

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named so by its base
        pass

    def _answer(self, method: str) -> None:
        cluster = self.cluster
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        cluster.requests.append((method, self.path))
        try:
            for i, (meant, code) in enumerate(cluster.faults):
                if meant(method, self.path):
                    del cluster.faults[i]
                    raise Refused(code, REASONS.get(code, "InternalError"), "as told")
            if cluster.window is not None and cluster.window[1] in ("", method):
                code = cluster.window[0]
                raise Refused(code, REASONS.get(code, "InternalError"), 'User "launcher" cannot do this now')
            self._route(method, urlsplit(self.path), raw)
        except Refused as refused:
            self._send(refused.code, refused.body())

    def _route(self, method: str, url: Any, raw: bytes) -> None:
        cluster = self.cluster
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        selector = dict(part.split("=", 1) for part in query.get("labelSelector", "").split(",") if part)
        words = url.path.strip("/").split("/")
        # apis/batch/v1/namespaces/NS/... or api/v1/namespaces/NS/...
        rest = words[5:] if words[0] == "apis" else words[4:]
        resource, name = rest[0], rest[1] if len(rest) > 1 else ""
        verb = {"POST": "create", "DELETE": "delete"}.get(method, "get" if name else "list")
        if query.get("watch"):
            verb = "watch"
        if cluster.rights is not None and (resource, verb) not in cluster.rights:
            raise Refused(
                403, "Forbidden", f'cannot {verb} resource "{resource}" in the namespace "{NAMESPACE}"'
            )
        match (verb, resource):
            case ("get", "cronjobs"):
                if name not in cluster.cronjobs:
                    raise Refused(404, "NotFound", f'cronjobs.batch "{name}" not found')
                self._send(200, cluster.cronjobs[name])
            case ("create", "jobs"):
                assert query.get("fieldValidation") == "Strict", "unknown fields would be dropped in silence"
                self._send(201, cluster.create(json.loads(raw)))
            case ("list", "jobs"):
                with cluster.lock:
                    items = [copy.deepcopy(one) for one in cluster.jobs.values() if selected(one, selector)]
                self._send(200, {"items": items, "metadata": {"resourceVersion": "1"}})
            case ("delete", "jobs"):
                self._send(200, cluster.delete(name, json.loads(raw) if raw else None))
            case ("list", "pods"):
                self._send(200, {"items": [one for one in cluster.pods if selected(one, selector)]})
            case ("list", "events"):
                fields = dict(part.split("=", 1) for part in query["fieldSelector"].split(","))
                items = [
                    one for one in cluster.events
                    if one["involvedObject"]["uid"] == fields["involvedObject.uid"] and one["type"] == fields["type"]
                ]  # fmt: skip
                self._send(200, {"items": items})
            case _:
                raise Refused(403, "Forbidden", f"{method} {url.path}: no such right")

    def _send(self, code: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news."""


@contextmanager
def fake_cluster() -> Iterator[tuple[FakeCluster, Any]]:
    """A running API on a free port, and the configuration to reach it."""
    cluster = FakeCluster()
    handler = type("Handler", (_Handler,), {"cluster": cluster})
    server = _Server(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    configuration = kubernetes.client.Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_port}"
    try:
        yield cluster, configuration
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
