"""Models from the registry's bundles."""

from adsml_common.registry.bundle import Bundle
from adsml_common.registry.models import ModelVersion

from adsml_anomaly.model import SeriesModel
from adsml_anomaly.model_files import from_files


def parse(version: ModelVersion, bundle: Bundle) -> SeriesModel:
    """What a version's bundle holds.

    Raises
    ------
    ArtifactCorrupt
        Damaged, or trained on other features than this version computes.
    """
    return from_files(bundle.files)
