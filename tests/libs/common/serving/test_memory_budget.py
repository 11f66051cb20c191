"""Bytes of requests: nobody waits for ever, nobody has them all."""

import asyncio

import pytest
from adsml_common.domain.errors import Overloaded
from adsml_common.serving.memory_budget import MemoryBudget


def run(test, **options):
    return asyncio.run(test(MemoryBudget(100, **{"wait_seconds": 60.0, **options})))


def test_one_owner_has_at_most_half():
    async def test(budget):
        await budget.reserve("greedy", 50)
        waiting = asyncio.create_task(budget.reserve("greedy", 10))
        await asyncio.sleep(0)
        await budget.reserve("modest", 50)
        assert not waiting.done()
        budget.release("greedy", 50)
        await waiting
        assert budget.used == 60

    run(test)


def test_what_is_larger_than_all_goes_in_alone():
    async def test(budget):
        await budget.reserve("a", 500)
        other = asyncio.create_task(budget.reserve("b", 1))
        await asyncio.sleep(0)
        assert not other.done()
        budget.release("a", 500)
        await other

    run(test)


def test_a_large_one_is_not_overtaken_for_ever():
    async def test(budget):
        await budget.reserve("a", 40)
        await budget.reserve("b", 40)
        large = asyncio.create_task(budget.reserve("c", 50))
        await asyncio.sleep(0)
        small = asyncio.create_task(budget.reserve("d", 1))
        await asyncio.sleep(0)
        assert not small.done()
        budget.release("a", 40)
        await asyncio.gather(large, small)

    run(test)


def test_waiting_has_an_end():
    async def test(budget):
        await budget.reserve("a", 50)
        with pytest.raises(Overloaded):
            await budget.reserve("a", 1)
        budget.release("a", 50)
        assert budget.used == 0

    run(test, wait_seconds=0.01)


def test_who_stops_waiting_takes_nothing():
    async def test(budget):
        await budget.reserve("a", 50)
        waiting = asyncio.create_task(budget.reserve("a", 50))
        await asyncio.sleep(0)
        waiting.cancel()
        budget.release("a", 50)
        await asyncio.gather(waiting, return_exceptions=True)
        assert budget.used == 0

    run(test)
