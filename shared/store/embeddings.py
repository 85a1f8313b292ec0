"""Embeddings by tenant, image and encoder: looked up in this process, then in Redis, else computed once and kept.

A tier that is down, slow, full or wrong is a miss: the answer then costs an encoder run and never fails for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from shared.errors import ClientGone, DeadlineExceeded
from shared.protocols import Sink
from shared.store.codec import Stored
from shared.store.embeddings_redis import RedisEmbeddings
from shared.store.flights import Flights
from shared.store.memory import ByteLru
from shared.store.metrics import BYTES, EVICTIONS, LOOKUPS
from shared.store.packing import PackedEmbedding, pack, unpack
from shared.store.sweep import ImageName, Sweep
from shared.types import Embedding, Float16Array, Tier

Compute = Callable[[], Awaitable[Embedding]]
"""Decode and encode the image; float16 or any float type that is rounded to it."""


KEPT_UNPACKED = 4
"""Packed embeddings that are also held as float16, the last ones used."""


class EmbeddingKey(NamedTuple):
    """Whose, of which image (64 hex digits of its SHA-256), by which encoder."""

    tenant: str
    image_hex: str
    fingerprint: str

    @property
    def image(self) -> ImageName:
        """Whose, and of which image."""
        return self.tenant, self.image_hex


class NearTier(Protocol):
    """A tier inside the process, in main memory or on an accelerator; never blocks for long, never fails."""

    def get(self, key: EmbeddingKey) -> Stored | None:
        """The embedding, if it is here and alive."""
        ...

    def put(self, key: EmbeddingKey, embedding: Stored) -> None:
        """Keep it, within the tier's bytes."""
        ...

    def alive(self) -> list[EmbeddingKey]:
        """Of what is here; what has expired goes."""
        ...

    def discard(self, key: EmbeddingKey) -> None:
        """Keep it no longer, if it is here."""
        ...


class MemoryEmbeddings:
    """At most `capacity` bytes of embeddings in main memory, each for `ttl_s`; 0 bytes: none."""

    def __init__(self, capacity: int, ttl_s: float, sink: Sink, clock: Callable[[], float] = time.monotonic):
        self._entries: ByteLru[EmbeddingKey, Stored] = ByteLru(
            capacity,
            ttl_s,
            clock,
            lambda held: sink.gauge(BYTES, float(held), tier="memory"),
            lambda reason: sink.count(EVICTIONS, tier="memory", reason=reason),
        )

    def get(self, key: EmbeddingKey) -> Stored | None:
        """The embedding, if it is here and alive."""
        return self._entries.get(key)

    def put(self, key: EmbeddingKey, embedding: Stored) -> None:
        """Keep it in place of the least recently used."""
        self._entries.put(key, embedding, embedding.nbytes)

    def alive(self) -> list[EmbeddingKey]:
        """Of what is here; what has expired goes."""
        return self._entries.alive()

    def discard(self, key: EmbeddingKey) -> None:
        """Keep it no longer, if it is here."""
        self._entries.discard(key)


@dataclass(slots=True, eq=False)
class _Filling:
    """An embedding on its way in, and whether it is still to be kept."""

    image: ImageName
    keep: bool


class EmbeddingStore:
    """The tiers in order; `redis` is None where there is none. One event loop.

    `packed` keeps int8 values in every tier, and gives what they stand for, kept or not (`packing.py`).
    """

    def __init__(self, near: NearTier, redis: RedisEmbeddings | None, sink: Sink, *, packed: bool = False):
        self._packed = packed
        self._unpacked: OrderedDict[EmbeddingKey, tuple[PackedEmbedding, Embedding]] = OrderedDict()
        self._near = near
        self._redis = redis
        self._sink = sink
        self._flights: Flights[tuple[EmbeddingKey, bool], tuple[Embedding, Tier]] = Flights()
        self._fillings: set[_Filling] = set()
        self._sweep = Sweep(self._held, self._deleted, lambda image: self.forget(*image))

    async def get_or_compute(
        self, tenant: str, image_hex: str, fingerprint: str, compute: Compute, keep: bool = True
    ) -> tuple[Embedding, Tier]:
        """The embedding, float16 and read-only, and where it was found. Raises what `compute` raises.

        Callers that ask at once share one look-up and one computation. With `keep` false nothing found or computed
        here is kept in any tier.
        """
        key = self._key(tenant, image_hex, fingerprint)
        found = self.peek(tenant, image_hex, fingerprint)
        if found is not None:
            return found, "memory"
        while (flight := self._flights.join((key, keep))) is not None:
            try:
                embedding, tier = await self._flights.wait((key, keep), flight)
            except (DeadlineExceeded, ClientGone):
                continue  # the fate of the caller whose computation this was, not of ours
            if tier == "computed":
                self._sink.count(LOOKUPS, tier="computed", outcome="joined")
            return embedding, tier
        flight = self._flights.start((key, keep), lambda: self._fill(key, compute, keep))
        return await self._flights.wait((key, keep), flight)

    def peek(self, tenant: str, image_hex: str, fingerprint: str) -> Embedding | None:
        """What this process holds, without asking anyone: all there is while the image store is out of reach."""
        key = self._key(tenant, image_hex, fingerprint)
        found = self._near.get(key)
        self._sink.count(LOOKUPS, tier="memory", outcome="miss" if found is None else "hit")
        return None if found is None else self._ready(key, found)

    def _key(self, tenant: str, image_hex: str, fingerprint: str) -> EmbeddingKey:
        return EmbeddingKey(tenant, image_hex, f"{fingerprint}-int8" if self._packed else fingerprint)

    def _ready(self, key: EmbeddingKey, stored: Stored) -> Embedding:
        """Unpacked; the last few stay so, since clicks on one image come one after another."""
        if isinstance(stored, Embedding):
            return stored
        known = self._unpacked.get(key)
        if known is None or known[0] is not stored:
            known = stored, unpack(stored)
            self._unpacked[key] = known
            while len(self._unpacked) > KEPT_UNPACKED:
                self._unpacked.popitem(last=False)
        self._unpacked.move_to_end(key)
        return known[1]

    def forget(self, tenant: str, image_hex: str) -> None:
        """Hold nothing of this image in this process, nor keep what is being computed of it."""
        image = tenant, image_hex
        for key in (key for key in self._near.alive() if key.image == image):
            self._near.discard(key)
        for key in [key for key in self._unpacked if key.image == image]:
            del self._unpacked[key]
        for filling in self._fillings:
            filling.keep &= filling.image != image

    async def flush(self) -> None:
        """Wait until every embedding on its way to Redis is written or lost."""
        if self._redis is not None:
            await self._redis.flush()

    async def close(self) -> None:
        """Write what still waits; look for deleted images no more."""
        await self._sweep.close()
        await self.flush()

    def _held(self) -> Collection[ImageName]:
        alive = set(self._near.alive())
        for key in [key for key in self._unpacked if key not in alive]:
            del self._unpacked[key]
        return {key.image for key in alive}

    async def _deleted(self, images: Collection[ImageName]) -> Iterable[ImageName]:
        return () if self._redis is None else await self._redis.deleted(images)

    async def _fill(self, key: EmbeddingKey, compute: Compute, keep: bool) -> tuple[Embedding, Tier]:
        filling = _Filling(key.image, keep)
        self._fillings.add(filling)
        try:
            return await self._filled(key, compute, filling)
        finally:
            self._fillings.discard(filling)

    async def _filled(self, key: EmbeddingKey, compute: Compute, filling: _Filling) -> tuple[Embedding, Tier]:
        stored = await self._redis.get(*key) if self._redis is not None else None
        tier: Tier = "computed" if stored is None else "redis"
        if stored is None:
            embedding = await self._compute(compute)
            stored = await asyncio.to_thread(pack, embedding) if self._packed else embedding
        if not filling.keep:
            return (unpack(stored) if isinstance(stored, PackedEmbedding) else stored), tier
        self._near.put(key, stored)
        self._sweep.attend()
        if tier == "computed" and self._redis is not None:
            self._redis.put_behind(*key, stored)
        return self._ready(key, stored), tier

    async def _compute(self, compute: Compute) -> Embedding:
        try:
            embedding = await compute()
        except BaseException:
            self._sink.count(LOOKUPS, tier="computed", outcome="failed")
            raise
        self._sink.count(LOOKUPS, tier="computed", outcome="run")
        return Embedding(embedding.size, tuple(_owned(tensor) for tensor in embedding.tensors))


def _owned(tensor: Float16Array) -> Float16Array:
    """Float16, contiguous, read-only from here on, and of its own memory: a slice would keep its whole batch alive."""
    own = np.array(tensor, dtype=np.float16, order="C", copy=True if tensor.base is not None else None)
    own.flags.writeable = False
    return own
