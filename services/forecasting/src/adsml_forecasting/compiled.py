"""Compiling by numba, with a cache on disk that survives a read-only file system and an upgrade.

Numba's own cache wants a directory it can write to even when everything is in it already, and keys a function
by the contents of its own file only, so that one whose helpers changed elsewhere is served stale. Here a
directory that was filled before will do (an image whose `NUMBA_CACHE_DIR` was filled when it was built: see
`adsml_forecasting.prophet_map.warm`), and functions are keyed by the contents of every module that has any.

Where nothing is cached and nothing can be, functions are compiled anew in each process: tens of seconds late,
with the same results.
"""

import contextlib
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import caching

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Every module with functions made by `compiled`: a change in one of them makes all of them anew.
SOURCES = (
    "compiled.py",
    "prophet_posterior.py",
    "sparse_quadratic.py",
    "prophet_newton.py",
    "prophet_grid.py",
)


@functools.cache
def _stamp() -> bytes:
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.digest()


class _MayBeReadOnly:
    """For a locator of numba's: a directory that was filled will do, and the stamp covers every source."""

    def ensure_cache_path(self) -> None:
        try:
            cast(Any, super()).ensure_cache_path()
        except OSError:
            if not any(Path(cast(Any, self).get_cache_path()).glob("*.nbi")):
                raise

    def get_source_stamp(self) -> bytes:
        return _stamp()


class _GivenDirectory(_MayBeReadOnly, caching.UserProvidedCacheLocator):
    """`NUMBA_CACHE_DIR`."""


class _BesideTheSource(_MayBeReadOnly, caching.InTreeCacheLocator):
    """`__pycache__`."""


class _OfTheUser(_MayBeReadOnly, caching.UserWideCacheLocator):
    """The user's cache directory."""


class _CacheImplementation(caching.CompileResultCacheImpl):
    _locator_classes = [_GivenDirectory, _BesideTheSource, _OfTheUser]  # noqa: RUF012  # numba's attribute


class _Cache(caching.FunctionCache):
    _impl_class = _CacheImplementation

    def save_overload(self, sig: Any, data: Any) -> None:
        # Not being able to keep what was compiled costs the next process seconds, never this one its result.
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


def compiled(function: _Function) -> _Function:
    """Compile a numerical function on its first call, to run without the interpreter's lock, cached on disk.

    No `fastmath`: sums are taken in the order written, so results depend neither on how wide the machine's
    vectors are nor on threads.
    """
    dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):  # no directory at all: "no locator available"
        # What `cache=True` does, with our cache.
        vars(dispatcher)["_cache"] = _Cache(function)  # type: ignore[no-untyped-call]
    return cast(_Function, dispatcher)
