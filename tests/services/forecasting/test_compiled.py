"""Compiled code comes from a cache that may be read-only, and never from a stale one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
from adsml_forecasting.compiled import compiled

@compiled
def twice(x: float) -> float:
    return 2.0 * x
"""

# Root may write anywhere, so a read-only file system is played: nothing new can be opened in the directory.
READ_ONLY = """
import builtins, errno, os, tempfile
real_open = builtins.open
def refusing_open(file, mode="r", *args, **kwargs):
    if "w" in mode and str(file).startswith(os.environ["NUMBA_CACHE_DIR"]):
        raise OSError(errno.EROFS, "Read-only file system")
    return real_open(file, mode, *args, **kwargs)
def refuse(*_args, **_kwargs):
    raise OSError(errno.EROFS, "Read-only file system")
builtins.open = refusing_open
tempfile.TemporaryFile = refuse
"""

CALL = """
from doubling import twice
assert twice(21.0) == 42.0
print(sum(twice.stats.cache_hits.values()))
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "code" / "doubling.py"
    path.parent.mkdir()
    path.write_text(MODULE)
    return path


def run(module: Path, cache: Path, program: str) -> int:
    """Hits of the cache, by a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "NUMBA_CACHE_DIR": str(cache),
            "PYTHONPATH": str(module.parent),
            "HOME": str(cache),
        },
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return int(done.stdout)


def test_a_filled_cache_is_used_from_a_read_only_file_system(module: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert run(module, cache, CALL) == 0
    assert run(module, cache, CALL) == 1
    assert run(module, cache, READ_ONLY + CALL) == 1


def test_without_any_cache_it_is_compiled_all_the_same(module: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    assert run(module, cache, READ_ONLY + CALL) == 0
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_what_cannot_be_stored_is_used_unstored(module: Path, tmp_path: Path) -> None:
    """A filled cache, but of another processor, on a read-only file system."""
    cache = tmp_path / "cache"
    assert run(module, cache, CALL) == 0
    other = 'import os; os.environ["NUMBA_CPU_NAME"] = "generic"\n'
    assert run(module, cache, other + READ_ONLY + CALL) == 0


def test_a_change_in_any_compiled_module_makes_all_anew(module: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert run(module, cache, CALL) == 0
    upgraded = "import adsml_forecasting.compiled as c; c._stamp = lambda: b'another release'\n"
    assert run(module, cache, upgraded + CALL) == 0
    assert run(module, cache, upgraded + CALL) == 1
