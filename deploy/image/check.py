"""Run while an image is built: can everything that it is for be imported? ``--compile`` compiles kernels too."""

import importlib
import os
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec

# What each is for, and what of it is loaded late.
MODULES = ("adsml_common.cli.main", "adsml_common.database", "adsml_common.migrations", "psycopg")
OF_IMAGE = {
    "launcher": ("adsml_common.training.launcher", "kubernetes"),
    "ingest": ("adsml_ingest.cli", "pyarrow"),
    "report": ("adsml_report.cli",),
}
OF_A_SERVICE = ("server", "service", "training")


def main() -> None:
    """Import, and compile where asked to."""
    for name in (*MODULES, *OF_IMAGE.get(os.environ.get("ADSML_IMAGE", ""), ())):
        importlib.import_module(name)
    families = [entry.name for entry in entry_points(group="adsml.families")]
    for family in families:
        for module in OF_A_SERVICE:
            if find_spec(f"adsml_{family}.{module}") is not None:
                importlib.import_module(f"adsml_{family}.{module}")
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
