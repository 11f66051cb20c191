"""What a family needs to train, opened in each process that does."""

from collections.abc import Callable
from dataclasses import dataclass

from adsml_common.database import Database
from adsml_common.registry.registry import ModelRegistry
from adsml_common.settings import Settings
from adsml_common.training.attempt import TrainOne

_CONNECTIONS = 2


@dataclass(frozen=True, slots=True)
class TrainingContext:
    """Open stores, and the run that models are to be registered under."""

    database: Database
    registry: ModelRegistry
    run_id: str


def open_trainer(settings: Settings, run_id: str, trainer: Callable[[TrainingContext], TrainOne]) -> TrainOne:
    """The trainer of one process, on connections of its own; `trainer` must survive pickling."""
    database = Database.open(settings.database_url, pool_size=_CONNECTIONS)
    registry = ModelRegistry.open(database, settings)
    return trainer(TrainingContext(database, registry, run_id))
