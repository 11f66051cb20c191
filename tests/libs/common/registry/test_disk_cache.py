"""What may be lost at any time: damaged, read-only, in use elsewhere, and never a failure."""

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from adsml_common.registry.disk_cache import DiskCache


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "kept.db"


def test_nothing_is_made_before_something_is_kept(path: Path) -> None:
    kept = DiskCache(path)
    assert kept.get("a") is None
    kept.remove("a")
    assert not path.parent.exists()
    assert kept.put("a", b"1")
    assert kept.put("a", b"2\0")
    assert (kept.get("a"), DiskCache(path).get("a"), kept.get("b")) == (b"2\0", b"2\0", None)
    kept.remove("a")
    assert DiskCache(path).get("a") is None


@pytest.mark.parametrize("damage", [b"no database at all" * 100, b""])
def test_a_damaged_file_is_begun_anew(path: Path, damage: bytes) -> None:
    kept = DiskCache(path)
    kept.put("a", b"1")
    kept._forget()
    path.write_bytes(damage)
    assert kept.get("a") is None
    assert kept.put("a", b"2")
    assert DiskCache(path).get("a") == b"2"


def test_a_file_that_was_removed_is_made_again(path: Path) -> None:
    kept = DiskCache(path)
    kept.put("a", b"1")
    path.unlink()
    assert kept.get("a") is None
    assert kept.put("a", b"2")
    assert DiskCache(path).get("a") == b"2"


def test_what_another_process_holds_is_not_waited_for_long_and_said_once(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adsml_common.registry.disk_cache._WAIT_SECONDS", 0.01)
    kept = DiskCache(path)
    kept.put("a", b"1")
    with closing(sqlite3.connect(path, isolation_level=None)) as other, caplog.at_level(logging.WARNING):
        other.execute("BEGIN EXCLUSIVE")
        assert not kept.put("a", b"2")
        assert not kept.put("b", b"2")
        assert kept.get("a") == b"1"
        other.execute("ROLLBACK")
    assert len(caplog.records) == 1
    assert "locked" in caplog.text
    assert kept.put("a", b"2")


def test_threads_and_openings_share_it(path: Path) -> None:
    several = [DiskCache(path) for _ in range(4)]

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
    one = DiskCache(path, max_bytes=30)
    assert one.put("large", bytes(20))
    left = [key for n in range(4) for i in range(25) if one.get(key := f"{n}-{i}") is not None]
    assert len(left) <= 10
    assert one.get("large") is not None
    assert not one.put("too large", bytes(31))


def test_it_is_the_owners_alone(path: Path) -> None:
    cache = DiskCache(path)
    cache.put("a", b"1")
    assert {one.stat().st_mode & 0o777 for one in path.parent.iterdir()} == {0o600}


@pytest.fixture
def nobody() -> Iterator[None]:
    """Root may look into any folder."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_looked_into_is_no_cache_and_the_log_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o000)
    cache = DiskCache(locked / "cache" / "kept.db", max_bytes=1000)
    request.getfixturevalue("nobody")
    for _ in range(2):
        assert cache.get("a") is None
        assert cache.put("a", b"1") is False
        cache.remove("a")
    assert [one.message for one in caplog.records] == [
        f"nothing can be kept in {locked / 'cache' / 'kept.db'}: [Errno 13] Permission denied: "
        f"'{locked / 'cache' / 'kept.db'}'"
    ]
