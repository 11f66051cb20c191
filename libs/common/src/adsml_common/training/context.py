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
    """What training stands on.

    Attributes
    ----------
    database, registry
        Open ones.
    run_id
        The run that models are to be registered under.
    """

    database: Database
    registry: ModelRegistry
    run_id: str


@dataclass(frozen=True, slots=True)
class TrainerFactory:
    """Opens a training context and makes the trainer in it: what `adsml_common.training.workers.Workers` call.

    Attributes
    ----------
    settings
        Where database and artifacts are.
    run_id
        As in `TrainingContext`.
    trainer
        Makes the function that trains one item; must survive pickling.
    """

    settings: Settings
    run_id: str
    trainer: Callable[[TrainingContext], TrainOne]

    def __call__(self) -> TrainOne:
        """The trainer of one process, on connections of its own."""
        database = Database.open(self.settings.database_url, pool_size=_CONNECTIONS)
        registry = ModelRegistry.open(database, self.settings)
        return self.trainer(TrainingContext(database, registry, self.run_id))
