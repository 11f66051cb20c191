"""What may be lost at any time: damaged, read-only, in use elsewhere, and never a failure."""

import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from adsml_common.registry.scratch import Scratch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "kept.db"


def test_nothing_is_made_before_something_is_kept(path: Path) -> None:
    kept = Scratch(path)
    assert kept.get("a") is None
    kept.remove("a")
    assert not path.parent.exists()
    assert kept.put("a", b"1")
    assert kept.put("a", b"2\0")
    assert (kept.get("a"), Scratch(path).get("a"), kept.get("b")) == (b"2\0", b"2\0", None)
    kept.remove("a")
    assert Scratch(path).get("a") is None


@pytest.mark.parametrize("damage", [b"no database at all" * 100, b""])
def test_a_damaged_file_is_begun_anew(path: Path, damage: bytes) -> None:
    kept = Scratch(path)
    kept.put("a", b"1")
    kept.close()
    path.write_bytes(damage)
    assert kept.get("a") is None
    assert kept.put("a", b"2")
    assert Scratch(path).get("a") == b"2"


def test_a_file_that_was_removed_is_made_again(path: Path) -> None:
    kept = Scratch(path)
    kept.put("a", b"1")
    path.unlink()
    assert kept.get("a") is None
    assert kept.put("a", b"2")
    assert Scratch(path).get("a") == b"2"


def test_what_another_process_holds_is_not_waited_for_long_and_said_once(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adsml_common.registry.scratch._WAIT_SECONDS", 0.01)
    kept = Scratch(path)
    kept.put("a", b"1")
    with closing(sqlite3.connect(path, isolation_level=None)) as other, caplog.at_level(logging.WARNING):
        other.execute("BEGIN EXCLUSIVE")
        assert not kept.put("a", b"2")
        assert kept.get("a") is None
        other.execute("ROLLBACK")
    assert len(caplog.records) == 1
    assert "locked" in caplog.text
    assert kept.get("a") == b"1"


def test_threads_and_openings_share_it(path: Path) -> None:
    several = [Scratch(path) for _ in range(4)]

    def work(number: int) -> None:
        for i in range(25):
            assert several[number].put(f"{number}-{i}", bytes([i]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert {several[0].get(f"{n}-{i}") for n in range(4) for i in range(25)} == {
        bytes([i]) for i in range(25)
    }
    assert several[1].trim(30) <= 30
