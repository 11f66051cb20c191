"""Which registered model answers: the nearest of several names, and what has to be said where one is missing."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Generic, TypeVar

from adsml_common.domain.degradation import Degradation, DegradationReason, Dependency
from adsml_common.domain.errors import ArtifactCorrupt, Unavailable
from adsml_common.registry.loader import Loaded, ModelLoader

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ResolvedModel(Generic[T]):
    """The model that answers, None where there is none, and what an answer with or without it has to say."""

    loaded: Loaded[T] | None
    degradations: tuple[Degradation, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelResolver(Generic[T]):
    """Resolves names to models; threads share it. Without a loader there is no registry, and nothing is said.

    `instead` says what answers where no model does, as the end of a sentence: ``"the rule was used instead"``.
    """

    loader: ModelLoader[T] | None
    _: KW_ONLY
    instead: str

    def resolve(self, names: Sequence[str], *, expected: bool = True) -> ResolvedModel[T]:
        """The first of these names, nearest first, that has a usable model.

        A model that is registered and can't be used is told of always; that none is registered where one is
        `expected`.
        """
        if self.loader is None or not names:
            return ResolvedModel(None)
        notes: list[Degradation] = []
        for name in names:
            try:
                loaded = self.loader.get(name)
            except ArtifactCorrupt as error:
                notes.append(self._note(name, DegradationReason.CORRUPT, error.message))
                continue
            except Unavailable as error:
                # The others are in the same registry.
                notes.append(self._note(name, DegradationReason.UNAVAILABLE, error.message))
                break
            if loaded is not None:
                return ResolvedModel(loaded, (*notes, *loaded.degradations))
        if expected and not notes:
            notes.append(self._note(names[0], DegradationReason.NO_MODEL, "none is registered and active"))
        return ResolvedModel(None, tuple(notes))

    def _note(self, name: str, reason: DegradationReason, detail: str) -> Degradation:
        return Degradation(Dependency.MODEL, reason, f"model {name}: {detail}; {self.instead}", name=name)
