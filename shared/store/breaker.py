"""A circuit breaker: attempts and their ends in, "call it" or "skip it" out. Pure; the clock is injected.

Closed -> (failures in a row) -> open -> (after `open_s`, or soon where nobody listens) -> one trial -> closed again, or
open again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

REFUSED_S = 1.0
"""When a server that is not there at all is looked for again: a trial costs nothing then, and it may be back soon."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call that was let through: when it began, and whether it is the single trial of an open breaker."""

    began: float
    trial: bool


class Breaker:
    """Counts failures in a row; not thread-safe, one event loop.

    Calls that were in flight together and fail together count as one failure: a single hiccup of this process or of
    the network must not switch the store off.
    """

    def __init__(self, failures: int, open_s: float, clock: Callable[[], float] = time.monotonic):
        self._limit = failures
        self._open_s = open_s
        self._clock = clock
        self._failures = 0
        self._last_failure = self._last_counted = float("-inf")
        self._opened: float | None = None
        self._pause_s = open_s
        self._trial: Attempt | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls are skipped, but for a trial now and then."""
        return self._opened is not None

    def failed_since(self, attempt: Attempt) -> bool:
        """Whether another call has failed after this one began."""
        return self._last_failure > attempt.began

    def begin(self) -> Attempt | None:
        """Leave to call, to be ended by exactly one of `succeeded`, `failed`, `abandoned`; None: skip the call."""
        now = self._clock()
        if self._opened is None:
            return Attempt(now, trial=False)
        if self._trial is not None or now - self._opened < self._pause_s:
            return None
        self._trial = Attempt(now, trial=True)
        return self._trial

    def succeeded(self, attempt: Attempt) -> None:
        """The server answered, be it with an error of its own."""
        if self._opened is None:
            self._failures = 0
        elif attempt is self._trial:
            self._failures, self._opened, self._trial = 0, None, None

    def failed(self, attempt: Attempt, *, refused: bool = False) -> None:
        """No answer came in time, or no connection; `refused`: the latter, without waiting."""
        now = self._last_failure = self._clock()
        pause_s = min(REFUSED_S, self._open_s) if refused else self._open_s
        if attempt is self._trial:
            self._opened, self._pause_s, self._trial = now, pause_s, None
        elif self._opened is None and attempt.began >= self._last_counted:
            self._failures += 1
            self._last_counted = now
            if self._failures >= self._limit:
                self._opened, self._pause_s = now, pause_s

    def abandoned(self, attempt: Attempt) -> None:
        """The caller left before the end: nothing was learnt, and the next may try."""
        if attempt is self._trial:
            self._trial = None
