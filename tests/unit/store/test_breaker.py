"""When the breaker lets calls through, told by an injected clock."""

from __future__ import annotations

import pytest

from shared.store.breaker import REFUSED_S, Attempt, Breaker
from tests.unit.store.clock import Clock


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(failures=3, open_s=30, clock=clock)


def begun(breaker: Breaker) -> Attempt:
    attempt = breaker.begin()
    assert attempt is not None
    return attempt


def fail(breaker: Breaker, clock: Clock, times: int) -> bool:
    """So many failures one after the other; whether the breaker is open then."""
    for _ in range(times):
        attempt = begun(breaker)
        clock.pass_(0.1)
        breaker.failed(attempt)
    return breaker.is_open


def test_it_opens_after_so_many_failures_in_a_row(breaker: Breaker, clock: Clock) -> None:
    assert not fail(breaker, clock, 2)
    assert fail(breaker, clock, 1)
    assert breaker.begin() is None


def test_a_success_between_begins_the_count_anew(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, clock, 2)
    breaker.succeeded(begun(breaker))
    assert not fail(breaker, clock, 2)


def test_calls_in_flight_together_fail_as_one(breaker: Breaker, clock: Clock) -> None:
    together = [begun(breaker) for _ in range(64)]
    clock.pass_(0.35)
    for attempt in together:
        breaker.failed(attempt)
    assert not breaker.is_open
    assert fail(breaker, clock, 2)


def test_after_its_time_one_trial_alone_goes_through(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, clock, 3)
    clock.pass_(29.9)
    assert breaker.begin() is None
    clock.pass_(0.2)
    assert begun(breaker).trial
    assert breaker.begin() is None


def test_a_trial_that_succeeds_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, clock, 3)
    clock.pass_(30)
    breaker.succeeded(begun(breaker))
    assert not breaker.is_open
    assert not fail(breaker, clock, 2)


def test_a_trial_that_fails_opens_it_for_the_whole_time_again(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, clock, 3)
    clock.pass_(30)
    breaker.failed(begun(breaker))
    clock.pass_(29.9)
    assert breaker.begin() is None
    clock.pass_(0.2)
    assert begun(breaker).trial


def test_where_nobody_listens_it_looks_again_soon_and_is_patient_with_who_is_silent(
    breaker: Breaker, clock: Clock
) -> None:
    for refused in (False, False, True):
        breaker.failed(begun(breaker), refused=refused)
        clock.pass_(0.1)
    assert breaker.begin() is None
    clock.pass_(REFUSED_S)
    breaker.failed(begun(breaker), refused=True)
    clock.pass_(REFUSED_S)
    breaker.failed(begun(breaker))  # there again, and silent
    clock.pass_(29)
    assert breaker.begin() is None
    clock.pass_(1)
    assert begun(breaker).trial


def test_a_trial_whose_caller_left_makes_room_for_the_next(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, clock, 3)
    clock.pass_(30)
    breaker.abandoned(begun(breaker))
    assert begun(breaker).trial


def test_an_old_call_that_ends_late_neither_closes_nor_prolongs_it(breaker: Breaker, clock: Clock) -> None:
    early, earlier = begun(breaker), begun(breaker)
    fail(breaker, clock, 3)
    breaker.succeeded(early)
    assert breaker.is_open
    clock.pass_(29.95)
    breaker.failed(earlier)
    clock.pass_(0.1)
    assert begun(breaker).trial


def test_a_call_that_waited_learns_that_another_failed_meanwhile(breaker: Breaker, clock: Clock) -> None:
    waiting = begun(breaker)
    assert not breaker.failed_since(waiting)
    fail(breaker, clock, 1)
    assert breaker.failed_since(waiting)
    assert not breaker.failed_since(begun(breaker))
