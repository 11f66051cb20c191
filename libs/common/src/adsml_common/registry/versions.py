"""Which code and which libraries trained a model."""

import sys
from typing import Final

from adsml_common.version import UNKNOWN, version

# Import name and distribution of what can shape a model.
_LIBRARIES: Final = {
    "numpy": "numpy",
    "pandas": "pandas",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "xgboost": "xgboost",
    "prophet": "prophet",
    "statsforecast": "statsforecast",
    "numba": "numba",
}


def code_version() -> str:
    return version()


def library_versions() -> dict[str, str]:
    """Versions of Python and of those model libraries that this process has imported."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for module, distribution in _LIBRARIES.items():
        if module in sys.modules and (known := version(distribution)) != UNKNOWN:
            found[distribution] = known
    return found
