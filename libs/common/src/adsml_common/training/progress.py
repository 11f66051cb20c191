"""What comes of a run's items, counted and shown: a bar on a terminal, log lines anywhere else."""

import logging
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import prometheus_client as prometheus
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from adsml_common.registry.models import ModelStatus
from adsml_common.training.records import Item, ItemResult, ItemStatus, TrainingRun

_LOG = logging.getLogger(__name__)
_REASONS: Final = 10
_NUMBER: Final = re.compile(r"\d[\d.,]*")
_ENDS: Final = (ItemStatus.TRAINED, ItemStatus.SKIPPED, ItemStatus.FAILED)
_DONE, _IN_USE, _NO_BETTER = "done", "put to use", "no better than before"
_KINDS: Final = (_DONE, _IN_USE, _NO_BETTER, "skipped", "failed")
_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
# Not "job", which Prometheus has for what it scrapes.
ITEMS: Final = prometheus.Counter(
    "adsml_training_items", "Items that ended in this process", ("training", "status")
)
ITEM_SECONDS: Final = prometheus.Histogram(
    "adsml_training_item_seconds", "Seconds that an item took", ("training",), buckets=_BUCKETS
)
LEFT: Final = prometheus.Gauge(
    "adsml_training_items_left", "Items of this process' shards still to do", ("training",)
)


class Tally:
    """Counts of one process's work on a run, over all shards that it works on."""

    def __init__(self) -> None:
        self.total = 0
        self.before = 0
        """Of all: done by an earlier try."""
        self.by_status: Counter[ItemStatus] = Counter()
        self._by_kind: Counter[str] = Counter()
        self._alike: dict[tuple[str, str], tuple[int, str]] = {}

    def add(self, result: ItemResult) -> None:
        """Count one result."""
        self.by_status[result.status] += 1
        kind = result.status.lower()
        if result.status is ItemStatus.TRAINED:
            in_use = result.model is None or result.model.status is ModelStatus.ACTIVE
            kind = _DONE if result.model is None else _IN_USE if in_use else _NO_BETTER
        self._by_kind[kind] += 1
        if kind not in (_DONE, _IN_USE):
            # Reasons that differ by their numbers alone are one; the first is told.
            key = kind, _NUMBER.sub("0", result.reason)
            count, reason = self._alike.get(key, (0, result.reason))
            self._alike[key] = count + 1, reason

    @property
    def left(self) -> int:
        """Items that nobody has got to."""
        return self.total - self.before - self.by_status.total()

    def reasons(self) -> list[str]:
        """Why items were kept back, skipped or failed, alike ones as one, the most frequent first."""
        told = sorted(self._alike.items(), key=lambda one: -one[1][0])
        lines = [
            f"{count} {kind}: {'for example, ' if count > 1 and _NUMBER.search(reason) else ''}{reason}"
            for (kind, _), (count, reason) in told[:_REASONS]
        ]
        return [*lines, f"and {len(told) - _REASONS} more reasons"] if len(told) > _REASONS else lines

    def sentence(self) -> str:
        """What came of it, for a person: ``9 put to use, 3 no better than before, 2 skipped``."""
        words = [f"{self._by_kind[kind]} {kind}" for kind in _KINDS if self._by_kind[kind]]
        return ", ".join([*words, *self._rest()]) or "nothing to do"

    def __str__(self) -> str:
        words = [f"{self.by_status[status]} {status.lower()}" for status in _ENDS]
        return ", ".join([*words, *self._rest()])

    def _rest(self) -> list[str]:
        before = [f"{self.before} done before"] if self.before else []
        return [*before, f"{self.left} left"] if self.left else before


class Progress:
    """Told of a run's course by `adsml_common.training.job.run_job`; counts, for Prometheus too, and shows nothing."""

    def __init__(self) -> None:
        self.tally = Tally()

    def start(self, run: TrainingRun, *, total: int, before: int) -> None:
        """The work on a shard begins, of whose `total` items `before` are done."""
        self.tally.total += total
        self.tally.before += before
        LEFT.labels(run.job).set(self.tally.left)

    def advance(self, run: TrainingRun, item: Item, result: ItemResult) -> None:
        """One more item has a result."""
        self.tally.add(result)
        ITEMS.labels(run.job, result.status.lower()).inc()
        ITEM_SECONDS.labels(run.job).observe(result.seconds)
        LEFT.labels(run.job).set(self.tally.left)

    def finish(self, run: TrainingRun) -> None:
        """The work on a shard has ended, well or not."""


class BarProgress(Progress):
    """One bar on a terminal; failures above it."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[counts]}"),
            console=console,
        )
        self._task = self._bar.add_task("", total=None, counts="", start=False)

    def start(self, run: TrainingRun, *, total: int, before: int) -> None:
        super().start(run, total=total, before=before)
        done = self.tally.total - self.tally.left
        self._bar.update(self._task, description=run.job, total=self.tally.total, completed=done)
        self._bar.start_task(self._task)
        self._bar.start()

    def advance(self, run: TrainingRun, item: Item, result: ItemResult) -> None:
        super().advance(run, item, result)
        if result.status is ItemStatus.FAILED:
            self._bar.console.print(f"[red]{item.key}[/] failed: {result.reason}", highlight=False)
        self._bar.update(self._task, advance=1, counts=str(self.tally))

    def finish(self, run: TrainingRun) -> None:
        self._bar.stop()


class LogProgress(Progress):
    """A line at the start, one every few seconds, one per failure, and the reasons at the end."""

    def __init__(self, *, every_seconds: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every = every_seconds
        self._clock = clock
        self._last = 0.0

    def start(self, run: TrainingRun, *, total: int, before: int) -> None:
        super().start(run, total=total, before=before)
        _LOG.info("%s: run %s: %d items, %d done before", run.job, run.run_id, total, before)
        self._last = self._clock()

    def advance(self, run: TrainingRun, item: Item, result: ItemResult) -> None:
        super().advance(run, item, result)
        if result.status is ItemStatus.FAILED:
            _LOG.error("%s failed: %s", item.key, result.reason)
        now = self._clock()
        if now - self._last >= self._every:
            self._last = now
            _LOG.info("%d of %d: %s", self.tally.total - self.tally.left, self.tally.total, self.tally)

    def finish(self, run: TrainingRun) -> None:
        for line in self.tally.reasons():
            _LOG.info("%s", line)
        _LOG.info("%s: run %s %s: %s", run.job, run.run_id, run.status.lower(), self.tally)


def progress_for(console: Console) -> Progress:
    """A bar if the console is a terminal, log lines if not."""
    return BarProgress(console) if console.is_terminal else LogProgress()
