"""Deadlines as budgets."""

import pytest
from adsml_common.domain.errors import DeadlineExceeded
from adsml_common.serving.budget import ServiceTimes, check_budget


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("left", "wait", "work", "fits"),
    [
        (None, 9.0, 9.0, True),
        (1.0, 0.0, 0.0, True),
        (1.0, 0.0, 1.0, True),
        (1.0, 0.25, 0.5, True),
        (1.0, 0.25, 0.6, False),
        (1.0, 0.5, 0.1, False),
        (0.0, 0.0, 0.0, False),
    ],
)
def test_what_cannot_be_done_in_time_is_refused(left, wait, work, fits):
    if fits:
        check_budget(left, wait=wait, work=work)
        return
    with pytest.raises(DeadlineExceeded) as caught:
        check_budget(left, wait=wait, work=work)
    if left:
        assert caught.value.metadata["left_ms"] == f"{left * 1000:.0f}"
        assert caught.value.metadata["needed_ms"] == f"{(2 * wait + work) * 1000:.0f}"


def test_less_than_a_millisecond_is_not_called_none():
    with pytest.raises(DeadlineExceeded) as caught:
        check_budget(0.00031, wait=0.0, work=0.00042)
    assert caught.value.message.startswith("0.31 ms are left for the answer, which needs about 0.42 ms")
    with pytest.raises(DeadlineExceeded, match="the deadline passed before"):
        check_budget(0.0, wait=0.0, work=0.0)


def test_nothing_is_estimated_from_a_handful_of_calls():
    times = ServiceTimes(clock=Clock())
    for _ in range(7):
        times.add("m", size=10, seconds=5.0)
    assert times.estimate("m", size=10) == 0.0
    times.add("m", size=10, seconds=5.0)
    assert times.estimate("m", size=10) == 5.0


def test_the_estimate_is_a_quick_call_not_a_slow_one():
    times = ServiceTimes(clock=Clock())
    for seconds in (0.1, 0.2, 0.3, 0.4, 5.0, 5.0, 5.0, 5.0):
        times.add("m", size=10, seconds=seconds)
    assert times.estimate("m", size=10) == 0.3  # the lower quartile of eight: the third


def test_large_requests_say_nothing_of_small_ones():
    times = ServiceTimes(clock=Clock())
    for _ in range(8):
        times.add("m", size=1_000_000, seconds=5.0)
    assert times.estimate("m", size=100) == 0.0
    assert times.estimate("m", size=1_000_000) == 5.0
    assert times.estimate("other", size=1_000_000) == 0.0


def test_a_slow_spell_is_forgotten_so_that_it_cannot_refuse_everything_for_good():
    clock = Clock()
    times = ServiceTimes(keep_seconds=10.0, clock=clock)
    for _ in range(8):
        times.add("m", size=10, seconds=5.0)
    clock.now += 9.9
    assert times.estimate("m", size=10) == 5.0
    clock.now += 0.2
    assert times.estimate("m", size=10) == 0.0
