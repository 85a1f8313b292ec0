"""What every image store promises; a test module inherits it and gives the store."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC

import pytest

from shared.errors import BodyTooLarge, ImageNotFound, InvalidOption
from shared.store.images import ImageStore, Known, Unknown
from shared.store.keys import image_id

CAP = 4096
"""Largest image that the stores under test take, bytes, header included."""
TTL_S = 60
PICTURE = b"\xff\xd8 a picture"
ID = image_id(PICTURE)


class ImageStoreContract:
    """Checks against the fixture `images`, a fresh store of `CAP` bytes and `TTL_S`."""

    async def test_what_was_put_comes_back(self, images: ImageStore) -> None:
        begun = time.time()
        record = await images.put("t", PICTURE, 640, 480)
        assert (record.image_id, record.width, record.height) == (ID, 640, 480)
        assert await images.get("t", ID) == PICTURE
        assert await images.exists("t", ID)
        head = await images.head("t", ID)
        assert (head.image_id, head.width, head.height) == (ID, 640, 480)
        assert head.expires_at.tzinfo is UTC
        assert begun - 2 < head.expires_at.timestamp() - TTL_S < time.time() + 2

    async def test_a_known_id_is_taken_as_given(self, images: ImageStore) -> None:
        assert (await images.put("t", PICTURE, 1, 1, ID)).image_id == ID
        with pytest.raises(InvalidOption):
            await images.put("t", PICTURE, 1, 1, "picture-1")

    async def test_an_unknown_image_is_not_found_by_name(self, images: ImageStore) -> None:
        for ask in (images.get, images.head):
            with pytest.raises(ImageNotFound) as caught:
                await ask("t", ID)
            assert caught.value.details[0].field == "image_id"
            assert caught.value.details[0].value == ID[:100]
        assert not await images.exists("t", ID)
        assert not await images.delete("t", ID)

    async def test_text_that_is_no_id_is_refused(self, images: ImageStore) -> None:
        for ask in (images.get, images.head, images.exists, images.delete, images.resolve):
            with pytest.raises(InvalidOption):
                await ask("t", "sha256:1")

    async def test_another_tenant_sees_nothing_of_it(self, images: ImageStore) -> None:
        await images.put("t", PICTURE, 640, 480)
        assert not await images.exists("u", ID)
        assert not await images.delete("u", ID)
        await images.put("u", PICTURE, 640, 480)
        assert await images.delete("u", ID)
        assert await images.get("t", ID) == PICTURE

    async def test_a_deleted_image_is_unknown_and_may_come_again(self, images: ImageStore) -> None:
        await images.put("t", PICTURE, 640, 480)
        assert await images.delete("t", ID)
        assert not await images.exists("t", ID)
        await images.put("t", PICTURE, 640, 480)
        assert await images.get("t", ID) == PICTURE

    async def test_the_same_bytes_again_are_the_same_image_and_begin_their_time_anew(self, images: ImageStore) -> None:
        first = await images.put("t", PICTURE, 640, 480)
        await asyncio.sleep(0.02)
        again = await images.put("t", PICTURE, 640, 480)
        assert again.image_id == first.image_id
        assert again.expires_at > first.expires_at
        assert await images.get("t", ID) == PICTURE

    async def test_resolving_tells_known_from_unknown(self, images: ImageStore) -> None:
        assert isinstance(await images.resolve("t", ID), Unknown)
        await images.put("t", PICTURE, 640, 480)
        known = await images.resolve("t", ID)
        assert isinstance(known, Known)
        assert (known.record.width, known.record.height) == (640, 480)

    async def test_more_bytes_than_it_takes_are_refused_before_anything_is_lost(self, images: ImageStore) -> None:
        await images.put("t", PICTURE, 640, 480)
        with pytest.raises(BodyTooLarge) as caught:
            await images.put("t", bytes(CAP + 1), 1, 1)
        assert caught.value.details[0].field == "image"
        assert await images.exists("t", ID)

    async def test_no_bytes_at_all_come_back_too(self, images: ImageStore) -> None:
        record = await images.put("t", b"", 1, 1)
        assert await images.get("t", record.image_id) == b""
