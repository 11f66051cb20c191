"""`adsml schedule`: when commands are due, that they run one by one, and are tried again where that may help."""

import subprocess
import sys
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from adsml_common.cli import schedule
from adsml_common.cli.schedule import Entry, run_entry
from adsml_common.domain.errors import InvalidInput


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("entry", "now", "due"),
    [
        ("01:00 sync", "2026-11-29T00:59", "2026-11-29T01:00"),
        ("01:00 sync", "2026-11-29T01:00", "2026-11-30T01:00"),
        ("23:59 sync", "2026-12-31T23:59:30", "2027-01-01T23:59"),
        # The 29th is a Sunday.
        ("Sun 02:00 train prophet", "2026-11-29T01:00", "2026-11-29T02:00"),
        ("Sun 02:00 train prophet", "2026-11-29T02:00", "2026-12-06T02:00"),
        ("Mon 02:00 train prophet", "2026-11-29T02:00", "2026-11-30T02:00"),
    ],
)
def test_when_a_command_is_due(entry: str, now: str, due: str) -> None:
    assert Entry.of(entry).after(at(now)) == at(due)


def test_a_command_is_split_as_a_shell_does() -> None:
    assert Entry.of("06:00 report --all --output '/var/lib/my pages'").words == (
        "report", "--all", "--output", "/var/lib/my pages",
    )  # fmt: skip


@pytest.mark.parametrize(
    "wrong", ["sync", "1:00 sync", "24:00 sync", "01:60 sync", "Sunday 02:00 sync", "01:00 "]
)
def test_what_is_no_time_is_named(wrong: str) -> None:
    with pytest.raises(InvalidInput, match="expected such as"):
        Entry.of(wrong)


class Commands:
    """Stands in for the command: ends with one status after the other."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.words: list[list[str]] = []

    def __call__(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        self.words.append(command[3:])
        return subprocess_popen(
            [sys.executable, "-c", f"raise SystemExit({self.statuses.pop(0)})"], **options
        )


subprocess_popen = subprocess.Popen


@pytest.mark.parametrize(
    ("statuses", "last", "tries"),
    [((0,), 0, 1), ((1, 0), 0, 2), ((1, 1, 1), 1, 3), ((42,), 42, 1), ((4,), 4, 1), ((1, 42), 42, 2)],
)
def test_one_that_failed_is_tried_again_where_that_may_help(
    statuses: tuple[int, ...], last: int, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = Commands(*statuses)
    monkeypatch.setattr(schedule.subprocess, "Popen", commands)
    ended = run_entry(Entry.of("03:00 train prophet"), "20261129T0300", threading.Event(), pause_seconds=0.0)
    assert (ended, len(commands.words)) == (last, tries)
    # The second try goes on with the run of the first.
    assert {tuple(words) for words in commands.words} == {
        ("train", "prophet", "--request-id", "schedule-train-prophet-20261129T0300")
    }


def test_asked_to_stop_it_stops_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()

    def sleeper(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess_popen([sys.executable, "-c", "import time; time.sleep(600)"], **options)
        stop.set()
        return process

    monkeypatch.setattr(schedule.subprocess, "Popen", sleeper)
    assert run_entry(Entry.of("01:00 sync"), "20261129T0100", stop) == -15


def test_as_a_command_it_says_what_comes_next_and_leaves_on_sigterm() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "adsml_common.cli", "schedule", "01:00 sync"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = process.stderr.readline()
        process.terminate()
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert "next: sync at" in said
    assert said.rstrip().endswith("01:00 UTC")
    assert process.returncode == 0
