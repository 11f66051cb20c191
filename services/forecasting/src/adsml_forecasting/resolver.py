"""Which registered models know of a series: tuned Prophet parameters and ensemble weights, nearest first."""

from dataclasses import dataclass

from adsml_common.domain.degradation import Degradation
from adsml_common.domain.entities import EntityType
from adsml_common.domain.metrics import Metric
from adsml_common.registry.loader import ModelLoader, ModelResolver
from adsml_common.registry.models import ModelVersion

from adsml_forecasting import registered
from adsml_forecasting.models.calibration import Calibration
from adsml_forecasting.models.prediction import NOTHING, LearnedModels
from adsml_forecasting.models.prophet.settings import DEFAULTS, Combination


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


NO_MODELS = ResolvedModels()


class SeriesModels:
    """Looks both kinds of models up by entity, then level, then account; without a loader defaults answer."""

    def __init__(self, loader: ModelLoader[registered.Model] | None) -> None:
        self._resolver = ModelResolver(loader, instead="the default members and parameters answered")

    def resolve(
        self, config_id: int, entity_type: EntityType | None, entity_id: str | None, column: str
    ) -> ResolvedModels:
        """What is known of a column of an entity; nothing without an account, or where nothing is trained for it."""
        if config_id < 1 or column == "reach":
            return NO_MODELS
        ensemble, prophet = (
            self._resolver.resolve(
                registered.names(family, config_id, entity_type, entity_id, Metric(column)), expected=False
            )
            for family in (registered.ENSEMBLE, registered.PROPHET)
        )
        calibration = ensemble.loaded.model if ensemble.loaded is not None else None
        combination = prophet.loaded.model if prophet.loaded is not None else None
        tuned = isinstance(combination, Combination)
        return ResolvedModels(
            LearnedModels(
                calibration if isinstance(calibration, Calibration) else None,
                combination if isinstance(combination, Combination) else DEFAULTS,
                tuned,
            ),
            ensemble.loaded.version if ensemble.loaded is not None else None,
            prophet.loaded.version if prophet.loaded is not None else None,
            (*ensemble.degradations, *prophet.degradations),
        )
