"""Makes a Job of every run that a service accepted, and follows it to its end: what ``adsml launcher`` does."""

import logging
import re
import threading
import time
from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Counter, Gauge

from adsml_common.domain.errors import AdsmlError
from adsml_common.training.cluster import Cluster, JobRejected, JobState, RequestRefused, job_body
from adsml_common.training.launchers import CRONJOB
from adsml_common.training.pods import pod_failure_reasons, start_obstacles, warning_reasons
from adsml_common.training.records import LaunchKind, RunStatus, TrainingRun
from adsml_common.training.runs import TrainingRuns

_LOG = logging.getLogger(__name__)
_SUSPENDED: Final = "Suspended"
_BY_INDEXES: Final = ("FailedIndexes", "MaxFailedIndexesExceeded", "BackoffLimitExceeded", "PodFailurePolicy")
"""The API's reasons for the end of a Job that only say that its pods failed."""

LAST_RECONCILE: Final = Gauge(
    "adsml_launcher_last_reconcile_timestamp_seconds",
    "When runs and Jobs were last compared without an error",
)
CREATED: Final = Counter("adsml_launcher_jobs_created", "Jobs made", ("training",))
REFUSED: Final = Counter(
    "adsml_launcher_requests_refused",
    "Answers of the cluster that something is not allowed, or not there, now",
    ("training", "reason"),
)
BLOCKED: Final = Gauge(
    "adsml_launcher_runs_blocked",
    "Runs that can't start now, or whose pods fail, and why",
    ("training", "reason"),
)


class JobLauncher:
    """Compares the record of runs with the cluster's Jobs, and makes the second follow the first.

    Everything it needs is in the record and the cluster, so it may die at any time, and two of them do no harm:
    a run's Job has one name, and the second that makes it is told that it is there. It lists Jobs afresh at
    every pass in which a run is open, and watches nothing: there is no history to lose track of.

    A refusal, whatever its reason, is waited out; the run's detail and a metric say so. Only a Job that the API
    holds to be invalid, or a run that could not start for `start_seconds` on end, has failed. Pods of a run are looked
    at every `pods_seconds`.
    """

    def __init__(
        self,
        runs: TrainingRuns,
        cluster: Cluster,
        *,
        every_seconds: float = 5.0,
        pods_seconds: float = 15.0,
        start_seconds: float = 3600.0,
    ) -> None:
        self._runs = runs
        self._cluster = cluster
        self._every = every_seconds
        self._pods_seconds = pods_seconds
        self._start_seconds = start_seconds
        self._seen: defaultdict[str, _Seen] = defaultdict(_Seen)

    def run(self, stop: threading.Event) -> None:
        """Reconcile until told to stop."""
        while not stop.is_set():
            try:
                self.reconcile()
            except AdsmlError as error:
                _LOG.warning("runs and Jobs can't be compared now: %s", error.message)
            stop.wait(self._every)

    def reconcile(self) -> None:
        """Compare once: make what is missing, delete what was cancelled, end what nobody works on.

        Raises
        ------
        RequestRefused, Unavailable
            Jobs can't be listed, or record or API do not answer: nothing is decided without them.
        """
        runs = self._runs.launched()
        blocked: Counts[tuple[str, str]] = Counts()
        jobs = self._list_jobs(runs)
        for run in runs:
            job = jobs.get(run.launcher_ref)
            try:
                problems = self._reconcile_run(run, job)
            except JobRejected as error:
                _LOG.error("run %s of %s can't be started: %s", run.run_id, run.job, error.message)
                self._runs.abandon(run.run_id, detail=error.message)
                continue
            except RequestRefused as error:
                REFUSED.labels(run.job, error.word).inc()
                problems = {error.word: error.message}
            self._note(run, problems)
            if self._waited_too_long(run, problems):
                self._give_up(run, job, problems)
            blocked.update((run.job, reason) for reason in problems)
        self._seen = defaultdict(_Seen, {run.run_id: self._seen[run.run_id] for run in runs})
        BLOCKED.clear()
        for labels, count in blocked.items():
            BLOCKED.labels(*labels).set(count)
        LAST_RECONCILE.set_to_current_time()

    def _list_jobs(self, runs: Sequence[TrainingRun]) -> Mapping[str, JobState]:
        # After the runs were read: a Job that started one of them is in the list, or gone.
        if not runs:
            return {}
        try:
            return self._cluster.jobs()
        except RequestRefused as error:
            for run in runs:
                REFUSED.labels(run.job, error.word).inc()
                self._note(run, {error.word: error.message})
            raise

    def _reconcile_run(self, run: TrainingRun, job: JobState | None) -> Mapping[str, str]:
        """Bring one run and its Job together; what keeps it from going on, by reason."""
        if run.status in (RunStatus.FAILED, RunStatus.PARTIAL):
            # By the word of its own processes. Those may be tried again, as long as the Job goes on.
            if job is None or job.ended:
                self._runs.conclude(run, f"its Job ended: {job.reason}" if job and job.reason else "")
        elif run.cancel_requested:
            self._delete_owned(run, job)
            self._runs.abandon(run.run_id, detail="cancelled")
            self._runs.record_job(run.run_id, "")
        elif job is None:
            self._make_missing(run)
        elif run.launch_kind is LaunchKind.CALLER and job.run_id != run.run_id:
            return {"Conflict": f"there is a Job {job.name} that was not made for this run"}
        elif job.ended:
            self._end(run, job)
        else:
            if not run.job_uid:
                self._runs.record_job(run.run_id, job.uid)
            return self._inspect(run, job)
        return {}

    def _delete_owned(self, run: TrainingRun, job: JobState | None) -> None:
        """Delete the Job that was made for a run, and no other."""
        if job is None or job.ended or job.run_id != run.run_id or run.job_uid not in ("", job.uid):
            return
        self._cluster.delete(job.name, uid=job.uid)
        _LOG.info("run %s: deleted Job %s", run.run_id, job.name)

    def _make_missing(self, run: TrainingRun) -> None:
        if run.started_at is not None or run.launch_kind is not LaunchKind.CALLER:
            self._runs.abandon(run.run_id, detail=f"its Job {run.launcher_ref} is gone")
            return
        uid = self._cluster.create(job_body(self._cluster.cronjob(CRONJOB.format(job=run.job)), run))
        if uid is not None:
            CREATED.labels(run.job).inc()
            self._runs.record_job(run.run_id, uid)
            _LOG.info("run %s of %s: made Job %s", run.run_id, run.job, run.launcher_ref)

    def _inspect(self, run: TrainingRun, job: JobState) -> Mapping[str, str]:
        """What keeps pods of a Job from starting, or ended the last tries; looked at now and then."""
        seen, now = self._seen[run.run_id], time.monotonic()
        if now - seen.inspected >= self._pods_seconds:
            seen.problems, seen.inspected = self._pod_problems(job), now
        return seen.problems

    def _pod_problems(self, job: JobState) -> dict[str, str]:
        if job.suspended:
            return {_SUSPENDED: "its Job is suspended: held back by a queue, or by hand"}
        pods = self._cluster.pods(job.name)
        problems, silent = start_obstacles(pods)
        if not pods:
            # Such as FailedCreate: a quota, a policy, a service account that is not there.
            problems |= warning_reasons(self._cluster.warnings(job.uid))
        elif silent is not None and not problems:
            # Such as FailedMount.
            problems |= warning_reasons(self._cluster.warnings(silent["metadata"]["uid"]))
        for index, reason in sorted(pod_failure_reasons(pods).items()):
            problems.setdefault(re.split("[:,]", reason)[0], f"shard {index}: {reason}")
        return problems

    def _note(self, run: TrainingRun, problems: Mapping[str, str]) -> None:
        detail = "; ".join(problems.values())
        if detail != run.detail and not run.status.ended and not run.cancel_requested:
            self._runs.note(run.run_id, detail)

    def _waited_too_long(self, run: TrainingRun, problems: Mapping[str, str]) -> bool:
        seen, now = self._seen[run.run_id], time.monotonic()
        pending = run.status is RunStatus.PENDING and not run.cancel_requested
        if not (pending and problems) or _SUSPENDED in problems:
            seen.blocked_since = None
            return False
        seen.blocked_since = now if seen.blocked_since is None else seen.blocked_since
        return now - seen.blocked_since >= self._start_seconds

    def _give_up(self, run: TrainingRun, job: JobState | None, problems: Mapping[str, str]) -> None:
        """End a run that could not start; its Job first, whose pods could start after all."""
        try:
            self._delete_owned(run, job)
        except RequestRefused as error:
            _LOG.warning("run %s can't be given up: %s", run.run_id, error.message)
            return
        detail = f"could not start for {self._start_seconds:g} s: {'; '.join(problems.values())}"
        _LOG.error("run %s of %s %s", run.run_id, run.job, detail)
        self._runs.abandon(run.run_id, detail=detail)

    def _end(self, run: TrainingRun, job: JobState) -> None:
        reasons = {} if job.complete else pod_failure_reasons(self._cluster.pods(job.name))
        detail = f"its Job ended: {job.reason}" if job.reason else "its Job ended"
        # What its indexes came to is the reason then, and of others the Job's own.
        prefix = "" if job.reason.startswith(_BY_INDEXES) else f"{detail}; "
        shards = {index: f"{prefix}its pods failed ({reason})" for index, reason in reasons.items()}
        shards |= {index: f"{prefix}its pods failed" for index in job.failed_indexes if index not in shards}
        self._runs.abandon(run.run_id, detail=detail, shards=shards)


@dataclass(slots=True)
class _Seen:
    """What a launcher remembers of a run: nothing that it would miss."""

    blocked_since: float | None = None
    inspected: float = float("-inf")
    problems: Mapping[str, str] = field(default_factory=dict)
