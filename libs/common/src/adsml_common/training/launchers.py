"""Who does the work of a run that a service was asked to start."""

import hashlib
import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from adsml_common.domain.errors import AdsmlError, Unavailable
from adsml_common.training.records import RunStatus, TrainingRun
from adsml_common.training.runs import TrainingRuns

_log = logging.getLogger(__name__)

_COMMAND: Final = (sys.executable, "-m", "adsml_common.cli", "train")


class Launcher(Protocol):
    """Starts the processes that work on a run."""

    @property
    def name(self) -> str:
        """``"local"``, ``"kubernetes"``."""

    @property
    def default_shards(self) -> int:
        """In how many shards a run is split where nobody says."""

    def reference(self, job: str, request_id: str) -> str:
        """What the launcher calls the work: the same for the same request."""

    def launch(self, run: TrainingRun) -> None:
        """Start it. Called again for a run that nobody has begun: it must not be started twice.

        Raises
        ------
        Unavailable
            It can't be started now.
        """


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

    Parameters
    ----------
    shards
        In how many shards a run is split where nobody says.
    """

    def __init__(self, *, shards: int) -> None:
        self.default_shards = shards

    name = "kubernetes"

    def reference(self, job: str, request_id: str) -> str:
        """The Job's name."""
        return job_name(job, request_id)

    def launch(self, run: TrainingRun) -> None:
        """Nothing: the record is the order."""


class LocalLauncher:
    """Subprocesses on this machine, one for each shard; the lease keeps a second one away.

    They outlive the service that started them: a restart of the service does not end a training.

    Parameters
    ----------
    runs
        The record, to note there that a process ended before it began.
    log_dir
        Folder for their output, a file for each shard.
    command
        What is called with the job's name and its options.
    """

    def __init__(self, runs: TrainingRuns, *, log_dir: Path, command: Sequence[str] = _COMMAND) -> None:
        self._runs = runs
        self._log_dir = log_dir
        self._command = tuple(command)
        self._alive: set[str] = set()
        self._lock = threading.Lock()

    name = "local"
    default_shards = 1

    def reference(self, job: str, request_id: str) -> str:
        """Nothing that would mean something on another machine."""
        return ""

    def launch(self, run: TrainingRun) -> None:
        """Start a process for each shard, unless they are at work already."""
        with self._lock:
            if run.run_id in self._alive:
                return
            self._alive.add(run.run_id)
        processes = []
        try:
            self._log_dir.mkdir(parents=True, exist_ok=True)
            for shard in range(run.shard_count):
                log_file = self._log_dir / f"{run.run_id}-{shard}.log"
                with log_file.open("ab") as log:
                    process = subprocess.Popen(  # noqa: S603 - our own command, ids as single arguments
                        [
                            *self._command,
                            run.job,
                            f"--request-id={run.request_id}",
                            f"--shard-index={shard}",
                            f"--shard-count={run.shard_count}",
                        ],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                processes.append((process, log_file))
        except OSError as error:
            with self._lock:
                self._alive.discard(run.run_id)
            raise Unavailable(f"the training could not be started: {error.strerror}") from error
        threading.Thread(
            target=self._wait, args=(run, processes), name=f"run-{run.run_id}", daemon=True
        ).start()

    def _wait(self, run: TrainingRun, processes: list[tuple[subprocess.Popen[bytes], Path]]) -> None:
        """See them to their end; a run whose processes ended before they began is over."""
        for process, log_file in processes:
            status = process.wait()
            _log.info("run %s: a process ended with status %d; see %s", run.run_id, status, log_file)
        with self._lock:
            self._alive.discard(run.run_id)
        try:
            if self._runs.get(run.run_id).status is RunStatus.PENDING:
                self._runs.cancel(run.run_id, reason="its process ended before it began; the log has why")
        except AdsmlError as error:
            _log.warning("run %s: its end could not be noted: %s", run.run_id, error)
