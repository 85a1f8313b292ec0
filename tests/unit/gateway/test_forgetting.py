"""A deleted image leaves the process that served it: its embedding, and what the decoder keeps of it besides."""

from __future__ import annotations

import gc
import weakref
from typing import Literal

import httpx
import pytest

from services.gateway.app import create_app
from services.gateway.inprocess import InProcessDirectory
from shared.imaging.png import picture_png
from shared.imaging.sample import street_scene
from shared.models.engines.halves import HalvedEngine
from shared.serving.args import ServiceArgs
from shared.serving.whole import assemble_whole
from shared.settings import Settings
from shared.store.keys import parse_image_id
from shared.store.opening import open_stores
from shared.telemetry.recording import RecordingSink

CLICK = [{"points": [[240, 300]], "labels": [1]}]


async def page() -> bytes:
    return b""


def kept_halves() -> int:
    return sum(each.kept for each in gc.get_objects() if type(each) is HalvedEngine)


@pytest.mark.parametrize("embeddings", ["fp16", "int8"])
async def test_nothing_of_a_deleted_image_is_left(embeddings: Literal["fp16", "int8"]) -> None:
    settings, sink = Settings(), RecordingSink()
    args = ServiceArgs(model="street", tasks=("promptable",), embeddings=embeddings)
    stores = open_stores(settings, sink, packed=args.packed)
    model = assemble_whole(args, settings, sink, stores)
    assert model.promptable is not None
    app = create_app(settings, InProcessDirectory([], [model.promptable]), stores.images, sink, page)
    picture, _ = street_scene()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://one") as client:
        image = (await client.post("/v1/images", files={"image": picture_png(picture)})).json()["image_id"]
        before = kept_halves()
        for tier in ("computed", "memory"):
            answer = await client.post("/v1/promptable", json={"image_id": image, "prompts": CLICK})
            assert answer.json()["embedding"] == tier
        assert kept_halves() > before
        fingerprint = model.loaded.info.encoder_fingerprint
        held = stores.embeddings.peek("public", parse_image_id(image), fingerprint)
        assert held is not None
        memory = [weakref.ref(tensor) for tensor in held.tensors]
        del held
        assert (await client.delete(f"/v1/images/{image}")).status_code == 204
        gc.collect()
        assert [each() for each in memory] == [None] * len(memory)
        assert kept_halves() == before
    await stores.close()
