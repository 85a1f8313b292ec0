"""Uploaded images in this process's memory: the authority where no Redis is configured, bounded in bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from shared.protocols import Sink
from shared.store.codec import StoredImage
from shared.store.images import ImageRecord, ImageStore, not_found, too_large
from shared.store.keys import image_id as id_of
from shared.store.keys import image_id_of, parse_image_id
from shared.store.memory import ByteLru
from shared.store.metrics import BYTES, EVICTIONS, LOOKUPS

_Key = tuple[str, str]
_Entry = tuple[StoredImage, datetime]


class MemoryImageStore(ImageStore):
    """Keeps at most `capacity` bytes of images; beyond that the least recently used are gone (404). Never unavailable.

    One object per process: whoever needs the images must be given this one.
    """

    def __init__(
        self,
        capacity: int,
        ttl_s: float,
        sink: Sink,
        clock: Callable[[], float] = time.time,
        on_delete: Callable[[str, str], None] = lambda tenant, image_hex: None,
    ):
        """`on_delete` forgets what else this process holds of the image."""
        self._on_delete = on_delete
        self._capacity = capacity
        self._ttl_s = ttl_s
        self._sink = sink
        self._clock = clock
        self._images: ByteLru[_Key, _Entry] = ByteLru(
            capacity,
            ttl_s,
            clock,
            lambda held: sink.gauge(BYTES, float(held), tier="image"),
            lambda reason: sink.count(EVICTIONS, tier="image", reason=reason),
        )

    async def put(self, tenant: str, data: bytes, width: int, height: int, image_id: str | None = None) -> ImageRecord:
        """See `ImageStore`: takes the place of those not asked for longest. Hashes on the loop where no id is given."""
        image_hex = parse_image_id(image_id or id_of(data))
        expires_at = datetime.fromtimestamp(self._clock() + self._ttl_s, UTC)
        image = StoredImage(width, height, data)
        if not self._images.put((tenant, image_hex), (image, expires_at), len(data)):
            raise too_large(len(data), self._capacity)
        return _record(image_hex, image, expires_at)

    async def get(self, tenant: str, image_id: str) -> bytes:
        """See `ImageStore`."""
        image, _ = self._find(tenant, parse_image_id(image_id))
        return image.data

    async def head(self, tenant: str, image_id: str) -> ImageRecord:
        """See `ImageStore`; it counts as use, as `get` does."""
        image_hex = parse_image_id(image_id)
        return _record(image_hex, *self._find(tenant, image_hex))

    async def delete(self, tenant: str, image_id: str) -> bool:
        """See `ImageStore`: nothing is left when it returns."""
        image_hex = parse_image_id(image_id)
        self._on_delete(tenant, image_hex)
        return self._images.discard((tenant, image_hex))

    def _find(self, tenant: str, image_hex: str) -> _Entry:
        entry = self._images.get((tenant, image_hex))
        self._sink.count(LOOKUPS, tier="image", outcome="miss" if entry is None else "hit")
        if entry is None:
            raise not_found(image_hex)
        return entry


def _record(image_hex: str, image: StoredImage, expires_at: datetime) -> ImageRecord:
    return ImageRecord(image_id_of(image_hex), image.width, image.height, expires_at)
