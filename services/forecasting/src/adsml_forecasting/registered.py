"""The family's registered models: names, contents, and which of them know of a series."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from adsml_common.domain.degradation import Degradation
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import ArtifactCorrupt
from adsml_common.domain.metrics import Metric
from adsml_common.registry.bundle import Bundle
from adsml_common.registry.loader import ModelLoader, ModelResolver
from adsml_common.registry.models import ModelVersion, model_name

from adsml_forecasting.models.calibration import Calibration
from adsml_forecasting.models.prediction import NOTHING, LearnedModels
from adsml_forecasting.models.prophet.settings import MODES, Combination

PROPHET: Final = "prophet"
ENSEMBLE: Final = "ensemble"
FAMILIES: Final = (PROPHET, ENSEMBLE)
Model = Combination | Calibration
_PROPHET_FILE: Final = "prophet.json"
_ENSEMBLE_FILE: Final = "calibration.json"


def files(model: Model, measured: dict[str, Any]) -> dict[str, bytes]:
    """The file of a calibrated ensemble, or of a tuned Prophet with what the tuning `measured`."""
    if isinstance(model, Calibration):
        name, data = _ENSEMBLE_FILE, model.as_json()
    else:
        name, data = _PROPHET_FILE, {"format": 1, **asdict(model), "measured": measured}
    return {name: json.dumps(data, sort_keys=True).encode()}


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
        scales = float(data["changepoint_prior_scale"]), float(data["seasonality_prior_scale"])
        if min(scales) <= 0 or data["seasonality_mode"] not in MODES:
            raise ValueError("a value is out of its range")
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactCorrupt(f"{version}: not tuned parameters: {error}") from error
    return Combination(
        changepoint_prior_scale=scales[0],
        seasonality_prior_scale=scales[1],
        seasonality_mode=data["seasonality_mode"],
    )


@dataclass(frozen=True, slots=True)
class ResolvedModels:
    """Models of one series and metric: what they say, which versions, and what could not be had."""

    learned: LearnedModels = NOTHING
    ensemble: ModelVersion | None = None
    prophet: ModelVersion | None = None
    degradations: tuple[Degradation, ...] = ()

    @property
    def versions(self) -> str:
        """Names and versions, as part of what an answer depends on."""
        return ",".join(str(one) for one in (self.ensemble, self.prophet) if one is not None)


class SeriesModels:
    """Looks both kinds of models up by entity, then level, then account; without a loader defaults answer."""

    def __init__(self, loader: ModelLoader[Model] | None) -> None:
        self._resolver = ModelResolver(loader, instead="the default members and parameters answered")

    def resolve(self, config_id: int, ref: EntityRef | None, column: str) -> ResolvedModels:
        """What is known of a column of an account's entity; nothing without one, or where nothing is trained for it."""
        if config_id < 1 or column == "reach":
            return ResolvedModels()
        owners: list[tuple[EntityType | None, str | None]] = [(None, None)]
        if ref is not None:
            owners = [(ref.entity_type, ref.entity_id), (ref.entity_type, None), *owners]
        ensemble, prophet = (
            self._resolver.resolve(
                [
                    model_name(family, config_id, kind, entity, Metric(column).value)
                    for kind, entity in owners
                ],
                expected=False,
            )
            for family in (ENSEMBLE, PROPHET)
        )
        calibration, combination = (one.loaded and one.loaded.model for one in (ensemble, prophet))
        return ResolvedModels(
            LearnedModels(
                calibration if isinstance(calibration, Calibration) else None,
                combination if isinstance(combination, Combination) else None,
            ),
            None if ensemble.loaded is None else ensemble.loaded.version,
            None if prophet.loaded is None else prophet.loaded.version,
            (*ensemble.degradations, *prophet.degradations),
        )
