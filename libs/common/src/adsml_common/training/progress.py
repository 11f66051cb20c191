"""How a run shows what it does: a bar on a terminal, log lines anywhere else, a table at the end."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from adsml_common.training.records import Item, ItemResult, ItemStatus, TrainingRun

_LOG = logging.getLogger(__name__)
_REASONS: Final = 10


@dataclass(slots=True)
class Tally:
    """Counts of one process's work on a run.

    Attributes
    ----------
    total
        Items of this shard.
    before
        Of them, done by an earlier try.
    by_status
        Results of this try.
    reasons
        How often each reason was given, by status.
    seconds
        Spent on training, all workers together.
    """

    total: int
    before: int
    by_status: Counter[ItemStatus] = field(default_factory=Counter)
    reasons: Counter[tuple[ItemStatus, str]] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, result: ItemResult, seconds: float) -> None:
        """Count one result."""
        self.by_status[result.status] += 1
        self.seconds += seconds
        if result.reason and result.status is not ItemStatus.TRAINED:
            self.reasons[result.status, result.reason] += 1

    @property
    def left(self) -> int:
        """Items that nobody has got to."""
        return self.total - self.before - self.by_status.total()

    def __str__(self) -> str:
        words = [f"{self.by_status[status]} {status.lower()}" for status in _ENDS]
        words += [f"{self.before} done before"] if self.before else []
        words += [f"{self.left} left"] if self.left else []
        return ", ".join(words)


_ENDS: Final = (ItemStatus.TRAINED, ItemStatus.SKIPPED, ItemStatus.FAILED)


class Progress(Protocol):
    """Told of a run's course by `adsml_common.training.job.run_job`."""

    def start(self, run: TrainingRun, tally: Tally) -> None:
        """The work begins."""

    def advance(self, item: Item, result: ItemResult, tally: Tally) -> None:
        """One more item has a result."""

    def finish(self, run: TrainingRun, tally: Tally) -> None:
        """The work has ended, well or not."""


class BarProgress:
    """One bar on a terminal, then a table."""

    def __init__(self, console: Console) -> None:
        self._console = console
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

    def start(self, run: TrainingRun, tally: Tally) -> None:
        """Show the bar."""
        self._bar.update(self._task, description=run.job, total=tally.total, completed=tally.before)
        self._bar.start_task(self._task)
        self._bar.start()

    def advance(self, item: Item, result: ItemResult, tally: Tally) -> None:
        """Move the bar."""
        if result.status is ItemStatus.FAILED:
            self._bar.console.print(f"[red]{item.key}[/] failed: {result.reason}", highlight=False)
        self._bar.update(self._task, advance=1, counts=str(tally))

    def finish(self, run: TrainingRun, tally: Tally) -> None:
        """Take the bar away and print the table."""
        self._bar.stop()
        table = Table(title=f"{run.job}: run {run.run_id}", title_justify="left")
        table.add_column("status")
        table.add_column("items", justify="right")
        table.add_column("why", overflow="fold")
        for status in _ENDS:
            why = [(reason, n) for (one, reason), n in tally.reasons.most_common() if one is status]
            told = [f"{n} x {reason}" if n > 1 else reason for reason, n in why[:_REASONS]]
            told += [f"and {len(why) - _REASONS} more reasons"] if len(why) > _REASONS else []
            table.add_row(status.lower(), str(tally.by_status[status]), "\n".join(told))
        if tally.before:
            table.add_row("done before", str(tally.before), "")
        if tally.left:
            table.add_row("left", str(tally.left), run.detail)
        self._console.print(table)


class LogProgress:
    """A line at the start, one every few seconds, one per failure, and the reasons at the end.

    Parameters
    ----------
    every_seconds
        Between two lines.
    clock
        Seconds on a clock that never goes back.
    """

    def __init__(self, *, every_seconds: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every_seconds
        self._clock = clock
        self._last = clock()

    def start(self, run: TrainingRun, tally: Tally) -> None:
        """Log what is to be done."""
        _LOG.info("%s: run %s: %d items, %d done before", run.job, run.run_id, tally.total, tally.before)
        self._last = self._clock()

    def advance(self, item: Item, result: ItemResult, tally: Tally) -> None:
        """Log a failure, and now and then how far it is."""
        if result.status is ItemStatus.FAILED:
            _LOG.error("%s failed: %s", item.key, result.reason)
        now = self._clock()
        if now - self._last >= self._every:
            self._last = now
            _LOG.info("%d of %d: %s", tally.total - tally.left, tally.total, tally)

    def finish(self, run: TrainingRun, tally: Tally) -> None:
        """Log the outcome with its reasons."""
        for (status, reason), count in tally.reasons.most_common(_REASONS):
            _LOG.info("%s %d x %s", status.lower(), count, reason)
        _LOG.info("%s: run %s %s: %s", run.job, run.run_id, run.status.lower(), tally)


def progress_for(console: Console) -> Progress:
    """A bar if the console is a terminal, log lines if not."""
    return BarProgress(console) if console.is_terminal else LogProgress()
