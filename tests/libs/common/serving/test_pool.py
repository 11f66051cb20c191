"""The bounded pool between event loop and handlers."""

import asyncio
import functools
import threading

import pytest
from adsml_common.domain.errors import DeadlineExceeded, Overloaded
from adsml_common.serving.context import CallContext, Caller
from adsml_common.serving.pool import WorkerPool
from support.serving import SECONDS


def run(test, *, workers=1, capacity=2, wait_seconds=60.0, **rest):
    """Run a coroutine function with a pool, on a loop of its own."""

    async def main():
        pool = WorkerPool("test", workers=workers, capacity=capacity, wait_seconds=wait_seconds, **rest)
        pool.start()
        try:
            return await asyncio.wait_for(test(pool), SECONDS)
        finally:
            assert pool.close(timeout=SECONDS)

    return asyncio.run(main())


async def until(holds):
    while not holds():
        await asyncio.sleep(0.001)


class Gate:
    """Work that blocks until it is let go."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self):
        self.begun.release()
        assert self.open.wait(SECONDS)
        return "done"


def test_work_runs_in_a_thread_and_its_result_comes_back():
    async def test(pool):
        name = await pool.run(CallContext(), lambda: threading.current_thread().name)
        assert name == "test-0"

    run(test)


def test_errors_come_back_as_they_are():
    async def test(pool):
        with pytest.raises(ZeroDivisionError):
            await pool.run(CallContext(), lambda: 1 / 0)

    run(test)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, StopIteration, asyncio.CancelledError])
def test_no_handler_can_end_a_thread_or_the_loop(kind):
    def work():
        raise kind

    async def test(pool):
        with pytest.raises(RuntimeError, match=kind.__name__):
            await pool.run(CallContext(), work)
        assert await pool.run(CallContext(), lambda: 1) == 1

    run(test)


def test_a_full_queue_is_refused_and_says_when_to_come_back():
    async def test(pool):
        gate = Gate()
        tasks = [asyncio.create_task(pool.run(CallContext(), gate)) for _ in range(3)]
        await until(lambda: pool.waiting == 2)
        with pytest.raises(Overloaded) as caught:
            pool.check_room(CallContext())
        assert caught.value.retry_after_seconds > 0
        gate.open.set()
        assert await asyncio.gather(*tasks) == ["done"] * 3
        pool.check_room(CallContext())

    run(test, workers=1, capacity=2)


def test_a_burst_is_taken_on_before_idle_threads_have_looked():
    async def test(pool):
        gate = Gate()
        tasks = []
        for _ in range(5):
            # Hardly a moment between them: the threads may not have had a chance to take anything yet.
            pool.check_room(CallContext())
            tasks.append(asyncio.create_task(pool.run(CallContext(), gate)))
            await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            pool.check_room(CallContext())
        gate.open.set()
        assert await asyncio.gather(*tasks) == ["done"] * 5

    run(test, workers=4, capacity=1)


def test_a_slow_queue_is_refused_before_it_is_full():
    async def test(pool):
        gate = Gate()
        task = asyncio.create_task(pool.run(CallContext(), gate, seconds=10.0))
        await until(lambda: pool.busy == 1 and pool.waiting == 0)
        # Half of what runs is done on average.
        assert pool.expected_wait(CallContext(), seconds=10.0) == pytest.approx(5.0)
        with pytest.raises(Overloaded):
            pool.check_room(CallContext(), seconds=10.0)
        gate.open.set()
        await task

    run(test, workers=1, capacity=100, wait_seconds=4.0)


def of(identity):
    return CallContext(caller=Caller(identity))


def test_a_caller_with_one_call_does_not_stand_behind_anothers_hundred():
    async def test(pool):
        gate, order = Gate(), []
        blocked = asyncio.create_task(pool.run(of("greedy"), gate, seconds=0.1))
        await until(lambda: gate.begun.acquire(blocking=False))
        greedy = [
            asyncio.create_task(pool.run(of("greedy"), lambda: order.append("greedy"), seconds=0.1))
            for _ in range(100)
        ]
        await until(lambda: pool.waiting == 100)
        assert (
            pool.expected_wait(of("modest"), seconds=0.1)
            < 0.1
            < pool.expected_wait(of("greedy"), seconds=0.1)
        )
        modest = asyncio.create_task(pool.run(of("modest"), lambda: order.append("modest"), seconds=0.1))
        await until(lambda: pool.waiting == 101)
        gate.open.set()
        await asyncio.gather(blocked, *greedy, modest)
        assert order.index("modest") <= 1

    run(test, workers=1, capacity=1000)


def test_shares_are_of_work_and_not_of_calls():
    now = [0.0]

    async def test(pool):
        gate, order = Gate(), []

        def work(who, seconds):
            order.append(who)
            now[0] += seconds

        blocked = asyncio.create_task(pool.run(of("other"), gate))
        await until(lambda: gate.begun.acquire(blocking=False))
        tasks = [
            asyncio.create_task(pool.run(of(who), functools.partial(work, who, seconds), seconds=seconds))
            for who, seconds, count in (("dear", 0.2, 10), ("cheap", 0.02, 100))
            for _ in range(count)
        ]
        await until(lambda: pool.waiting == 110)
        gate.open.set()
        await asyncio.gather(blocked, *tasks)
        # With each of the dear ones, which take ten times as long, go ten cheap ones.
        fifth = [index for index, one in enumerate(order) if one == "dear"][4]
        assert 35 <= order[:fifth].count("cheap") <= 50

    run(test, workers=1, capacity=1000, clock=lambda: now[0])


def test_long_work_never_has_all_threads():
    async def test(pool):
        gates = [Gate() for _ in range(6)]
        tasks = [asyncio.create_task(pool.run(of("a"), gate, seconds=5.0)) for gate in gates]
        await until(lambda: sum(gate.begun.acquire(blocking=False) for gate in gates) or pool.waiting == 3)
        assert await pool.run(of("b"), lambda: "short", seconds=0.01) == "short"
        assert pool.waiting == 3
        for gate in gates:
            gate.open.set()
        await asyncio.gather(*tasks)

    run(test, workers=4, capacity=100)


def test_where_all_places_are_taken_who_has_most_waiting_gives_one_up():
    async def test(pool):
        gate = Gate()
        greedy = [asyncio.create_task(pool.run(of("greedy"), gate)) for _ in range(4)]
        await until(lambda: pool.waiting == 3)
        with pytest.raises(Overloaded):
            pool.check_room(of("greedy"))
        pool.check_room(of("modest"))
        modest = asyncio.create_task(pool.run(of("modest"), lambda: "modest"))
        gate.open.set()
        assert await modest == "modest"
        outcomes = await asyncio.gather(*greedy, return_exceptions=True)
        assert sorted(type(one).__name__ for one in outcomes) == ["Overloaded", "str", "str", "str"]
        assert pool.busy == 0

    run(test, workers=1, capacity=3)


def test_waiting_work_whose_caller_has_gone_is_never_begun():
    async def test(pool):
        gate, begun = Gate(), []
        first = asyncio.create_task(pool.run(CallContext(), gate))
        second = asyncio.create_task(pool.run(CallContext(), lambda: begun.append("second")))
        third = asyncio.create_task(pool.run(CallContext(), lambda: begun.append("third")))
        await until(lambda: pool.waiting == 2)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        gate.open.set()
        await asyncio.gather(first, third)
        assert begun == ["third"]

    run(test)


def test_running_work_is_told_that_its_caller_has_gone():
    async def test(pool):
        call, seen = CallContext(), threading.Event()
        begun = threading.Event()

        def work():
            begun.set()
            while not call.cancelled():
                pass
            seen.set()

        task = asyncio.create_task(pool.run(call, work))
        await until(begun.is_set)
        task.cancel()
        await until(seen.is_set)

    run(test)


def test_work_whose_deadline_passed_while_it_waited_is_not_begun():
    async def test(pool):
        now, begun = [0.0], []
        gate = Gate()
        first = asyncio.create_task(pool.run(CallContext(), gate))
        late = CallContext(deadline_at=5.0, clock=lambda: now[0])
        second = asyncio.create_task(pool.run(late, lambda: begun.append(1)))
        await until(lambda: pool.waiting == 1)
        now[0] = 6.0
        gate.open.set()
        await first
        with pytest.raises(DeadlineExceeded):
            await second
        assert begun == []

    run(test)


def test_every_result_is_delivered_however_many_come_at_once():
    async def test(pool):
        results = await asyncio.gather(*(pool.run(CallContext(), lambda n=n: n) for n in range(5000)))
        assert results == list(range(5000))
        assert pool.busy == 0

    run(test, workers=8, capacity=10_000)


def test_closing_does_not_wait_for_ever():
    gate = Gate()

    async def test():
        pool = WorkerPool("test", workers=1, capacity=1, wait_seconds=1)
        pool.start()
        task = asyncio.create_task(pool.run(CallContext(), gate))
        await until(lambda: gate.begun.acquire(blocking=False))
        assert not pool.close(timeout=0.01)
        task.cancel()

    asyncio.run(test())
    gate.open.set()
