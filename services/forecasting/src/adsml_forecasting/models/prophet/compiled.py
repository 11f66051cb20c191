"""How the kernels of Prophet's posterior are compiled: as everything here, with a division by zero as in numpy."""

from collections.abc import Callable
from typing import Any, TypeVar

from adsml_common import compiled as common

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """As of `adsml_common.compiled.compiled`: infinity or NaN where a search steps too far, and no check for it."""
    return common.compiled(function, error_model="numpy")
