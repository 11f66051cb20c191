"""Which registered models know of a series: tuned Prophet parameters and ensemble weights, nearest first."""

from dataclasses import dataclass

from adsml_common.domain.degradation import Degradation, DegradationReason, Dependency
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import ArtifactCorrupt, Unavailable
from adsml_common.domain.metrics import Metric
from adsml_common.registry.loader import Loaded, ModelLoader
from adsml_common.registry.models import ModelVersion

from adsml_forecasting import registered
from adsml_forecasting.models.calibration import Calibration
from adsml_forecasting.models.prediction import NOTHING, LearnedModels
from adsml_forecasting.models.prophet.settings import DEFAULTS, Combination


@dataclass(frozen=True, slots=True)
class ResolvedModels:
    """Models of one series and metric.

    Attributes
    ----------
    learned
        What they say.
    ensemble, prophet
        Which versions; None for none.
    degradations
        What could not be had.
    """

    learned: LearnedModels = NOTHING
    ensemble: ModelVersion | None = None
    prophet: ModelVersion | None = None
    degradations: tuple[Degradation, ...] = ()

    @property
    def versions(self) -> str:
        """Names and versions, as part of what an answer depends on."""
        return ",".join(str(one) for one in (self.ensemble, self.prophet) if one is not None)


NO_MODELS = ResolvedModels()


class ModelResolver:
    """Looks models up by entity, then level, then account.

    Parameters
    ----------
    loader
        Of both kinds of models; None: there is no registry, defaults answer.
    """

    def __init__(self, loader: ModelLoader[registered.Model] | None) -> None:
        self._loader = loader

    def resolve(
        self, config_id: int, entity_type: EntityType | None, entity_id: str | None, column: str
    ) -> ResolvedModels:
        """What is known of a column of an entity; nothing without an account, or of a column that nothing is
        trained for.
        """
        if self._loader is None or config_id < 1 or column == "reach":
            return NO_MODELS
        metric = Metric(column)
        notes: list[Degradation] = []
        ensemble = self._find(registered.ENSEMBLE, config_id, entity_type, entity_id, metric, notes)
        prophet = self._find(registered.PROPHET, config_id, entity_type, entity_id, metric, notes)
        calibration = ensemble.model if ensemble is not None else None
        combination = prophet.model if prophet is not None else None
        return ResolvedModels(
            LearnedModels(
                calibration=calibration if isinstance(calibration, Calibration) else None,
                combination=combination if isinstance(combination, Combination) else DEFAULTS,
                tuned=isinstance(combination, Combination),
            ),
            ensemble.version if ensemble is not None else None,
            prophet.version if prophet is not None else None,
            tuple(notes),
        )

    def _find(
        self,
        family: str,
        config_id: int,
        entity_type: EntityType | None,
        entity_id: str | None,
        metric: Metric,
        notes: list[Degradation],
    ) -> Loaded[registered.Model] | None:
        loader = self._loader
        if loader is None:
            return None
        for name in registered.names(family, config_id, entity_type, entity_id, metric):
            try:
                loaded = loader.get(name)
            except ArtifactCorrupt as error:
                notes.append(Degradation(Dependency.MODEL, DegradationReason.CORRUPT, error.message, name))
                continue
            except Unavailable as error:
                notes.append(
                    Degradation(Dependency.MODEL, DegradationReason.UNAVAILABLE, error.message, name)
                )
                return None
            if loaded is not None:
                notes.extend(loaded.degradations)
                return loaded
        return None
