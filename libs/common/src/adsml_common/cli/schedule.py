"""`adsml schedule`: commands at their times, where no cluster has CronJobs."""

import re
import shlex
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Final

import typer

from adsml_common.cli.exits import Exit
from adsml_common.domain.errors import InvalidInput

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_ENTRY: Final = re.compile(rf"(?:({'|'.join(_DAYS)}) )?(\d\d):(\d\d) (\S.*)")
_TRIES: Final = 3
_RESUMED: Final = ("train", "scan-anomalies")
"""Commands that keep a record of a run, which a second try goes on with."""
_GRACE_SECONDS: Final = 90.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A command, and when it is due: at a time of every day, or of a weekday (0: Monday)."""

    at: time
    weekday: int | None
    words: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "Entry":
        """From ``Sun 02:00 train prophet``."""
        found = _ENTRY.fullmatch(text.strip())
        if found is None or int(found[2]) > 23 or int(found[3]) > 59:
            raise InvalidInput.at("WHEN COMMAND", f"is {text!r}; expected such as 'Sun 02:00 train prophet'")
        at = time(int(found[2]), int(found[3]), tzinfo=UTC)
        return cls(at, _DAYS.index(found[1]) if found[1] else None, tuple(shlex.split(found[4])))

    def after(self, moment: datetime) -> datetime:
        """When it is due next."""
        due = datetime.combine(moment.date(), self.at)
        while due <= moment or self.weekday not in (None, due.weekday()):
            due += timedelta(days=1)
        return due


def schedule(
    entries: Annotated[
        list[str],
        typer.Argument(metavar="'WHEN COMMAND'...", help="Such as '01:00 sync'; times are UTC."),
    ],
) -> None:
    """Run commands at their times, one after the other, until stopped: the night's work on one machine.

    One that is due while another runs waits for it. One that fails with status 1 is tried twice more, a minute later.

    Example: adsml schedule "01:00 sync" "Sun 02:00 train prophet" "03:00 train classifiers"
    """
    from adsml_common.training.signals import stop_on_signals  # noqa: PLC0415

    planned = [Entry.of(one) for one in entries]
    with stop_on_signals() as stop:
        due = {entry: entry.after(datetime.now(UTC)) for entry in planned}
        while True:
            entry = min(due, key=lambda one: due[one])
            _say(f"next: {shlex.join(entry.words)} at {due[entry]:%a %Y-%m-%d %H:%M} UTC")
            # In pieces: the machine may have slept, and its clock may be set.
            while (left := (due[entry] - datetime.now(UTC)).total_seconds()) > 0:
                if stop.wait(min(left, 30.0)):
                    return
            run_entry(entry, f"{due[entry]:%Y%m%dT%H%M}", stop)
            if stop.is_set():
                return
            due[entry] = entry.after(datetime.now(UTC))


def run_entry(entry: Entry, moment: str, stop: threading.Event, *, pause_seconds: float = 60.0) -> int:
    """Run a command, again while another try may help; its last exit status."""
    name = f"schedule-{'-'.join(entry.words[:2]).strip('-')}-{moment}"
    words = (*entry.words, "--request-id", name) if entry.words[0] in _RESUMED else entry.words
    status = int(Exit.FAILED)
    for attempt in range(1, _TRIES + 1):
        began = datetime.now(UTC)
        process = subprocess.Popen([sys.executable, "-m", "adsml_common.cli", *words], start_new_session=True)  # noqa: S603 - our own command
        while process.poll() is None:
            if stop.wait(0.5):
                process.terminate()
                try:
                    process.wait(_GRACE_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        status = process.returncode
        seconds = (datetime.now(UTC) - began).total_seconds()
        _say(
            f"{shlex.join(entry.words)}: exit status {status} after {seconds:.0f} s, try {attempt} of {_TRIES}"
        )
        if status != Exit.FAILED or stop.wait(pause_seconds if attempt < _TRIES else 0.0):
            break
    return status


def _say(line: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")
    sys.stderr.flush()
