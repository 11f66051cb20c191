"""The version of the code that runs, for answers, models and logs."""

from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _distribution_version
from typing import Final

UNKNOWN: Final = "unknown"


# Reading a distribution's metadata takes milliseconds: more than all else that registering a model takes.
@cache
def version(distribution: str = "adsml-common") -> str:
    """The installed version of a distribution; ``"unknown"`` when it runs from a bare source tree."""
    try:
        return _distribution_version(distribution)
    except PackageNotFoundError:
        return UNKNOWN
