"""A clock that moves when told to."""

from __future__ import annotations


class Clock:
    """Call it for the time in seconds; `pass_` moves it on."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds
