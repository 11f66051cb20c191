"""A Kubernetes API of our own: the few calls that the launcher makes, answered as the real one does.

Bodies are checked against the models of the ``kubernetes`` client, which are generated from the API's own
description: an unknown field is 400 (as with ``fieldValidation=Strict``), a missing or senseless one 422.
"""

import copy
import json
import re
import threading
import time
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
        self.changed = threading.Condition()
        self.cronjobs: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        self.version = 100
        self.events: list[tuple[int, str, dict[str, Any]]] = []
        self.oldest = 0
        self.faults: list[tuple[Callable[[str, str], bool], int]] = []
        self.cut = 0
        self.closed = False

    # -- what tests do --------------------------------------------------------------------------------------

    def add_cronjob(self, cronjob: Mapping[str, Any]) -> None:
        made = copy.deepcopy(dict(cronjob))
        check(made, models.V1CronJob, "")
        made["metadata"] |= {"uid": str(uuid.uuid4()), "namespace": NAMESPACE}
        self.cronjobs[made["metadata"]["name"]] = made

    def set_status(self, name: str, **status: Any) -> None:
        """What the Job controller would have found."""
        with self.changed:
            self.jobs[name]["status"] = status
            self._tell("MODIFIED", self.jobs[name])

    def end(self, name: str, *, failed: str = "", succeeded: int = 0, reason: str = "FailedIndexes") -> None:
        kind = "Failed" if failed else "Complete"
        condition = {"type": kind, "status": "True", "reason": reason, "message": "as told"}
        self.set_status(name, conditions=[condition], failedIndexes=failed, succeeded=succeeded)

    def fail(self, code: int, *, times: int = 1, method: str = "GET", path: str = "") -> None:
        """Answer the next requests of this kind with an error."""
        self.faults += [(lambda m, p: m == method and path in p, code)] * times

    def forget(self) -> None:
        """Compact the history: watches of before get 410, open ones too."""
        with self.changed:
            self.version += 1
            self.oldest = self.version
            self.cut += 1
            self.changed.notify_all()

    def count(self, method: str, path: str) -> int:
        return sum(1 for one in self.requests if one[0] == method and path in one[1])

    # -- what the API does ----------------------------------------------------------------------------------

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        check(body, models.V1Job, "")
        sensible(body)
        with self.changed:
            name = body["metadata"]["name"]
            if name in self.jobs:
                raise Refused(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
            made = copy.deepcopy(body)
            made["metadata"] |= {"uid": str(uuid.uuid4()), "namespace": NAMESPACE}
            made["status"] = {}
            self.jobs[name] = made
            self._tell("ADDED", made)
            return made

    def delete(self, name: str) -> dict[str, Any]:
        with self.changed:
            job = self.jobs.pop(name, None)
            if job is None:
                raise Refused(404, "NotFound", f'jobs.batch "{name}" not found')
            self._tell("DELETED", job)
            return {"kind": "Status", "status": "Success"}

    def watch(self, since: int, selector: Mapping[str, str], seconds: float) -> Iterator[dict[str, Any]]:
        until = time.monotonic() + seconds
        cut = self.cut
        while True:
            with self.changed:
                if since < self.oldest or self.cut != cut:
                    yield {"type": "ERROR", "object": Refused(410, "Expired", "too old").body()}
                    return
                news = [one for one in self.events if one[0] > since]
                if not news and not self.changed.wait(max(0.0, until - time.monotonic())):
                    return
                if self.closed:
                    return
            for version, kind, job in news:
                since = version
                if selected(job, selector):
                    yield {"type": kind, "object": job}

    def _tell(self, kind: str, job: dict[str, Any]) -> None:
        self.version += 1
        job["metadata"]["resourceVersion"] = str(self.version)
        self.events.append((self.version, kind, copy.deepcopy(job)))
        self.changed.notify_all()


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
                    raise Refused(code, "Timeout" if code == 504 else "InternalError", "as told")
            self._route(method, urlsplit(self.path), raw)
        except Refused as refused:
            self._send(refused.code, refused.body())

    def _route(self, method: str, url: Any, raw: bytes) -> None:
        cluster = self.cluster
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        selector = dict(part.split("=", 1) for part in query.get("labelSelector", "").split(",") if part)
        match (method, *url.path.strip("/").split("/")):
            case ("GET", "apis", "batch", "v1", "namespaces", _, "cronjobs", name):
                if name not in cluster.cronjobs:
                    raise Refused(404, "NotFound", f'cronjobs.batch "{name}" not found')
                self._send(200, cluster.cronjobs[name])
            case ("POST", "apis", "batch", "v1", "namespaces", _, "jobs"):
                assert query.get("fieldValidation") == "Strict", "unknown fields would be dropped in silence"
                self._send(201, cluster.create(json.loads(raw)))
            case ("GET", "apis", "batch", "v1", "namespaces", _, "jobs") if query.get("watch"):
                self._stream(
                    cluster.watch(int(query["resourceVersion"]), selector, float(query["timeoutSeconds"]))
                )
            case ("GET", "apis", "batch", "v1", "namespaces", _, "jobs"):
                with cluster.changed:
                    items = [copy.deepcopy(one) for one in cluster.jobs.values() if selected(one, selector)]
                    version = str(cluster.version)
                self._send(200, {"items": items, "metadata": {"resourceVersion": version}})
            case ("GET", "apis", "batch", "v1", "namespaces", _, "jobs", name):
                if name not in cluster.jobs:
                    raise Refused(404, "NotFound", f'jobs.batch "{name}" not found')
                self._send(200, cluster.jobs[name])
            case ("DELETE", "apis", "batch", "v1", "namespaces", _, "jobs", name):
                self._send(200, cluster.delete(name))
            case ("GET", "api", "v1", "namespaces", _, "pods"):
                self._send(200, {"items": [one for one in cluster.pods if selected(one, selector)]})
            case _:
                raise Refused(403, "Forbidden", f"{method} {url.path} is not among the launcher's rights")

    def _send(self, code: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, events: Iterator[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for event in events:
                line = json.dumps(event).encode() + b"\n"
                # In two pieces: nothing says that a chunk is a line.
                for piece in (line[: len(line) // 2], line[len(line) // 2 :]):
                    self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                    self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


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
    configuration.retries = False
    try:
        yield cluster, configuration
    finally:
        with cluster.changed:
            cluster.closed = True
            cluster.changed.notify_all()
        server.shutdown()
        server.server_close()
        thread.join()
