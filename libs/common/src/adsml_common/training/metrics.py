"""What is counted of training: by the process that trains, and of the record by those that serve."""

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from rich.console import Console

from adsml_common.domain.errors import AdsmlError
from adsml_common.training.progress import Progress, Tally, progress_for
from adsml_common.training.records import Item, ItemResult, RunStatus, TrainingRun
from adsml_common.training.runs import TrainingRuns

_LOG = logging.getLogger(__name__)
# Not "job", which Prometheus has for what it scrapes.
_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
_RECENT: Final = 50

ITEMS: Final = Counter("adsml_training_items", "Items that ended in this process", ("training", "status"))
ITEM_SECONDS: Final = Histogram(
    "adsml_training_item_seconds", "Seconds that an item took", ("training",), buckets=_BUCKETS
)
LEFT: Final = Gauge("adsml_training_items_left", "Items of this process' shard still to do", ("training",))


class MeteredProgress:
    """Counts a run's items for Prometheus, beside showing them.

    Parameters
    ----------
    shown
        What else is told.
    """

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._job = ""
        self._seconds = 0.0

    def start(self, run: TrainingRun, tally: Tally) -> None:
        """The work begins."""
        self._job = run.job
        LEFT.labels(run.job).set(tally.left)
        self._shown.start(run, tally)

    def advance(self, item: Item, result: ItemResult, tally: Tally) -> None:
        """One more item has a result."""
        ITEMS.labels(self._job, result.status.lower()).inc()
        ITEM_SECONDS.labels(self._job).observe(tally.seconds - self._seconds)
        self._seconds = tally.seconds
        LEFT.labels(self._job).set(tally.left)
        self._shown.advance(item, result, tally)

    def finish(self, run: TrainingRun, tally: Tally) -> None:
        """The work has ended."""
        self._shown.finish(run, tally)


def metered() -> Progress:
    """A bar on a terminal, log lines elsewhere, and Prometheus' counts."""
    return MeteredProgress(progress_for(Console(stderr=True)))


class RunWatch(Collector):
    """How the runs of some jobs stand, read from the record now and then and told to Prometheus.

    Never read when Prometheus asks: a database that is away would take the other metrics along.

    Parameters
    ----------
    runs
        The record.
    jobs
        Whose runs.
    every_seconds
        Between two readings.
    """

    def __init__(self, runs: TrainingRuns, jobs: Sequence[str], *, every_seconds: float = 30.0) -> None:
        self._runs = runs
        self._jobs = tuple(jobs)
        self._every = every_seconds
        self._found: dict[str, list[TrainingRun]] = {}
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to read."""
        self._thread = threading.Thread(target=self._watch, name="run-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def read(self) -> None:
        """Read once."""
        self._found = {job: self._runs.list(job=job, limit=_RECENT) for job in self._jobs}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, as of the last reading; none of a job that never ran."""
        success = GaugeMetricFamily(
            "adsml_training_last_success_timestamp_seconds",
            "When the last run that did all it could ended",
            labels=("training",),
        )
        failed = GaugeMetricFamily(
            "adsml_training_last_run_failed",
            "1 if the last run that ended left failures",
            labels=("training",),
        )
        items = GaugeMetricFamily(
            "adsml_training_last_run_items", "Items of the last run that ended", labels=("training", "status")
        )
        active = GaugeMetricFamily("adsml_training_runs_active", "Runs in progress", labels=("training",))
        heard = GaugeMetricFamily(
            "adsml_training_heartbeat_timestamp_seconds",
            "Last sign of life of a run in progress",
            labels=("training",),
        )
        for job, found in self._found.items():
            going = [run for run in found if not run.status.ended]
            active.add_metric((job,), len(going))
            signs = [run.heartbeat_at or run.created_at for run in going]
            if signs:
                heard.add_metric((job,), min(signs).timestamp())
            # What somebody cancelled has neither failed nor succeeded.
            ended = [run for run in found if run.status.ended and run.status is not RunStatus.CANCELLED]
            if not ended:
                continue
            failed.add_metric((job,), float(ended[0].status is not RunStatus.SUCCEEDED))
            counts = ended[0].counts
            for status in ("trained", "skipped", "failed"):
                items.add_metric((job, status), getattr(counts, status))
            good = [run.finished_at for run in ended if run.status is RunStatus.SUCCEEDED and run.finished_at]
            if good:
                success.add_metric((job,), max(good).timestamp())
        yield from (success, failed, items, active, heard)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing beforehand: it depends on what ran."""
        yield from ()

    def _watch(self) -> None:
        while True:
            try:
                self.read()
            except AdsmlError as error:
                _LOG.warning("the state of training can't be read: %s", error.message)
            if self._ended.wait(self._every):
                return
