"""Why pods of a Job have failed, or do not start: read off the API's JSON."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

_INDEX: Final = "batch.kubernetes.io/job-completion-index"
_LENGTH: Final = 300
_NORMAL: Final = frozenset({"ContainerCreating", "PodInitializing"})
"""Reasons to wait that pass by themselves."""
_STATUS: Final = {
    1: "failed, worth another try",
    2: "a wrong setting or option",
    3: "nothing there to train",
    4: "refused: another run at work, a cancelled run, or a schema that is behind",
    42: "every failure lies in the data",
    137: "killed",
    143: "stopped before its time",
}

Pod = Mapping[str, Any]


def pod_failure_reasons(pods: Iterable[Pod]) -> dict[int, str]:
    """Why the newest failed pod of each index of a Job ended, such as ``"OOMKilled, exit status 137"``.

    The last line that a container wrote is part of it, where its ``terminationMessagePolicy`` keeps that.
    """
    reasons: dict[int, str] = {}
    for pod in sorted(pods, key=lambda one: str(one["metadata"].get("creationTimestamp"))):
        index = (pod["metadata"].get("annotations") or {}).get(_INDEX)
        if index is None:
            continue
        status = pod.get("status") or {}
        if status.get("phase") == "Failed" and status.get("reason"):
            # Of the pod itself, such as Evicted, or DeadlineExceeded.
            reasons[int(index)] = _joined(status["reason"], status.get("message"))
        for container in _containers(status):
            ended = (container.get("state") or {}).get("terminated") or {}
            if ended.get("exitCode"):
                reasons[int(index)] = _termination(ended)
    return reasons


def start_obstacles(pods: Iterable[Pod]) -> tuple[dict[str, str], Pod | None]:
    """What keeps pods from starting: texts by the API's reason, such as ``ImagePullBackOff`` or ``Unschedulable``.

    And a pod that waits without a reason of its own, if there is one: its events may have one.
    """
    obstacles: dict[str, str] = {}
    silent: Pod | None = None
    for pod in pods:
        status = pod.get("status") or {}
        if status.get("phase", "Pending") != "Pending":
            continue
        reasons = {
            condition["reason"]: condition.get("message") or ""
            for condition in status.get("conditions") or ()
            if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable"
        }
        for container in _containers(status):
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") and waiting["reason"] not in _NORMAL:
                reasons[waiting["reason"]] = waiting.get("message") or ""
        if not reasons:
            silent = silent or pod
        obstacles = reasons | obstacles
    return {reason: _joined(reason, message) for reason, message in obstacles.items()}, silent


def warning_reasons(events: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Texts by reason, the newest of each, of events."""
    by_age = sorted(events, key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""))
    return {one["reason"]: _joined(one["reason"], one.get("message")) for one in by_age}


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _termination(ended: Mapping[str, Any]) -> str:
    code = ended["exitCode"]
    reason = ended.get("reason") or "Error"
    meaning = "out of memory" if reason == "OOMKilled" else _STATUS.get(code, "")
    text = f"{reason}, exit status {code}" + (f": {meaning}" if meaning else "")
    line = _last_line(ended.get("message") or "")
    return f"{text} ({line})" if line else text


def _last_line(message: str) -> str:
    line = next((one.strip() for one in reversed(message.splitlines()) if one.strip()), "")
    with suppress(ValueError, TypeError, KeyError):
        # Our own logs are JSON there.
        line = str(json.loads(line)["message"])
    return _cut(line)


def _joined(reason: str, message: str | None) -> str:
    return f"{reason}: {_cut(message)}" if message else reason


def _cut(text: str) -> str:
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 3]}..."
