"""One computation for all who ask at once; each may leave alone."""

from __future__ import annotations

import asyncio

import pytest

from shared.errors import InternalError
from shared.store.flights import Flights


class Slow:
    """A computation that goes on until it is told how to end, and knows whether it was stopped."""

    def __init__(self) -> None:
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.runs = 0
        self.stopped = False

    async def __call__(self) -> str:
        self.runs += 1
        try:
            return await self.end
        except asyncio.CancelledError:
            self.stopped = True
            raise


async def ask(flights: Flights[str, str], slow: Slow) -> str:
    flight = flights.join("key") or flights.start("key", slow)
    return await flights.wait("key", flight)


async def started(count: int) -> tuple[Flights[str, str], Slow, list[asyncio.Task[str]]]:
    flights: Flights[str, str] = Flights()
    slow = Slow()
    callers = [asyncio.create_task(ask(flights, slow)) for _ in range(count)]
    await asyncio.sleep(0.01)
    return flights, slow, callers


async def test_all_who_ask_at_once_share_one_run() -> None:
    flights, slow, callers = await started(5)
    slow.end.set_result("done")
    assert await asyncio.gather(*callers) == ["done"] * 5
    assert slow.runs == 1
    assert len(flights) == 0


async def test_the_first_to_ask_may_leave_without_stopping_the_others() -> None:
    _, slow, callers = await started(3)
    callers[0].cancel()
    await asyncio.sleep(0.01)
    assert callers[0].cancelled()
    slow.end.set_result("done")
    assert await asyncio.gather(*callers[1:]) == ["done"] * 2
    assert not slow.stopped


async def test_the_last_to_leave_stops_the_run_and_the_next_begins_anew() -> None:
    flights, slow, callers = await started(2)
    for caller in callers:
        caller.cancel()
    await asyncio.sleep(0.01)
    assert slow.stopped
    assert len(flights) == 0
    again = Slow()
    again.end.set_result("again")
    assert await ask(flights, again) == "again"


async def test_an_error_reaches_all_and_is_not_kept() -> None:
    flights, slow, callers = await started(3)
    slow.end.set_exception(ValueError("broken"))
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(error) for error in results] == ["broken"] * 3
    again = Slow()
    again.end.set_result("well")
    assert await ask(flights, again) == "well"


async def test_an_error_after_everyone_left_is_nobodys() -> None:
    reported: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    flights: Flights[str, str] = Flights()

    async def fails_when_stopped() -> str:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("broken")

    caller = asyncio.create_task(flights.wait("key", flights.start("key", fails_when_stopped)))
    await asyncio.sleep(0.01)
    caller.cancel()
    await asyncio.sleep(0.01)
    assert caller.cancelled()
    assert not reported


async def test_a_run_stopped_from_within_is_an_error_and_no_cancellation_of_the_callers() -> None:
    _, slow, callers = await started(2)
    slow.end.cancel()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(error) for error in results] == [InternalError] * 2


async def test_a_timeout_of_a_caller_is_a_timeout() -> None:
    flights, slow, callers = await started(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await ask(flights, slow)
    slow.end.set_result("done")
    assert await callers[0] == "done"
