"""Who does the work of a run that a service was asked to start."""

import hashlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from adsml_common.domain.errors import AdsmlError, Unavailable
from adsml_common.training.job import Pace
from adsml_common.training.records import RUN_ID_VARIABLE, LauncherKind, TrainingRun
from adsml_common.training.runs import TrainingRuns

_LOG = logging.getLogger(__name__)

_COMMAND: Final = (sys.executable, "-m", "adsml_common.cli", "train")


CRONJOB: Final = "train-{job}"
"""Name of the CronJob that has a job's template."""
_DIGITS: Final = 12


def job_name(job: str, request_id: str) -> str:
    """What the cluster calls the Job of a request: always the same, so that it can't be made twice."""
    digest = hashlib.sha256(f"{job}/{request_id}".encode()).hexdigest()
    return f"{CRONJOB.format(job=job)}-{digest[:_DIGITS]}"


class ClusterLauncher:
    """Leaves the work to ``adsml launcher``, which makes a Job of each run that is on record and not begun.

    So a server needs no right to make Jobs, and a run that was accepted is started even if the server, the
    cluster's API or the launcher is away at that moment.
    """

    kind = LauncherKind.KUBERNETES

    def __init__(self, *, shards: int) -> None:
        self.default_shards = shards
        """In how many shards a run is split where nobody says."""

    def reference(self, job: str, request_id: str) -> str:
        """The Job's name."""
        return job_name(job, request_id)

    def launch(self, run: TrainingRun) -> None:
        """Nothing: the record is the order."""


class LocalLauncher:
    """One subprocess on this machine for a run, however many shards it has; the lease keeps a second one away.

    It works off one shard after the other, each with as many worker processes as the machine has room for
    (`adsml_common.training.workers.default_count`), so a call can't start more than that. It outlives the
    service that started it: a restart of the service does not end a training.

    A file for each run in `log_dir` takes its output; `command` is called with the job's name.
    """

    kind = LauncherKind.LOCAL
    default_shards = 1

    def __init__(
        self,
        runs: TrainingRuns,
        *,
        log_dir: Path,
        command: Sequence[str] = _COMMAND,
        lease_seconds: float = Pace().lease,
    ) -> None:
        self._runs = runs
        self._log_dir = log_dir
        self._command = tuple(command)
        self._lease_seconds = lease_seconds
        self._alive: set[str] = set()
        self._lock = threading.Lock()

    def reference(self, job: str, request_id: str) -> str:
        """Nothing that would mean something on another machine."""
        return ""

    def launch(self, run: TrainingRun) -> None:
        """Start the run's process, unless it is at work already; `Unavailable` if that can't be done now."""
        with self._lock:
            if run.run_id in self._alive:
                return
            self._alive.add(run.run_id)
        log_file = self._log_dir / f"{run.run_id}.log"
        try:
            self._log_dir.mkdir(parents=True, exist_ok=True)
            with log_file.open("ab") as log:
                process = subprocess.Popen(  # noqa: S603 - our own command, and nothing of a caller's
                    [*self._command, run.job],
                    env={**os.environ, RUN_ID_VARIABLE: run.run_id},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            with self._lock:
                self._alive.discard(run.run_id)
            raise Unavailable(f"the training could not be started: {error.strerror}") from error
        threading.Thread(
            target=self._wait, args=(run, process, log_file), name=f"run-{run.run_id}", daemon=True
        ).start()

    def _wait(self, run: TrainingRun, process: subprocess.Popen[bytes], log_file: Path) -> None:
        """See the process to its end; a run that it left open is over then."""
        status = process.wait()
        _LOG.info("run %s: its process ended with status %d; see %s", run.run_id, status, log_file)
        with self._lock:
            self._alive.discard(run.run_id)
        detail = f"its process ended with status {status} before the run did; its log has why"
        # One that was killed holds its lease until that runs out.
        until = time.monotonic() + 2 * self._lease_seconds
        while time.monotonic() < until:
            try:
                if self._runs.abandon(run.run_id, detail=detail).status.ended:
                    return
            except AdsmlError as error:
                _LOG.warning("run %s: its end could not be noted: %s", run.run_id, error)
            time.sleep(min(1.0, self._lease_seconds))


Launcher = ClusterLauncher | LocalLauncher
"""Starts the processes that work on a run, once however often it is called; tells what it calls them."""
