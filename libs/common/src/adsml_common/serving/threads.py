"""How many threads the numeric libraries may use: as many as there are processors to run them.

Imports nothing of ours or anyone's, so that it can run first.
"""

import os
import sys
from pathlib import Path
from typing import Final

VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
_READ_AT_IMPORT: Final = ("numpy", "scipy", "numba", "xgboost", "sklearn")
_CGROUP: Final = Path("/sys/fs/cgroup")
_GIVEN: Final = "ADSML_CPUS"


def cpu_limit(cgroup: Path = _CGROUP) -> int:
    """How many processors this process may keep busy, at least 1.

    What ``ADSML_CPUS`` says: a container without a limit may run on all of a machine, but has asked for a part of it.
    Else the smaller of those it may run on and, rounded up, those its control group (version 2, else 1) pays for: a
    container's limit does not show in ``os.cpu_count()``.
    """
    given = os.environ.get(_GIVEN, "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return usable if quota is None else max(1, min(usable, quota))


def pin_threads(count: int | None = None) -> int:
    """Tell OpenMP, BLAS and Numba how many threads to use, and return it; what the environment says stands.

    Raises `RuntimeError` where a library that reads its setting once has been imported already.
    """
    late = [name for name in _READ_AT_IMPORT if name in sys.modules]
    if late:
        raise RuntimeError(f"{', '.join(late)} came before pin_threads, which then has no effect")
    threads = count or cpu_limit()
    for name in VARIABLES:
        os.environ.setdefault(name, str(threads))
    return threads


def _quota(cgroup: Path) -> int | None:
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if quota in {"max", "-1"}:
        return None
    return max(1, -(-int(quota) // int(period)))
