"""Images in this process's memory: the contract, and what only this store does."""

from __future__ import annotations

import pytest

from shared.errors import ImageNotFound
from shared.store.images import ImageStore
from shared.store.images_memory import MemoryImageStore
from shared.store.metrics import BYTES, LOOKUPS
from shared.telemetry.recording import RecordingSink
from tests.unit.store.clock import Clock
from tests.unit.store.image_contract import CAP, TTL_S, ImageStoreContract


class TestContract(ImageStoreContract):
    @pytest.fixture
    def images(self) -> ImageStore:
        return MemoryImageStore(CAP, TTL_S, RecordingSink())


async def test_the_least_recently_used_image_makes_room_and_is_unknown() -> None:
    sink = RecordingSink()
    images = MemoryImageStore(100, 60, sink)
    first, second = [await images.put("t", bytes([n] * 40), 1, 1) for n in range(2)]
    await images.get("t", first.image_id)
    await images.put("t", bytes([2] * 40), 1, 1)
    assert await images.exists("t", first.image_id)
    with pytest.raises(ImageNotFound):
        await images.get("t", second.image_id)
    assert sink.values(BYTES, tier="image")[-1] == 80
    assert sink.total(LOOKUPS, tier="image", outcome="miss") == 1


async def test_an_image_ends_with_its_time() -> None:
    clock = Clock()
    images = MemoryImageStore(100, 60, RecordingSink(), clock)
    record = await images.put("t", b"picture", 1, 1)
    assert record.expires_at.timestamp() == clock() + 60
    clock.pass_(60)
    assert not await images.exists("t", record.image_id)
    assert not await images.delete("t", record.image_id)
