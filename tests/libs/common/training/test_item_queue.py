"""Who gets which item: groups stay together as long as there is other work for the others."""

from adsml_common.training.job import ItemQueue
from adsml_common.training.records import Item
from hypothesis import given
from hypothesis import strategies as st


def of(*groups: str) -> ItemQueue:
    return ItemQueue(Item(str(i), 1, group=group) for i, group in enumerate(groups))


def keys(queue: ItemQueue, last: Item | None = None) -> list[str]:
    """What a process gets that is left alone with all of it."""
    out = []
    while (last := queue.next(last)) is not None:
        out.append(last.key)
    return out


def test_one_process_goes_through_group_by_group() -> None:
    assert keys(of("a", "b", "a", "c", "b")) == ["0", "2", "1", "4", "3"]


def test_each_process_has_a_group_of_its_own_while_there_are_enough() -> None:
    queue = of("a", "a", "b", "b", "c")
    first, second = queue.next(None), queue.next(None)
    assert (first, second) == (Item("0", 1, group="a"), Item("2", 1, group="b"))
    assert queue.next(second) == Item("3", 1, group="b")
    assert queue.next(first) == Item("1", 1, group="a")
    assert queue.next(first) == Item("4", 1, group="c")
    assert queue.next(second) is None


def test_one_without_a_group_of_its_own_helps_where_most_is_left() -> None:
    queue = of("a", "a", "b", "b", "b", "b")
    first, second = queue.next(None), queue.next(None)
    third = queue.next(None)
    assert third == Item("3", 1, group="b")
    assert [queue.next(last) for last in (first, second, third)] == [
        Item("1", 1, group="a"), Item("4", 1, group="b"), Item("5", 1, group="b"),
    ]  # fmt: skip
    assert queue.next(first) is None


@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.integers(0, 3), min_size=40, max_size=40))
def test_every_item_is_handed_out_once(groups: list[str], turns: list[int]) -> None:
    queue = of(*groups)
    last: dict[int, Item | None] = {}
    out = []
    for process in turns:
        item = queue.next(last.get(process))
        if item is not None:
            last[process] = item
            out.append(int(item.key))
    assert sorted(out) == list(range(len(groups)))
