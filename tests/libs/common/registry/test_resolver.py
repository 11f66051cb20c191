"""Which model answers, and what is said where the nearest one can't."""

import pytest
from adsml_common.domain.degradation import DegradationReason, Dependency
from adsml_common.domain.errors import ArtifactCorrupt, Unavailable
from adsml_common.registry.loader import Loaded, ModelResolver
from adsml_common.registry.registry import ModelRegistry
from support.models import NAME, activated, value_of

NAMES = ["family/1/adset/7", "family/1/adset", "family/1"]


class Loader:
    """Gives what is set down by name; an error is raised."""

    def __init__(self, **by_name):
        self.by_name = by_name
        self.asked = []

    def get(self, name):
        self.asked.append(name)
        found = self.by_name.get(name)
        if isinstance(found, Exception):
            raise found
        return found


def resolve(loader, **options):
    return ModelResolver(loader, instead="the rule was used instead").resolve(NAMES, **options)


def test_the_nearest_answers_and_nobody_further_is_asked(registry: ModelRegistry) -> None:
    version = activated(registry, 7)
    loaded = Loaded(value_of(version, registry.read(version)), version)
    loader = Loader(**{NAMES[1]: loaded})
    assert resolve(loader).loaded is loaded
    assert resolve(loader).degradations == ()
    assert loader.asked[:2] == NAMES[:2]
    assert NAMES[2] not in loader.asked


def test_a_broken_one_is_told_of_and_the_next_answers(registry: ModelRegistry) -> None:
    version = activated(registry, 7)
    loaded = Loaded(7, version)
    found = resolve(Loader(**{NAMES[0]: ArtifactCorrupt("damaged"), NAMES[2]: loaded}))
    assert found.loaded is loaded
    (told,) = found.degradations
    assert (told.dependency, told.name, told.reason) == (
        Dependency.MODEL,
        NAMES[0],
        DegradationReason.CORRUPT,
    )
    assert told.detail == f"model {NAMES[0]}: damaged; the rule was used instead"


def test_a_registry_that_does_not_answer_is_asked_once() -> None:
    loader = Loader(**dict.fromkeys(NAMES, Unavailable("the database is down")))
    found = resolve(loader)
    assert found.loaded is None
    assert [one.reason for one in found.degradations] == [DegradationReason.UNAVAILABLE]
    assert loader.asked == NAMES[:1]


@pytest.mark.parametrize(("expected", "reasons"), [(True, [DegradationReason.NO_MODEL]), (False, [])])
def test_none_at_all_is_said_where_one_was_expected(expected: bool, reasons: list[object]) -> None:
    assert [one.reason for one in resolve(Loader(), expected=expected).degradations] == reasons


def test_without_a_registry_there_is_nothing_to_say() -> None:
    assert ModelResolver(None, instead="").resolve([NAME]).degradations == ()
