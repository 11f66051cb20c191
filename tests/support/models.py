"""Candidates and readers of models for tests of the registry."""

from typing import Any

from adsml_common.domain.errors import ArtifactCorrupt
from adsml_common.registry.bundle import Bundle
from adsml_common.registry.models import Candidate, ModelVersion
from adsml_common.registry.registry import ModelRegistry

NAME = "classifier/1/adset"


def candidate(value: int = 0, *, name: str = NAME, **changes: Any) -> Candidate:
    """A model that is one number."""
    return Candidate(name, "number", 1, {"value.json": str(value).encode()}, **changes)


def value_of(version: ModelVersion, bundle: Bundle) -> int:
    """Parse what `candidate` makes; a negative one is no model."""
    value = int(bundle.json("value.json"))
    if value < 0:
        raise ArtifactCorrupt(f"{version} is negative")
    return value


def activated(registry: ModelRegistry, value: int, *, name: str = NAME) -> ModelVersion:
    """Register and activate a version."""
    version = registry.register(candidate(value, name=name))
    return registry.activate(name, version.version, actor="test", reason=f"value {value}")
