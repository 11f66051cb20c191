"""What a run covers: as a service was asked, as a command was told, as it was recorded."""

import pytest
from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import AlreadyExists
from adsml_common.training.records import Item
from adsml_common.training.runs import TrainingRuns
from adsml_common.training.scope import Scope, scope_of

CAMPAIGN, ADSET = EntityType.CAMPAIGN, EntityType.ADSET
ACCOUNT = Item("1", 1)
LEVEL = Item("1/adset", 1, ADSET)
ENTITIES = [Item(f"1/{kind}/{i}", 1, kind, str(i)) for kind in (CAMPAIGN, ADSET) for i in range(3)]


@pytest.mark.parametrize(
    ("scope", "keys"),
    [
        (Scope(), ["1", "1/adset", *(one.key for one in ENTITIES)]),
        (Scope(entity_type=ADSET), ["1", "1/adset", "1/adset/0", "1/adset/1", "1/adset/2"]),
        (Scope(entity_type=ADSET, entity_ids=("2", "0")), ["1/adset/0", "1/adset/2"]),
        (Scope(entity_type=ADSET, entity_ids=("9",)), []),
    ],
)
def test_items_of_other_entities_are_left_out(scope: Scope, keys: list[str]) -> None:
    assert [one.key for one in scope.covered([ACCOUNT, LEVEL, *ENTITIES])] == keys


def test_a_model_of_the_whole_account_answers_for_its_entities() -> None:
    scope = Scope(entity_type=ADSET, entity_ids=("2",))
    assert scope.covered([ACCOUNT, Item("1/global", 1)]) == [ACCOUNT, Item("1/global", 1)]


class TestRecorded:
    def start(self, runs: TrainingRuns, parameters: dict[str, object]) -> None:
        runs.start("job", request_id="r1", parameters=parameters)

    def test_a_new_request_covers_what_is_given(self, database: Database) -> None:
        runs, given = TrainingRuns(database), Scope((1,))
        scope, parameters = scope_of(runs, "job", "r1", given=given, options={"rate": 2})
        assert scope == given
        assert parameters == {**given.parameters(), "options": {"rate": 2}}

    def test_one_that_a_service_started_covers_what_the_service_was_asked_for(
        self, database: Database
    ) -> None:
        runs = TrainingRuns(database)
        asked = Scope((1,), ADSET, ("7",))
        self.start(runs, asked.parameters())
        scope, parameters = scope_of(runs, "job", "r1", given=Scope(), options={"rate": 2})
        assert scope == asked
        self.start(runs, parameters)

    def test_again_with_other_options_it_is_refused(self, database: Database) -> None:
        runs = TrainingRuns(database)
        self.start(runs, scope_of(runs, "job", "r1", given=Scope((1,)), options={"rate": 2})[1])
        self.start(runs, scope_of(runs, "job", "r1", given=Scope((1,)), options={"rate": 2})[1])
        with pytest.raises(AlreadyExists):
            self.start(runs, scope_of(runs, "job", "r1", given=Scope((1,)), options={"rate": 3})[1])
