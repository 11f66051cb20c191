"""Names and contents of the family's registered models."""

import json
from dataclasses import asdict
from typing import Any, Final

from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import ArtifactCorrupt
from adsml_common.domain.metrics import Metric
from adsml_common.registry.bundle import Bundle
from adsml_common.registry.models import ModelVersion, model_name

from adsml_forecasting.models.calibration import Calibration
from adsml_forecasting.models.prophet.settings import MODES, Combination

PROPHET: Final = "prophet"
ENSEMBLE: Final = "ensemble"
FAMILIES: Final = (PROPHET, ENSEMBLE)
Model = Combination | Calibration
_PROPHET_FILE: Final = "prophet.json"
_ENSEMBLE_FILE: Final = "calibration.json"


def names(
    family: str, config_id: int, entity_type: EntityType | None, entity_id: str | None, metric: Metric
) -> list[str]:
    """Where to look for a model of an entity, nearest first: its own, its level's, its account's."""
    found: list[tuple[EntityType | None, str | None]] = [(None, None)]
    if entity_type is not None:
        found.insert(0, (entity_type, None))
        if entity_id:
            found.insert(0, (entity_type, entity_id))
    return [model_name(family, config_id, kind, entity, metric.value) for kind, entity in found]


def prophet_files(combination: Combination, measured: dict[str, Any]) -> dict[str, bytes]:
    """A tuned Prophet's file: the hyperparameters and what the tuning measured."""
    data = {"format": 1, **asdict(combination), "measured": measured}
    return {_PROPHET_FILE: json.dumps(data, sort_keys=True).encode()}


def ensemble_files(calibration: Calibration) -> dict[str, bytes]:
    """A calibrated ensemble's file."""
    return {_ENSEMBLE_FILE: json.dumps(calibration.as_json(), sort_keys=True).encode()}


def parse(version: ModelVersion, bundle: Bundle) -> Model:
    """What a registered model holds; `ArtifactCorrupt` where it is neither of ours, or of an unknown format."""
    if version.model_type == ENSEMBLE:
        try:
            return Calibration.from_json(bundle.json(_ENSEMBLE_FILE))
        except ValueError as error:
            raise ArtifactCorrupt(f"{version}: {error}") from error
    if version.model_type != PROPHET:
        raise ArtifactCorrupt(f"{version} is a {version.model_type!r}, no model of forecasting")
    data = bundle.json(_PROPHET_FILE)
    try:
        if data["format"] != 1:
            raise ValueError(f"format {data['format']} is not known")
        found = Combination(
            changepoint_prior_scale=float(data["changepoint_prior_scale"]),
            seasonality_prior_scale=float(data["seasonality_prior_scale"]),
            seasonality_mode=data["seasonality_mode"],
        )
        scales = (found.changepoint_prior_scale, found.seasonality_prior_scale)
        if min(scales) <= 0 or found.seasonality_mode not in MODES:
            raise ValueError("a value is out of its range")
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactCorrupt(f"{version}: not tuned parameters: {error}") from error
    return found
