"""Single flight: callers that want the same thing at once share one computation, each free to leave.

The computation outlives any one caller and stops when the last has left. Its error reaches everyone and is not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from shared.errors import InternalError

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(slots=True)
class Flight(Generic[Value]):
    """One computation under way and how many callers wait for it."""

    task: asyncio.Task[Value]
    waiting: int = 0


class Flights(Generic[Key, Value]):
    """Computations under way by key; one event loop."""

    def __init__(self) -> None:
        self._flights: dict[Key, Flight[Value]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def join(self, key: Key) -> Flight[Value] | None:
        """The computation under way for `key`, if any."""
        return self._flights.get(key)

    def start(self, key: Key, compute: Callable[[], Coroutine[Any, Any, Value]]) -> Flight[Value]:
        """Begin computing; the caller goes on to `wait` for it."""
        flight = Flight(asyncio.create_task(compute()))
        self._flights[key] = flight
        flight.task.add_done_callback(lambda task: self._landed(key, flight, task))
        return flight

    async def wait(self, key: Key, flight: Flight[Value]) -> Value:
        """The result. A caller cancelled here leaves alone; the last one to leave stops the computation."""
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.task.cancelled() and not _is_cancelled_itself():
                raise InternalError("The computation was stopped from within.") from None
            raise
        finally:
            flight.waiting -= 1
            if flight.waiting == 0 and not flight.task.done():
                self._forget(key, flight)
                flight.task.cancel()

    def _landed(self, key: Key, flight: Flight[Value], task: asyncio.Task[Value]) -> None:
        self._forget(key, flight)
        if not task.cancelled():
            task.exception()  # seen here, so that asyncio does not report an error that every caller has left

    def _forget(self, key: Key, flight: Flight[Value]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


def _is_cancelled_itself() -> bool:
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0
