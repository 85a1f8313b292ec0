"""Uploaded images in Redis: one string per tenant and image, header and bytes, with a TTL from its first moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TypeVar, cast

from redis.asyncio import Redis

from shared.errors import ImageStoreUnavailable
from shared.protocols import Sink
from shared.store.codec import (
    IMAGE_HEADER_BYTES,
    CodecError,
    decode_image,
    decode_image_size,
    encode_image,
)
from shared.store.images import ImageRecord, ImageStore, not_found, too_large
from shared.store.keys import deleted_key, embeddings_key, image_id_of, image_key, parse_image_id
from shared.store.keys import image_id as id_of
from shared.store.metrics import LOOKUPS, Operation, Outcome
from shared.store.redis import RedisClient, StoreFailure

T = TypeVar("T")

RETRY_AFTER_S = 2.0
"""When a caller may ask again after 503; sending the image itself works at once."""
_LOOKUPS: tuple[Operation, ...] = ("image_get", "image_head")


class RedisImageStore(ImageStore):
    """Images of `ttl_s` seconds. An image that reads back altered is removed and unknown: the caller sends it again.

    `deletion_s`: how long after a deletion an embedding that was under way is still refused; longer than any request.
    """

    def __init__(
        self,
        client: RedisClient,
        ttl_s: int,
        deletion_s: float,
        cap: int,
        sink: Sink,
        clock: Callable[[], float] = time.time,
    ):
        self._client = client
        self._ttl_s = ttl_s
        self._deletion_s = deletion_s
        self._cap = cap
        self._sink = sink
        self._clock = clock

    async def put(self, tenant: str, data: bytes, width: int, height: int, image_id: str | None = None) -> ImageRecord:
        """See `ImageStore`: bytes that are there already are not sent again. Undoes the mark of a deletion."""
        if len(data) + IMAGE_HEADER_BYTES > self._cap:
            self._client.failure("image_put", "too_large")
            raise too_large(len(data), self._cap - IMAGE_HEADER_BYTES)
        image_hex = parse_image_id(image_id if image_id else await asyncio.to_thread(id_of, data))
        key, mark = image_key(tenant, image_hex), deleted_key(tenant, image_hex)

        async def touch_or_write(redis: Redis) -> None:
            async with redis.pipeline(transaction=False) as pipe:
                pipe.getrange(key, 0, IMAGE_HEADER_BYTES - 1)
                pipe.strlen(key)
                pipe.expire(key, self._ttl_s)
                pipe.delete(mark)
                head, length, *_ = await pipe.execute()
            if _size(head) != (width, height) or length != len(data) + IMAGE_HEADER_BYTES:
                await redis.set(key, encode_image(data, width, height), ex=self._ttl_s)

        await self._call("image_put", touch_or_write)
        return self._record(image_hex, (width, height), self._ttl_s)

    async def get(self, tenant: str, image_id: str) -> bytes:
        """See `ImageStore`: reads the whole image."""
        image_hex = parse_image_id(image_id)
        key = image_key(tenant, image_hex)
        value = cast("bytes | None", await self._call("image_get", lambda redis: redis.get(key)))
        if value is None:
            self._looked_up("miss")
            raise not_found(image_hex)
        try:
            image = decode_image(value)
        except CodecError:
            self._looked_up("corrupt")
            self._client.failure("image_get", "corrupt")
            with suppress(ImageStoreUnavailable):
                await self._call("image_delete", lambda redis: redis.delete(key))
            raise not_found(image_hex) from None
        self._looked_up("hit")
        return image.data

    async def head(self, tenant: str, image_id: str) -> ImageRecord:
        """See `ImageStore`: reads the first bytes only, so an altered image is found out by `get` alone."""
        image_hex = parse_image_id(image_id)
        key = image_key(tenant, image_hex)

        async def read(redis: Redis) -> tuple[bytes, int]:
            async with redis.pipeline(transaction=False) as pipe:
                pipe.getrange(key, 0, IMAGE_HEADER_BYTES - 1)
                pipe.pttl(key)
                head, left_ms = await pipe.execute()
            return head, left_ms

        head, left_ms = await self._call("image_head", read)
        size = _size(head)
        if size is None:
            self._looked_up("corrupt" if head else "miss")
            raise not_found(image_hex)
        self._looked_up("hit")
        return self._record(image_hex, size, max(left_ms, 0) / 1000)

    async def delete(self, tenant: str, image_id: str) -> bool:
        """See `ImageStore`: embeddings on their way to the store are refused for a while too. A full server refuses the
        mark of that, never a DEL, and has room for it then; where it has none still, this is no success, since whoever
        holds an embedding would not be told."""
        image_hex = parse_image_id(image_id)
        key, embeddings, mark = (name(tenant, image_hex) for name in (image_key, embeddings_key, deleted_key))

        async def remove(redis: Redis) -> tuple[bool, Exception | None]:
            async with redis.pipeline(transaction=False) as pipe:
                pipe.set(mark, b"", px=int(self._deletion_s * 1000))
                pipe.delete(embeddings)
                pipe.delete(key)
                marked, *removed = await pipe.execute(raise_on_error=False)
            for error in (reply for reply in removed if isinstance(reply, Exception)):
                raise error
            return bool(removed[-1]), marked if isinstance(marked, Exception) else None

        async def remove_and_mark(redis: Redis) -> bool:
            was_there, refused = await remove(redis)
            if refused is not None and (refused := (await remove(redis))[1]) is not None:
                raise refused
            return was_there

        return await self._call("image_delete", remove_and_mark)

    async def _call(self, operation: Operation, action: Callable[[Redis], Awaitable[T]]) -> T:
        try:
            return await self._client.call(operation, action)
        except StoreFailure as failure:
            if operation in _LOOKUPS:
                self._looked_up("error")
            raise ImageStoreUnavailable(retry_after_s=RETRY_AFTER_S) from failure

    def _looked_up(self, outcome: Outcome) -> None:
        self._sink.count(LOOKUPS, tier="image", outcome=outcome)

    def _record(self, image_hex: str, size: tuple[int, int], left_s: float) -> ImageRecord:
        return ImageRecord(image_id_of(image_hex), *size, datetime.fromtimestamp(self._clock() + left_s, UTC))


def _size(head: bytes) -> tuple[int, int] | None:
    """(width, height) from an encoded image's first bytes; None where they are no image of this version."""
    try:
        return decode_image_size(head)
    except CodecError:
        return None
