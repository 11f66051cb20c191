"""Which items a scope covers."""

import pytest
from adsml_common.domain.entities import EntityType
from adsml_common.training.records import Item
from adsml_common.training.scope import Scope

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
