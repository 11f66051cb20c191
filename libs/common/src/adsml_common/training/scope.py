"""What a training run covers, in the one form that commands, services and records share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adsml_common.domain.entities import EntityType
from adsml_common.training.runs import TrainingRuns


@dataclass(frozen=True, slots=True)
class Scope:
    """The entities a run covers; empty: every entity of every account.

    Attributes
    ----------
    config_ids
        Only these accounts.
    entity_type
        Only this level.
    entity_ids
        Only these entities; of one account and level.
    """

    config_ids: tuple[int, ...] = ()
    entity_type: EntityType | None = None
    entity_ids: tuple[str, ...] = ()

    def parameters(self) -> dict[str, Any]:
        """As a run's record holds it: the same for the same entities, in whatever order they were named."""
        return {
            "config_ids": sorted(set(self.config_ids)),
            "entity_type": None if self.entity_type is None else self.entity_type.value,
            "entity_ids": sorted(set(self.entity_ids)),
        }

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> "Scope":
        """The scope in a run's record."""
        level = parameters.get("entity_type")
        return cls(
            config_ids=tuple(parameters.get("config_ids") or ()),
            entity_type=EntityType(level) if level else None,
            entity_ids=tuple(parameters.get("entity_ids") or ()),
        )


def scope_of(runs: TrainingRuns, job: str, request_id: str, *, given: Scope) -> Scope:
    """The scope of a job's run: as recorded where the request has started it before, else as given.

    So a process that a service started needs the request id alone, and one that is started again covers what
    it covered before.
    """
    run = runs.find(job, request_id)
    return given if run is None else Scope.of(run.parameters)
