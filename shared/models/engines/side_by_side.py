"""Whether a forward pass takes all threads or its share: alone it is fastest on all of them; of several at once each
does best on threads of its own (fewer meetings, no thread waits for another's).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Lock
from typing import Generic, TypeVar

Lane = TypeVar("Lane")


class Traffic:
    """Tells passes that come one after another from passes that overlap. From any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._under_way = 0
        self._was_alone = True

    @contextmanager
    def one_more(self) -> Iterator[bool]:
        """A pass begins and ends; whether it is alone. It is where none is under way and the one before began alone
        too: between two overlapping passes there are moments without any."""
        with self._lock:
            nobody = self._under_way == 0
            alone = nobody and self._was_alone
            self._was_alone = nobody
            self._under_way += 1
        try:
            yield alone
        finally:
            with self._lock:
                self._under_way -= 1


class Lanes(Generic[Lane]):
    """Equal lanes for as many passes at once; one more waits for the first that is free."""

    def __init__(self, lanes: list[Lane]) -> None:
        self._free: SimpleQueue[Lane] = SimpleQueue()
        for lane in lanes:
            self._free.put(lane)

    @contextmanager
    def taken(self) -> Iterator[Lane]:
        """One of them, for this thread alone."""
        lane = self._free.get()
        try:
            yield lane
        finally:
            self._free.put(lane)
