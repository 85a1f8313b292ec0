"""Permits to run a forward pass: batchers that share one network share one `Slots`, so that each batch is formed only
when it can start."""

from __future__ import annotations

from collections.abc import Callable


class Slots:
    """So many forward passes at a time; a freed slot is offered to the batchers in turn. One event loop only."""

    def __init__(self, count: int = 1):
        if count < 1:
            raise ValueError(f"slots must be at least 1, not {count}")
        self.count = count
        self.free = count
        self._wakers: list[Callable[[], None]] = []

    def attach(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever a slot becomes free."""
        self._wakers.append(wake)

    def detach(self, wake: Callable[[], None]) -> None:
        """No longer call `wake`."""
        self._wakers.remove(wake)

    def take(self) -> None:
        """Take a slot. Raises `RuntimeError` when none is free: look at `free` first."""
        if self.free < 1:
            raise RuntimeError(f"all {self.count} slots are taken")
        self.free -= 1

    def release(self) -> None:
        """Give a slot back and wake every batcher, another one first each time."""
        self.free += 1
        if self._wakers:
            self._wakers.append(self._wakers.pop(0))
        for wake in tuple(self._wakers):
            wake()
