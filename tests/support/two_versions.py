"""Registers two versions of a model that is one number, for a family that trains none: ``two_versions.py NAME``."""

import sys

from adsml_common.database import Database
from adsml_common.registry.models import Candidate
from adsml_common.registry.registry import ModelRegistry
from adsml_common.settings import Settings, load_settings

if __name__ == "__main__":
    name, settings = sys.argv[1], load_settings(Settings)
    database = Database.open(settings.database_url)
    registry = ModelRegistry.open(database, settings)
    for value in (b"1", b"2"):
        version = registry.register(Candidate(name, "number", 1, {"value.json": value}))
        registry.activate(name, version.version, actor="fuzz", reason="to go back from")
    database.close()
