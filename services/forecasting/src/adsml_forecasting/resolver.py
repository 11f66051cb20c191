"""What the registry knows of a series: tuned Prophet parameters and ensemble weights, nearest first."""

from dataclasses import dataclass

from adsml_common.domain.degradation import Degradation, DegradationReason
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import ArtifactCorrupt, Unavailable
from adsml_common.domain.metrics import RATIOS, Metric
from adsml_common.registry.loader import Loaded, ModelLoader
from adsml_common.registry.models import ModelVersion

from adsml_forecasting import registered
from adsml_forecasting.models.calibration import Calibration
from adsml_forecasting.models.prediction import NOTHING, Learned
from adsml_forecasting.models.prophet.settings import DEFAULTS, Combination


@dataclass(frozen=True, slots=True)
class Known:
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

    learned: Learned = NOTHING
    ensemble: ModelVersion | None = None
    prophet: ModelVersion | None = None
    degradations: tuple[Degradation, ...] = ()


class Knowledge:
    """Looks models up by entity, then level, then account.

    Parameters
    ----------
    loader
        Of both kinds of models; None: there is no registry, defaults answer.
    """

    def __init__(self, loader: ModelLoader[registered.Model] | None) -> None:
        self._loader = loader

    def of(
        self, config_id: int, entity_type: EntityType | None, entity_id: str | None, metric: Metric
    ) -> Known:
        """What is known of one series; nothing without an account."""
        if self._loader is None or config_id < 1:
            return Known()
        notes: list[Degradation] = []
        ensemble = self._find(registered.ENSEMBLE, config_id, entity_type, entity_id, metric, notes)
        prophet = self._find(registered.PROPHET, config_id, entity_type, entity_id, metric, notes)
        calibration = ensemble.model if ensemble is not None else None
        combination = prophet.model if prophet is not None else None
        return Known(
            Learned(
                calibration=calibration if isinstance(calibration, Calibration) else None,
                combination=combination if isinstance(combination, Combination) else DEFAULTS,
                tuned=isinstance(combination, Combination),
            ),
            ensemble.version if ensemble is not None else None,
            prophet.version if prophet is not None else None,
            tuple(notes),
        )

    def parts(
        self, config_id: int, entity_type: EntityType | None, entity_id: str | None, metric: Metric
    ) -> tuple[Known, ...]:
        """What is known of a ratio's numerator and denominator; empty for what is none."""
        ratio = RATIOS.get(metric)
        names = () if ratio is None else (ratio.numerator, ratio.denominator)
        # Reach is a column, but no metric that anything is trained for.
        return tuple(
            Known() if name == "reach" else self.of(config_id, entity_type, entity_id, Metric(name))
            for name in names
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
                found = loader.get(name)
            except ArtifactCorrupt as error:
                notes.append(Degradation(f"model {name}", DegradationReason.CORRUPT, error.message))
                continue
            except Unavailable as error:
                notes.append(Degradation(f"model {name}", DegradationReason.UNAVAILABLE, error.message))
                return None
            if found is not None:
                notes.extend(found.degradations)
                return found
        return None
