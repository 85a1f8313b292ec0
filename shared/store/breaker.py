"""A circuit breaker: attempts and their ends in, "call it" or "skip it" out. Pure; the clock is injected.

Closed -> (failures in a row) -> open -> (after `open_s`) -> one trial -> closed again, or open again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


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
        if self._trial is not None or now - self._opened < self._open_s:
            return None
        self._trial = Attempt(now, trial=True)
        return self._trial

    def succeeded(self, attempt: Attempt) -> None:
        """The server answered, be it with an error of its own."""
        if self._opened is None:
            self._failures = 0
        elif attempt is self._trial:
            self._failures, self._opened, self._trial = 0, None, None

    def failed(self, attempt: Attempt) -> None:
        """No answer came in time, or no connection."""
        now = self._last_failure = self._clock()
        if attempt is self._trial:
            self._opened, self._trial = now, None
        elif self._opened is None and attempt.began >= self._last_counted:
            self._failures += 1
            self._last_counted = now
            if self._failures >= self._limit:
                self._opened = now

    def abandoned(self, attempt: Attempt) -> None:
        """The caller left before the end: nothing was learnt, and the next may try."""
        if attempt is self._trial:
            self._trial = None
