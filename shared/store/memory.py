"""A map bounded in bytes: values go in with their size, the least recently used go out, none lives beyond its TTL."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.store.metrics import Eviction

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Value]):
    value: Value
    size: int
    expires: float


class ByteLru(Generic[Key, Value]):
    """Least-recently-used map of at most `capacity` bytes; a capacity of 0 keeps nothing. Safe to share by threads.

    `ttl_s` counts from the last `put`; `on_bytes` is told the bytes held after every change, `on_eviction` why an entry
    went that nobody discarded.
    """

    def __init__(
        self,
        capacity: int,
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
        on_bytes: Callable[[int], None] = lambda _: None,
        on_eviction: Callable[[Eviction], None] = lambda _: None,
    ):
        self._capacity = capacity
        self._ttl_s = ttl_s
        self._clock = clock
        self._on_bytes = on_bytes
        self._on_eviction = on_eviction
        self._entries: OrderedDict[Key, _Entry[Value]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes held now, expired entries that nobody asked for included."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """The value, now the most recently used; None when it is absent or has expired."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry.expires <= self._clock():
                self._remove(key)
                self._on_eviction("expired")
                return None
            self._entries.move_to_end(key)
            return entry.value

    def put(self, key: Key, value: Value, size: int) -> bool:
        """Keep `value`, which takes `size` bytes, in place of an earlier one; False when it is larger than the map."""
        with self._lock:
            if key in self._entries:
                self._remove(key)
            if size > self._capacity:
                return False
            while self._bytes + size > self._capacity:
                self._remove(next(iter(self._entries)))
                self._on_eviction("room")
            self._entries[key] = _Entry(value, size, self._clock() + self._ttl_s)
            self._bytes += size
            self._on_bytes(self._bytes)
            return True

    def alive(self) -> list[Key]:
        """The keys of what lives, after dropping what has expired."""
        with self._lock:
            now = self._clock()
            for key in [key for key, entry in self._entries.items() if entry.expires <= now]:
                self._remove(key)
                self._on_eviction("expired")
            return list(self._entries)

    def discard(self, key: Key) -> bool:
        """Drop one entry; whether it was there and alive."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return False
            self._remove(key)
            return entry.expires > self._clock()

    def _remove(self, key: Key) -> None:
        self._bytes -= self._entries.pop(key).size
        self._on_bytes(self._bytes)
