"""Whether a forward pass takes all threads or its share: alone it is fastest on all of them; of several at once each
does best on threads of its own (fewer meetings, no thread waits for another's).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)
Lane = TypeVar("Lane")
Key = TypeVar("Key", bound=Hashable)


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


class LanesOnDemand(Generic[Key, Lane]):
    """The lanes of each key, made by a thread of their own when passes of that key first overlap: most shapes are rare,
    and never come twice at once."""

    def __init__(self, make: Callable[[Key], list[Lane]]) -> None:
        self._make = make
        self._made: dict[Key, Lanes[Lane] | None] = {}
        self._lock = Lock()

    def of(self, key: Key) -> Lanes[Lane] | None:
        """None while they are made, and for good where that fails, which is logged."""
        with self._lock:
            if key not in self._made:
                self._made[key] = None
                Thread(target=self._add, args=(key,), name="lanes", daemon=True).start()
            return self._made[key]

    def _add(self, key: Key) -> None:
        try:
            lanes = Lanes(self._make(key))
        except Exception:
            logger.exception("passes of %s do not overlap", key)
            return
        with self._lock:
            self._made[key] = lanes
