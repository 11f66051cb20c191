"""Calls per caller."""

import pytest
from adsml_common.domain.errors import Overloaded
from adsml_common.serving.context import CallContext, Caller
from adsml_common.serving.limits import RateLimit


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def by(identity="", peer="ipv4:10.0.0.1:5000"):
    return CallContext("/s/m", caller=Caller(identity), peer=peer)


def made(limit, call, tries):
    count = 0
    for _ in range(tries):
        try:
            limit.check(call)
        except Overloaded:
            continue
        count += 1
    return count


def test_no_limit_unless_one_is_set():
    assert made(RateLimit(0, clock=Clock()), by("a"), 1000) == 1000


def test_a_burst_of_two_seconds_then_the_rate():
    clock = Clock()
    limit = RateLimit(5, clock=clock)
    assert made(limit, by("a"), 100) == 10
    clock.now = 1.0
    assert made(limit, by("a"), 100) == 5
    clock.now = 1000.0
    assert made(limit, by("a"), 100) == 10


def test_says_when_the_next_call_may_come():
    limit = RateLimit(4, clock=Clock())
    made(limit, by("a"), 8)
    with pytest.raises(Overloaded) as caught:
        limit.check(by("a"))
    assert caught.value.retry_after_seconds == pytest.approx(0.25)


def test_callers_do_not_spend_each_others_calls():
    limit = RateLimit(1, clock=Clock())
    assert made(limit, by("a"), 10) == 2
    assert made(limit, by("b"), 10) == 2


def test_callers_without_identity_are_told_apart_by_address_not_by_port():
    limit = RateLimit(1, clock=Clock())
    assert made(limit, by(peer="ipv4:10.0.0.1:5000"), 10) == 2
    assert made(limit, by(peer="ipv4:10.0.0.1:5001"), 10) == 0
    assert made(limit, by(peer="ipv4:10.0.0.2:5000"), 10) == 2


def test_memory_is_bounded_and_the_busiest_are_remembered():
    limit = RateLimit(1, clock=Clock())
    for number in range(30_000):
        limit.check(by(f"caller {number}"))
        if number % 100 == 0:
            made(limit, by("busy"), 1)
    assert made(limit, by("busy"), 5) == 0
