"""Compiled code comes from a cache that may be read-only, never from a stale one, and not being kept is said."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HELPER = """
FACTOR = 2.0
"""
MODULE = """
from adsml_common.compiled import compiled
from adsml_test_helper import FACTOR

@compiled
def scaled(x: float) -> float:
    return FACTOR * x
"""

# Root may write anywhere, so a read-only file system is played: nothing new can be opened for writing.
READ_ONLY = """
import builtins, errno, tempfile
real_open = builtins.open
def refusing_open(file, mode="r", *args, **kwargs):
    if "w" in mode:
        raise OSError(errno.EROFS, "Read-only file system")
    return real_open(file, mode, *args, **kwargs)
def refuse(*_args, **_kwargs):
    raise OSError(errno.EROFS, "Read-only file system")
builtins.open = refusing_open
tempfile.TemporaryFile = refuse
"""

CALL = """
from scaling import scaled
print(scaled(21.0), sum(scaled.stats.cache_hits.values()))
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A folder with a compiled function and a module that it takes a constant from."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "adsml_test_helper.py").write_text(HELPER)
    (folder / "scaling.py").write_text(MODULE)
    return folder


def run(code: Path, cache: Path, program: str) -> tuple[float, int, str]:
    """Result, hits of the cache and what was said, by a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "NUMBA_CACHE_DIR": str(cache),
            "PYTHONPATH": str(code),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    result, hits = done.stdout.split()
    return float(result), int(hits), done.stderr


def test_a_filled_cache_is_used_from_a_read_only_file_system_and_never_when_stale(
    code: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    assert run(code, cache, CALL) == (42.0, 0, "")
    assert run(code, cache, READ_ONLY + CALL) == (42.0, 1, "")
    # What the function takes from another module is part of its machine code; numba alone would not notice.
    (code / "adsml_test_helper.py").write_text("FACTOR = 3.0\n")
    result, hits, said = run(code, cache, READ_ONLY + CALL)
    assert (result, hits) == (63.0, 0)
    assert "can't be written (Read-only file system)" in said
    assert said.count("NUMBA_CACHE_DIR") == 1


def test_without_any_cache_it_is_compiled_all_the_same_and_that_is_said(code: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    result, hits, said = run(code, cache, READ_ONLY + CALL)
    assert (result, hits) == (42.0, 0)
    assert "compiled code is not kept: no folder to keep it in can be written" in said
    assert not [path for path in cache.rglob("*") if path.is_file()]
