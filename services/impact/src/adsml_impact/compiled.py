"""Compiling of numerical loops: numba, with its cache on disk where the disk lets it."""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

_F = TypeVar("_F", bound=Callable[..., object])


def compiled(function: _F) -> _F:
    """The function, compiled on its first call; it lets other threads run meanwhile.

    The machine code is kept beside the module, in ``NUMBA_CACHE_DIR`` or in the user's cache folder,
    whichever can be written; where none can (a read-only container), every process compiles anew.
    """
    try:
        return cast("_F", numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # numba's "no locator available": nowhere to keep the cache
        return cast("_F", numba.njit(nogil=True)(function))
