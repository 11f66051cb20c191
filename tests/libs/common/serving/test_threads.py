"""Threads of the numeric libraries."""

import os
import subprocess
import sys

import pytest
from adsml_common.serving.threads import VARIABLES, cpu_limit

USABLE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def run(code, **environment):
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**clean, **environment},
        check=False,
    )


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
)
def test_the_limit_is_the_smaller_of_processors_and_quota(tmp_path, files, limit):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_limit(tmp_path) == (USABLE if limit is None else min(limit, USABLE))


def test_libraries_imported_afterwards_see_the_number():
    done = run(
        "from adsml_common.serving.threads import pin_threads; print(pin_threads(3));"
        "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['OPENBLAS_NUM_THREADS'])"
    )
    assert done.stdout.split() == ["3", "3", "3"], done.stderr


def test_what_the_environment_says_stands():
    done = run(
        "from adsml_common.serving.threads import pin_threads; pin_threads(3);"
        "import os; print(os.environ['OMP_NUM_THREADS'])",
        OMP_NUM_THREADS="7",
    )
    assert done.stdout.split() == ["7"], done.stderr


def test_too_late_is_an_error_and_not_a_silence():
    done = run("import numpy; from adsml_common.serving.threads import pin_threads; pin_threads(3)")
    assert done.returncode != 0
    assert "numpy came before pin_threads" in done.stderr


@pytest.mark.parametrize(("given", "limit"), [("7", 7), ("0", USABLE), ("all", USABLE), ("", USABLE)])
def test_what_a_container_asked_for_counts_where_it_has_no_limit(tmp_path, monkeypatch, given, limit):
    monkeypatch.setenv("ADSML_CPUS", given)
    assert cpu_limit(tmp_path) == limit
