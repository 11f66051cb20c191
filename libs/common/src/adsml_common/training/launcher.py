"""Makes a Job of every run that a service accepted, and follows it to its end: what ``adsml launcher`` does."""

import logging
import threading
import time
from collections.abc import Collection
from typing import Final

from prometheus_client import Counter, Gauge

from adsml_common.domain.errors import AdsmlError, FailedPrecondition, NotFound, Unavailable
from adsml_common.training.attempt import Backoff
from adsml_common.training.cluster import Cluster, Expired, JobState, job_body
from adsml_common.training.launchers import CRONJOB, ClusterLauncher
from adsml_common.training.records import RunStatus, TrainingRun
from adsml_common.training.runs import TrainingRuns

_LOG = logging.getLogger(__name__)
_OPEN: Final = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.CANCELLING)
_WATCH_SECONDS: Final = 300
_LIMIT: Final = 1000
_CANCELLED: Final = 50

LAST_RECONCILE: Final = Gauge(
    "adsml_launcher_last_reconcile_timestamp_seconds",
    "When runs and Jobs were last compared without an error",
)
CREATED: Final = Counter("adsml_launcher_jobs_created", "Jobs made", ("training",))
REFUSED: Final = Counter("adsml_launcher_jobs_refused", "Jobs that the cluster refused", ("training",))


class JobLauncher:
    """Compares the record of runs with the cluster's Jobs, and makes the second follow the first.

    Everything it knows is in the record and the cluster, so it may die at any time, and two of them do no harm:
    a run's Job has one name, and the second that makes it is told that it is there.

    Parameters
    ----------
    runs
        The record.
    cluster
        Where the Jobs are.
    every_seconds
        Between two looks at the record.
    """

    def __init__(self, runs: TrainingRuns, cluster: Cluster, *, every_seconds: float = 2.0) -> None:
        self._runs = runs
        self._cluster = cluster
        self._every = every_seconds
        self._lock = threading.Lock()
        self._jobs: dict[str, JobState] = {}
        self._news = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop."""
        threading.Thread(target=self._follow, args=(stop,), name="watch-jobs", daemon=True).start()
        while not stop.is_set():
            self._news.clear()
            try:
                self.reconcile()
                LAST_RECONCILE.set_to_current_time()
            except AdsmlError as error:
                _LOG.warning("runs and Jobs can't be compared now: %s", error.message)
            until = time.monotonic() + self._every
            while not (stop.is_set() or self._news.is_set()) and time.monotonic() < until:
                self._news.wait(min(0.2, self._every))

    def reconcile(self) -> None:
        """Compare once: make what is missing, delete what was cancelled, end what nobody works on."""
        for run in self._runs.list(status=RunStatus.CANCELLED, limit=_CANCELLED):
            # One that nobody had begun, or whose workers had died, was over at once; its Job goes on trying.
            self._drop(run)
        for status in _OPEN:
            for run in self._runs.list(status=status, limit=_LIMIT):
                if run.launcher != ClusterLauncher.name or not run.launcher_ref:
                    continue
                try:
                    self._reconcile_run(run)
                except (FailedPrecondition, NotFound) as error:
                    REFUSED.labels(run.job).inc()
                    _LOG.error("run %s of %s can't be started: %s", run.run_id, run.job, error.message)
                    self._runs.cancel(run.run_id, reason=error.message)

    def _reconcile_run(self, run: TrainingRun) -> None:
        with self._lock:
            job = self._jobs.get(run.launcher_ref)
        if run.cancel_requested:
            self._drop(run)
            self._runs.abandon(run.run_id, detail="cancelled")
        elif job is None:
            self._missing(run)
        elif job.phase.ended:
            self._ended(run, job)

    def _drop(self, run: TrainingRun) -> None:
        """Delete the Job of a run that was cancelled, where it is still going."""
        with self._lock:
            job = self._jobs.get(run.launcher_ref)
        if job is not None and not job.phase.ended:
            self._cluster.delete(job.name)
            self._note(job.name, None)
            _LOG.info("run %s was cancelled: deleted Job %s", run.run_id, job.name)

    def _missing(self, run: TrainingRun) -> None:
        # What the watch has not told yet may be there all the same.
        job = self._cluster.job(run.launcher_ref)
        if job is not None:
            with self._lock:
                self._jobs.setdefault(job.name, job)
        elif run.started_at is not None:
            self._runs.abandon(run.run_id, detail=f"its Job {run.launcher_ref} is gone")
        elif run.actor != "schedule":
            body = job_body(self._cluster.cronjob(CRONJOB.format(job=run.job)), run)
            if self._cluster.create(body):
                CREATED.labels(run.job).inc()
                _LOG.info("run %s of %s: made Job %s", run.run_id, run.job, run.launcher_ref)

    def _ended(self, run: TrainingRun, job: JobState) -> None:
        reasons = {} if job.phase == "COMPLETE" else self._cluster.pod_failure_reasons(job.name)
        told = {index: f"its pods failed ({reason})" for index, reason in reasons.items()}
        told |= {index: "its pods failed" for index in job.failed_indexes if index not in told}
        word = f"its Job ended: {job.reason}" if job.reason else "its Job ended"
        self._runs.abandon(run.run_id, detail=word, shards=told)

    def _follow(self, stop: threading.Event) -> None:
        """Keep the states of Jobs: listed once, then watched, and listed anew where the watch has lost track."""
        backoff = Backoff(float("inf"))
        while not stop.is_set():
            try:
                jobs, version = self._cluster.jobs()
                self._replace(jobs)
                backoff = Backoff(float("inf"))
                while not stop.is_set():
                    for name, state, seen in self._cluster.watch(version, seconds=_WATCH_SECONDS):
                        version = seen
                        self._note(name, state)
                        if stop.is_set():
                            return
            except Expired:
                _LOG.info("listing Jobs anew: the watch has lost track")
            except (Unavailable, FailedPrecondition) as error:
                seconds = backoff.next() or 0.0
                _LOG.warning("%s; trying again in %.1f s", error.message, seconds)
                stop.wait(seconds)

    def _replace(self, jobs: dict[str, JobState]) -> None:
        with self._lock:
            self._jobs = jobs
        self._news.set()

    def _note(self, name: str, state: JobState | None) -> None:
        if not name:
            return
        with self._lock:
            if state is None:
                self._jobs.pop(name, None)
            else:
                self._jobs[name] = state
        self._news.set()

    @property
    def known(self) -> Collection[JobState]:
        """Jobs as last heard of."""
        with self._lock:
            return list(self._jobs.values())
