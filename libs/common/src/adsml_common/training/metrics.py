"""How runs stand, read from the record and told to Prometheus by those that serve."""

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from adsml_common.domain.errors import AdsmlError
from adsml_common.training.records import RunStatus, TrainingRun
from adsml_common.training.runs import TrainingRuns

_LOG = logging.getLogger(__name__)
_RECENT: Final = 50


class RunWatch(Collector):
    """How the runs of some jobs stand, read from the record now and then.

    Never read when Prometheus asks: a database that is away would take the other metrics along.
    """

    def __init__(self, runs: TrainingRuns, jobs: Sequence[str], *, every_seconds: float = 30.0) -> None:
        self._runs = runs
        self._jobs = jobs
        self._every = every_seconds
        self._recent: dict[str, list[TrainingRun]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="run-metrics", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def read(self) -> None:
        """Read once."""
        self._recent = {job: self._runs.list(jobs=[job], limit=_RECENT) for job in self._jobs}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, as of the last reading; none of a job that never ran."""
        success = _gauge("last_success_timestamp_seconds", "When the last run that did all it could ended")
        failed = _gauge("last_run_failed", "1 if the last run that ended left failures")
        items = _gauge("last_run_items", "Items of the last run that ended", "status")
        active = _gauge("runs_active", "Runs in progress")
        heard = _gauge("heartbeat_timestamp_seconds", "Last sign of life of a run in progress")
        for job, runs in self._recent.items():
            going = [run for run in runs if not run.status.ended]
            active.add_metric((job,), len(going))
            if going:
                heard.add_metric((job,), min(run.heartbeat_at or run.created_at for run in going).timestamp())
            # What somebody cancelled has neither failed nor succeeded.
            ended = [run for run in runs if run.status.ended and run.status is not RunStatus.CANCELLED]
            if not ended:
                continue
            failed.add_metric((job,), float(ended[0].status is not RunStatus.SUCCEEDED))
            for status in ("trained", "skipped", "failed"):
                items.add_metric((job, status), getattr(ended[0].counts, status))
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


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"adsml_training_{name}", text, labels=("training", *labels))
