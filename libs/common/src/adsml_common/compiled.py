"""Compiling by numba, with a cache on disk that survives a read-only file system and an upgrade.

Needs the extra ``compiled``. Numba's own cache refuses a directory it can't write to even when everything is in it
already, fails the call whose result it can't keep, and keys a function by the contents of its own file only, so
that one whose helpers or constants changed elsewhere is served stale. Here a directory that was filled before will
do (``NUMBA_CACHE_DIR`` of an image that was filled when it was built), functions are keyed by every module of
ours that theirs imports from, and where nothing can be kept, that is said once and functions are compiled anew.
"""

import ast
import functools
import hashlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast

import numba
from numba.core import caching

_F = TypeVar("_F", bound=Callable[..., Any])
_OURS: Final = "adsml_"
_LOG = logging.getLogger(__name__)


def compiled(function: _F, *, error_model: Literal["python", "numpy"] = "python") -> _F:
    """The function, compiled on its first call; it lets other threads run meanwhile, and is cached on disk.

    No `fastmath`: sums are taken in the order written, so that results depend neither on how wide the machine's
    vectors are nor on threads. Division by zero is an exception or, by the faster `error_model` ``numpy``, infinity
    or NaN.
    """
    dispatcher = numba.njit(nogil=True, error_model=error_model)(function)
    try:
        # What `cache=True` does, with our cache.
        vars(dispatcher)["_cache"] = _Cache(function)  # type: ignore[no-untyped-call]
    except RuntimeError:  # numba's "no locator available"
        _say("no folder to keep it in can be written")
    return cast("_F", dispatcher)


@functools.cache
def _say(reason: str) -> None:
    _LOG.warning(
        "compiled code is not kept: %s; every process compiles anew, tens of seconds late. "
        "Set NUMBA_CACHE_DIR to a folder that can be written, or that was filled when the image was built",
        reason,
    )


@functools.cache
def _imports(file: Path) -> tuple[bytes, tuple[str, ...]]:
    """Checksum of a module, and which modules of ours its top level may take something from."""
    source = file.read_bytes()
    names: list[str] = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(_OURS):
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return hashlib.sha256(source).digest(), tuple(names)


@functools.cache
def _stamp(file: Path) -> bytes:
    """Of a module and all of ours that it imports, directly or not: they are imported when it compiles."""
    found: dict[Path, bytes] = {}
    open_ = [file]
    while open_:
        one = open_.pop()
        if one in found:
            continue
        found[one], names = _imports(one)
        modules = (sys.modules.get(name) for name in names)
        open_ += [Path(module.__file__) for module in modules if module is not None and module.__file__]
    return hashlib.sha256(b"".join(found[one] for one in sorted(found))).digest()


class _MayBeReadOnly:
    """For a locator of numba's: a directory that was filled will do, and the stamp covers every source."""

    def ensure_cache_path(self) -> None:
        try:
            cast("Any", super()).ensure_cache_path()
        except OSError:
            if not any(Path(cast("Any", self).get_cache_path()).glob("*.nbi")):
                raise

    def get_source_stamp(self) -> bytes:
        return _stamp(Path(cast("Any", self)._py_file))


class _CacheImplementation(caching.CompileResultCacheImpl):
    # The folder that was given, the one beside the source, the user's.
    _locator_classes = [  # noqa: RUF012  # numba's attribute
        type(one.__name__, (_MayBeReadOnly, one), {})  # type: ignore[misc]
        for one in (
            caching.UserProvidedCacheLocator,
            caching.InTreeCacheLocator,
            caching.UserWideCacheLocator,
        )
    ]


class _Cache(caching.FunctionCache):
    _impl_class = _CacheImplementation

    def save_overload(self, sig: Any, data: Any) -> None:
        # Not being able to keep what was compiled costs the next process seconds, never this one its result.
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except OSError as error:
            _say(f"{self.cache_path} can't be written ({error.strerror or type(error).__name__})")
