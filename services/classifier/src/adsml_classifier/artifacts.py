"""Models from the registry's bundles."""

from adsml_common.registry.bundle import Bundle
from adsml_common.registry.models import ModelVersion

from adsml_classifier.model_files import StoredModel, from_files


def parse(version: ModelVersion, bundle: Bundle) -> StoredModel:
    """What a version's bundle holds.

    Raises
    ------
    ArtifactCorrupt
        Damaged, or learnt from other features than this version computes.
    """
    return from_files(bundle.files)
