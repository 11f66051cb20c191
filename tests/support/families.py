"""Every installed family's server, found by the entry points, on settings of a test."""

import importlib
import inspect
from pathlib import Path
from typing import Any

from adsml_common.cli import family
from adsml_common.serving.server import ServerBuilder
from adsml_common.serving.settings import ServingSettings


def servable() -> list[str]:
    """Families that are installed and have a server."""
    return [name for name in family.installed() if importlib.util.find_spec(f"adsml_{name}.server")]


def settings_of(name: str, *, database_url: str, folder: Path, **given: Any) -> ServingSettings:
    """A family's settings, on a free port."""
    module = importlib.import_module(f"adsml_{name}.settings")
    [kind] = [
        one
        for _, one in inspect.getmembers(module, inspect.isclass)
        if issubclass(one, ServingSettings) and one.__module__ == module.__name__
    ]
    return kind(
        ADSML_DATABASE_URL=database_url,
        ADSML_ARTIFACT_URL=str(folder / "artifacts"),
        ADSML_CACHE_DIR=folder / "cache",
        **{"port": 0, "drain_wait_seconds": 0, **given},
    )


def build(name: str, settings: ServingSettings) -> ServerBuilder:
    """A family's server, not started yet."""
    built: ServerBuilder = importlib.import_module(f"adsml_{name}.server").build(settings)
    return built
