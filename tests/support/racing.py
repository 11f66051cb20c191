"""Registers and activates versions of one name as fast as it can: to be run twice at once."""

from pathlib import Path

from adsml_common.database import Database
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.registry import ModelRegistry

from support.models import NAME, candidate


def race(url: str, folder: str, racer: str, count: int) -> None:
    """Wait for the signal, then race."""
    root = Path(folder)
    database = Database.open(url)
    database.ping()
    registry = ModelRegistry(database, ArtifactStore(str(root / "artifacts"), cache_dir=root / racer))
    (root / f"ready-{racer}").touch()
    while not (root / "go").exists():
        pass
    for i in range(count):
        made = registry.register(candidate(i, run_id=f"{racer}/{i}"))
        registry.activate(NAME, made.version, actor=racer, reason="racing")
