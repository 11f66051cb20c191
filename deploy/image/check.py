"""Run while an image is built: can everything that it is for be imported? ``--compile`` compiles kernels too."""

import importlib
import os
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pkgutil import walk_packages

# What each is for, and what of it is loaded late.
MODULES = ("adsml_common.cli.main", "adsml_common.database", "adsml_common.migrations", "psycopg")
OF_IMAGE = {
    "launcher": ("adsml_common.training.launcher", "kubernetes"),
    "ingest": ("adsml_ingest.cli", "pyarrow"),
    "report": ("adsml_report.cli", "adsml_ingest.cli", "pyarrow"),
}
NOT_EVERYWHERE = ("adsml_report", "adsml_ingest", "adsml_simulate")
"""What parts of a family are for people, and need a distribution that its image may not have."""


def load(name: str) -> None:
    """Import a module, unless it needs what is not for this image."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in NOT_EVERYWHERE:
            raise


def main() -> None:
    """Import, and compile where asked to."""
    for name in (*MODULES, *OF_IMAGE.get(os.environ.get("ADSML_IMAGE", ""), ())):
        importlib.import_module(name)
    for entry in entry_points(group="adsml.families"):
        package = importlib.import_module(f"adsml_{entry.name}")
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                load(module.name)
    if find_spec("s3fs") is not None:
        importlib.import_module("s3fs")
    if "--compile" in sys.argv:
        for entry in entry_points(group="adsml.kernels"):
            entry.load()()
    unwanted = [name for name in ("adsml_simulate", "pytest") if find_spec(name) is not None]
    if unwanted:
        raise SystemExit(f"not to be in an image: {', '.join(unwanted)}")


if __name__ == "__main__":
    main()
