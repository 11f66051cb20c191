"""The bounded pool between event loop and handlers."""

import asyncio
import threading

import pytest
from adsml_common.domain.errors import DeadlineExceeded, Overloaded
from adsml_common.serving.context import CallContext
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
            pool.check_room()
        assert caught.value.retry_after_seconds > 0
        gate.open.set()
        assert await asyncio.gather(*tasks) == ["done"] * 3
        pool.check_room()

    run(test, workers=1, capacity=2)


def test_a_burst_is_taken_on_before_idle_threads_have_looked():
    async def test(pool):
        gate = Gate()
        tasks = []
        for _ in range(5):
            # Hardly a moment between them: the threads may not have had a chance to take anything yet.
            pool.check_room()
            tasks.append(asyncio.create_task(pool.run(CallContext(), gate)))
            await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            pool.check_room()
        gate.open.set()
        assert await asyncio.gather(*tasks) == ["done"] * 5

    run(test, workers=4, capacity=1)


def test_a_slow_queue_is_refused_before_it_is_full():
    now = [0.0]

    def slow():
        now[0] += 100.0

    async def test(pool):
        await pool.run(CallContext(), slow)  # the mean is now 10 s: a tenth of the last
        gate = Gate()
        task = asyncio.create_task(pool.run(CallContext(), gate))
        await until(lambda: pool.busy == 1)
        assert pool.expected_wait() == pytest.approx(10.0)
        with pytest.raises(Overloaded):
            pool.check_room()
        gate.open.set()
        await task

    run(test, workers=1, capacity=100, wait_seconds=5.0, clock=lambda: now[0])


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
