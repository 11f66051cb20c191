"""What a release needs of a cluster, and how it gets there: ``python deploy/release.py check|apply|prune FILE``.

FILE is what ``kubectl kustomize`` made of an overlay. Everything is done by ``kubectl``, as whoever calls it.

check   Is there what the manifests rely on: kinds, secrets with their keys, room, a version that was not used yet?
apply   Check, apply on the server's side, and wait: for the migration to complete or fail, then for the services.
prune   Delete generated ConfigMaps that nothing refers to any more: no pod, no Job that may still make one, and no
        ReplicaSet that a rollback would go back to.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

OLDEST = (1, 33)
MIGRATION_SECONDS = 1800
ROLLOUT_SECONDS = 900
_WORKLOADS = ("deployments", "replicasets", "statefulsets", "cronjobs", "jobs", "pods")
_UNITS = {"": 1.0, "m": 0.001, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}

Thing = Mapping[str, Any]


class Failed(Exception):
    """The release can't go on."""


def kubectl(*words: str, stdin: str | None = None) -> str:
    """What it printed; `Failed` with what it said if it failed."""
    done = subprocess.run(  # noqa: S603 - our own words
        ["kubectl", *words],  # noqa: S607 - the one of the PATH
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failed(f"kubectl {' '.join(words[:4])}: {done.stderr.strip()}")
    return done.stdout


def get(*words: str) -> Any:
    """The JSON of ``kubectl get``, None if there is none."""
    try:
        return json.loads(kubectl("get", *words, "-o", "json"))
    except Failed as failed:
        if "NotFound" in str(failed) or "not found" in str(failed):
            return None
        raise


def pod_specs(things: Sequence[Thing]) -> Iterator[Thing]:
    """The pod template of everything that has one, and of pods themselves."""
    for thing in things:
        spec = thing.get("spec") or {}
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if thing["kind"] == "Pod":
            yield spec
        elif "template" in spec:
            yield spec["template"]["spec"]


def containers(pod: Thing) -> list[Thing]:
    """Those that run first, and those that stay."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def config_maps(pod: Thing) -> set[str]:
    """Names of the ConfigMaps that a pod refers to."""
    sources = [
        source["configMapRef"]["name"]
        for one in containers(pod)
        for source in one.get("envFrom", ())
        if "configMapRef" in source
    ]
    return {*sources, *(one["configMap"]["name"] for one in pod.get("volumes", ()) if "configMap" in one)}


def secrets(pod: Thing) -> Iterator[tuple[str, str]]:
    """Secrets that a pod does not start without, and the key it needs; no key: any."""
    for one in containers(pod):
        for source in one.get("envFrom", ()):
            if "secretRef" in source and not source["secretRef"].get("optional"):
                yield source["secretRef"]["name"], ""
        for variable in one.get("env", ()):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference and not reference.get("optional"):
                yield reference["name"], reference["key"]
    for volume in pod.get("volumes", ()):
        if "secret" in volume and not volume["secret"].get("optional"):
            yield volume["secret"]["secretName"], ""


def quantity(text: str) -> float:
    """Processors, or bytes."""
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", text).groups()  # type: ignore[union-attr]
    return float(number) * _UNITS[unit]


def problems(things: Sequence[Thing]) -> Iterator[str]:
    """What is missing, each with its cure."""
    version = json.loads(kubectl("version", "-o", "json"))["serverVersion"]
    if (int(version["major"]), int(re.sub(r"\D", "", version["minor"]))) < OLDEST:
        yield f"the cluster is {version['gitVersion']}; it takes {OLDEST[0]}.{OLDEST[1]} or newer"
    known = {
        line.split()[-1] for line in kubectl("api-resources", "--no-headers").splitlines() if line.strip()
    }
    for kind in sorted({one["kind"] for one in things} - known):
        yield f"the cluster knows no {kind}: install the operator that brings it, or leave its component out"
    for one in things:
        for container in (container for pod in pod_specs([one]) for container in containers(pod)):
            if "sha256:" + 64 * "0" in container["image"]:
                yield f"{one['kind']} {one['metadata']['name']}: no digest was set for {container['image']}"
    yield from _missing_secrets(things)
    yield from _changed_migration(things)
    yield from _no_room(things)


def _missing_secrets(things: Sequence[Thing]) -> Iterator[str]:
    namespace = namespace_of(things)
    brought = {one["metadata"]["name"] for one in things if one["kind"] == "Secret"}
    brought |= {one["spec"]["secretName"] for one in things if one["kind"] == "Certificate"}
    brought |= {one["metadata"]["name"] for one in things if one["kind"] == "ExternalSecret"}
    needed: dict[str, set[str]] = {}
    for pod in pod_specs(things):
        for name, key in secrets(pod):
            needed.setdefault(name, set()).update({key} - {""})
    for name in sorted(needed.keys() - brought):
        secret = get("secret", name, "-n", namespace)
        if secret is None:
            yield f"there is no secret {name} in namespace {namespace}"
        else:
            for key in sorted(needed[name] - (secret.get("data") or {}).keys()):
                yield f"secret {name} has no key {key}"


def _changed_migration(things: Sequence[Thing]) -> Iterator[str]:
    for job in (one for one in things if one["kind"] == "Job"):
        name = job["metadata"]["name"]
        live = get("job", name, "-n", namespace_of(things))
        if live is None:
            continue
        images = [
            one["image"] for thing in (live, job) for pod in pod_specs([thing]) for one in pod["containers"]
        ]
        if len(set(images)) > 1:
            yield (
                f"there is a Job {name} of another image, and a Job can't be changed: name the release anew "
                "(kustomize edit set label app.kubernetes.io/version:...)"
            )


def _no_room(things: Sequence[Thing]) -> Iterator[str]:
    nodes = get("nodes")["items"]
    for resource in ("cpu", "memory"):
        largest = max(quantity(node["status"]["allocatable"][resource]) for node in nodes)
        for thing in things:
            for pod in pod_specs([thing]):
                asked = sum(quantity(one["resources"]["requests"][resource]) for one in pod["containers"])
                if asked > largest:
                    yield f"a pod of {thing['kind']} {thing['metadata']['name']} fits on no node: too much {resource}"


def namespace_of(things: Sequence[Thing]) -> str:
    """The namespace that the manifests are for."""
    return next(str(one["metadata"]["namespace"]) for one in things if "namespace" in one["metadata"])


def check(things: Sequence[Thing]) -> None:
    """Say all that is missing at once."""
    found = list(problems(things))
    if found:
        raise Failed("\n".join(f"- {one}" for one in found))


def apply(things: Sequence[Thing], text: str) -> None:
    """Apply and wait."""
    # On the server's side: what others have set stays theirs, and what did not change is not written.
    sys.stdout.write(
        kubectl("apply", "--server-side", "--field-manager=adsml-release", "-f", "-", stdin=text)
    )
    namespace = namespace_of(things)
    for job in (one["metadata"]["name"] for one in things if one["kind"] == "Job"):
        wait_for_job(job, namespace)
    for one in (one for one in things if one["kind"] == "Deployment"):
        name = f"deployment/{one['metadata']['name']}"
        sys.stdout.write(kubectl("rollout", "status", "-n", namespace, name, f"--timeout={ROLLOUT_SECONDS}s"))


def wait_for_job(name: str, namespace: str, *, pause: float = 2.0) -> None:
    """Until it is complete, or has failed."""
    until = time.monotonic() + MIGRATION_SECONDS
    while time.monotonic() < until:
        job = get("job", name, "-n", namespace) or {}
        for condition in job.get("status", {}).get("conditions", ()):
            if condition["status"] == "True" and condition["type"] == "Complete":
                sys.stdout.write(f"job {name} is complete\n")
                return
            if condition["status"] == "True" and condition["type"] == "Failed":
                log = kubectl("logs", "-n", namespace, f"job/{name}", "--tail=20")
                raise Failed(f"job {name} has failed: {condition.get('message', '')}\n{log}")
        time.sleep(pause)
    raise Failed(f"job {name} has come to no end in {MIGRATION_SECONDS} s")


def unused(maps: Sequence[Thing], workloads: Sequence[Thing]) -> list[str]:
    """Generated ConfigMaps that nothing refers to."""
    used = {name for pod in pod_specs(workloads) for name in config_maps(pod)}
    generated = [
        one["metadata"]["name"] for one in maps if re.search(r"-[a-z0-9]{10}$", one["metadata"]["name"])
    ]
    return sorted(set(generated) - used)


def prune(things: Sequence[Thing]) -> None:
    """Delete what is unused."""
    namespace = namespace_of(things)
    maps = get("configmaps", "-n", namespace, "-l", "app.kubernetes.io/part-of=adsml")["items"]
    workloads = get(",".join(_WORKLOADS), "-n", namespace)["items"]
    names = unused(maps, [*workloads, *things])
    if names:
        sys.stdout.write(kubectl("delete", "configmap", "-n", namespace, *names))


def main(words: Sequence[str]) -> int:
    """1 if it failed, 2 if it was called wrongly."""
    if len(words) != 2 or words[0] not in ("check", "apply", "prune"):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    text = Path(words[1]).read_text()
    things = [one for one in yaml.safe_load_all(text) if one]
    try:
        if words[0] == "prune":
            prune(things)
        else:
            check(things)
            if words[0] == "apply":
                apply(things, text)
    except Failed as failed:
        sys.stderr.write(f"{failed}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
