"""The shared tier of embeddings: fingerprint -> encoded embedding in one Redis hash per tenant and image, with a TTL.

Reading fails as a miss. Writing goes on behind the answer, a bounded number of bytes at a time, every loss counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from functools import partial
from itertools import islice
from typing import cast

from redis.asyncio import Redis

from shared.protocols import Sink
from shared.store.codec import CodecError, Stored, decode, encode
from shared.store.keys import deleted_key, embeddings_key
from shared.store.metrics import LOOKUPS, Outcome
from shared.store.redis import RedisClient, StoreFailure
from shared.store.sweep import ImageName

CONCURRENT_WRITES = 2
MARKS_AT_ONCE = 256
"""Deletions that one call asks for: half a millisecond of this process."""
_LOG = logging.getLogger(__name__)


class RedisEmbeddings:
    """Embeddings of `ttl_s` seconds, counted from the last one written for their image.

    At most `waiting_bytes` wait to be written; what comes beyond is dropped.
    """

    def __init__(self, client: RedisClient, ttl_s: int, waiting_bytes: int, sink: Sink):
        self._client = client
        self._ttl_s = ttl_s
        self._sink = sink
        self._room = waiting_bytes
        self._writes: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Semaphore(CONCURRENT_WRITES)

    async def get(self, tenant: str, image_hex: str, fingerprint: str) -> Stored | None:
        """The embedding, or None: absent, altered, or the store did not answer in time."""
        key = embeddings_key(tenant, image_hex)
        try:
            value = await self._client.call("embedding_get", lambda redis: redis.hget(key, fingerprint))
            found = None if value is None else decode(cast(bytes, value))
        except StoreFailure:
            self._looked_up("error")
            return None
        except CodecError:
            self._looked_up("corrupt")
            self._client.failure("embedding_get", "corrupt")
            return None
        self._looked_up("miss" if found is None else "hit")
        return found

    async def deleted(self, images: Collection[ImageName]) -> list[ImageName]:
        """Those that were deleted and have not come again; fewer where the store does not answer. Not counted: it goes
        on at rest."""
        found: list[ImageName] = []
        left = iter(images)
        while some := list(islice(left, MARKS_AT_ONCE)):
            read = partial(_values, keys=[deleted_key(*image) for image in some])
            try:
                marks = await self._client.call("embedding_marks", read, counted=False)
            except StoreFailure:
                break
            found += [image for image, mark in zip(some, marks, strict=True) if mark is not None]
        return found

    def put_behind(self, tenant: str, image_hex: str, fingerprint: str, embedding: Stored) -> None:
        """Have it written by and by; returns at once."""
        size = embedding.nbytes
        if size > self._room:
            self._client.failure("embedding_put", "dropped")
            return
        self._room -= size
        task = asyncio.create_task(self._write(tenant, image_hex, fingerprint, embedding))
        self._writes.add(task)
        task.add_done_callback(lambda done: self._written(done, size))

    async def flush(self) -> None:
        """Wait until all that was put is written or lost."""
        while self._writes:
            await asyncio.wait(self._writes)

    async def _write(self, tenant: str, image_hex: str, fingerprint: str, embedding: Stored) -> None:
        key, mark = embeddings_key(tenant, image_hex), deleted_key(tenant, image_hex)

        async def write(redis: Redis) -> None:
            async with redis.pipeline(transaction=True) as pipe:
                pipe.hset(key, fingerprint, value)
                pipe.expire(key, self._ttl_s)
                pipe.exists(mark)
                *_, deleted = await pipe.execute()
            if deleted:
                await redis.delete(key)

        async with self._turn:
            value = await asyncio.to_thread(encode, embedding)
            self._client.check_size("embedding_put", len(value))
            await self._client.call("embedding_put", write)

    def _written(self, task: asyncio.Task[None], size: int) -> None:
        self._room += size
        self._writes.discard(task)
        if task.cancelled():
            self._client.failure("embedding_put", "dropped")
            return
        error = task.exception()
        if error is not None and not isinstance(error, StoreFailure):
            self._client.failure("embedding_put", "internal")
            _LOG.error("An embedding could not be written to the store.", exc_info=error)

    def _looked_up(self, outcome: Outcome) -> None:
        self._sink.count(LOOKUPS, tier="redis", outcome=outcome)


async def _values(redis: Redis, keys: list[str]) -> list[bytes | None]:
    return cast("list[bytes | None]", await redis.mget(keys))
