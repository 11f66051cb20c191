"""How runs stand, for Prometheus; read from the record by those that serve."""

from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import GaugeMetricFamily

from adsml_common.training.records import RunStatus
from adsml_common.training.runs import TrainingRuns

_RECENT: Final = 50


def run_gauges(runs: TrainingRuns, jobs: Sequence[str]) -> Iterator[GaugeMetricFamily]:
    """The gauges of some jobs, read now; none of a job that never ran."""
    success = _gauge("last_success_timestamp_seconds", "When the last run that did all it could ended")
    failed = _gauge("last_run_failed", "1 if the last run that ended left failures")
    items = _gauge("last_run_items", "Items of the last run that ended", "status")
    active = _gauge("runs_active", "Runs in progress")
    heard = _gauge("heartbeat_timestamp_seconds", "Last sign of life of a run in progress")
    for job in jobs:
        recent = runs.list(jobs=[job], limit=_RECENT)
        going = [run for run in recent if not run.status.ended]
        active.add_metric((job,), len(going))
        if going:
            heard.add_metric((job,), min(run.heartbeat_at or run.created_at for run in going).timestamp())
        # What somebody cancelled has neither failed nor succeeded.
        ended = [run for run in recent if run.status.ended and run.status is not RunStatus.CANCELLED]
        if not ended:
            continue
        failed.add_metric((job,), float(ended[0].status is not RunStatus.SUCCEEDED))
        for status in ("trained", "skipped", "failed"):
            items.add_metric((job, status), getattr(ended[0].counts, status))
        good = [run.finished_at for run in ended if run.status is RunStatus.SUCCEEDED and run.finished_at]
        if good:
            success.add_metric((job,), max(good).timestamp())
    yield from (success, failed, items, active, heard)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"adsml_training_{name}", text, labels=("training", *labels))
