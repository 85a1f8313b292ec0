"""Many images in one call, with a store that cannot hold their embeddings: every id that was given stays good."""

from __future__ import annotations

import json

import httpx
import numpy as np
import pytest
import redis

from deploy.valkey import EmbeddedValkey
from services.gateway.app import create_app
from services.gateway.inprocess import InProcessDirectory
from shared.imaging.compose import encode_picture
from shared.serving.args import ServiceArgs
from shared.serving.whole import assemble_whole
from shared.settings import Settings
from shared.store.opening import open_stores
from shared.telemetry.recording import RecordingSink
from tests.integration.trivial.platform import HERE

pytestmark = pytest.mark.integration
MIB = 2**20
COUNT = 120
"""Images of 12 KiB, whose embeddings take 256 KiB each."""


async def test_every_image_of_one_call_keeps_its_id_while_embeddings_make_room() -> None:
    generator, sink = np.random.default_rng(0), RecordingSink()
    photos = [encode_picture(generator.integers(0, 255, (64, 64, 3), np.uint8)) for _ in range(COUNT)]
    with EmbeddedValkey(memory_bytes=12 * MIB) as small:
        given = {"redis_url": small.url, "redis_timeout_s": 10, "card_dirs": [HERE / "cards"], "memory_tier_bytes": MIB}
        settings = Settings.model_validate(given)
        stores = open_stores(settings, sink)
        model = assemble_whole(ServiceArgs(model="whole", tasks=("promptable",)), settings, sink, stores)
        assert model.promptable is not None

        async def page() -> bytes:
            return b""

        app = create_app(settings, InProcessDirectory([], [model.promptable]), stores.images, sink, page)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gateway") as client:
            files = [("image", (f"{number}.png", photo, "image/png")) for number, photo in enumerate(photos)]
            sent = await client.post("/v1/images", files=files, data={"embed": "whole"}, timeout=120)
            entries = sent.raise_for_status().json()["images"]
            assert {entry["embeddings"]["whole"] for entry in entries} == {"computed"}
            await stores.embeddings.flush()
            with redis.Redis.from_url(small.url) as by_hand:
                assert by_hand.info("stats")["evicted_keys"] > COUNT / 2
            for entry in entries:
                path = f"/v1/images/{entry['image_id']}"
                assert [(await client.request(how, path)).status_code for how in ("HEAD", "GET")] == [200, 200]
            click = json.loads('[{"points": [[1, 1]], "labels": [1]}]')
            tiers = []
            for entry in (entries[0], entries[COUNT // 2], entries[-1]):
                body = {"image_id": entry["image_id"], "prompts": click}
                tiers.append((await client.post("/v1/promptable", json=body)).raise_for_status().json()["embedding"])
            assert tiers[0] == "computed", "what was given up is computed again from the image"
        await stores.close()
