"""Hugging Face's door: bytes and JSON in, PNGs of masks out, errors as its client reads them."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import httpx
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from shared.imaging.rle import decode, encode
from shared.settings import Settings
from shared.types import Region
from tests.bad_input import PNG, picture, png_header
from tests.data import pixels_of
from tests.unit.gateway.running import Running, running
from tests.unit.gateway.tiny import bright

SEGMENT, GENERATE = "/hf/image-segmentation", "/hf/mask-generation"
INPUTS = base64.b64encode(PNG).decode()


def mask_of(text: str) -> Any:
    """A mask as it came: a grey PNG in base64."""
    return pixels_of(base64.b64decode(text))


async def post(gateway: Running, path: str = SEGMENT, **body: Any) -> httpx.Response:
    """A JSON request."""
    return await gateway.client.post(path, json=body)


async def test_bytes_without_a_content_type_are_an_image(gateway: Running) -> None:
    answer = await gateway.client.post(SEGMENT, content=PNG)
    assert answer.status_code == 200
    [found] = answer.json()
    mask = mask_of(found["mask"])
    assert (found["label"], found["score"], mask.shape, mask.dtype) == ("bright", 1.0, (48, 64), np.uint8)
    assert np.array_equal(mask, np.where(bright(PNG), 255, 0))
    assert gateway.dense.calls[0].task == "panoptic", "what the pipeline prefers"


@pytest.mark.parametrize("subtask", ["semantic", "panoptic"])
async def test_parameters_become_options(subtask: str, gateway: Running) -> None:
    answer = await post(
        gateway, inputs=INPUTS, parameters={"subtask": subtask, "threshold": 0.25, "mask_threshold": 0.5}
    )
    assert answer.status_code == 200
    call = gateway.dense.calls[0]
    assert (call.task, call.options.score_threshold) == (subtask, None if subtask == "semantic" else 0.25)


async def test_a_model_is_named_in_the_path(gateway: Running) -> None:
    assert (await gateway.client.post(f"{SEGMENT}/threshold@1", content=PNG)).status_code == 200
    answer = await gateway.client.post(f"{SEGMENT}/missing", content=PNG)
    assert (answer.status_code, set(answer.json())) == (404, {"error"})
    assert "missing" in answer.json()["error"]
    assert gateway.sink.total("segserve_requests_total", route=f"{SEGMENT}/{{model}}", status="404") == 1


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"inputs": "!!"}, 400, "inputs: not valid base64"),
        ({"inputs": base64.b64encode(b"none").decode()}, 415, "image"),
        ({"inputs": base64.b64encode(png_header(16000, 16000)).decode()}, 413, "pixels"),
        ({"inputs": base64.b64encode(PNG[:60]).decode()}, 400, ""),
        ({"inputs": 7}, 422, "inputs: should be text"),
        ({}, 422, "inputs: is required"),
        ({"inputs": INPUTS, "parameters": {"threshold": 2}}, 422, "sent: 2"),
        ({"inputs": INPUTS, "parameters": {"subtask": "depth"}}, 422, "semantic"),
        ({"inputs": INPUTS, "parameters": {"subtask": "instance"}}, 404, "instance"),
        ({"inputs": INPUTS, "parameters": {"mask_threshold": 0.1}}, 422, "mask_threshold"),
        ({"inputs": INPUTS, "parameters": {"treshold": 0.1}}, 422, "did you mean `threshold`"),
    ],
)
async def test_bad_input_is_told_in_one_text(body: dict[str, Any], status: int, says: str, gateway: Running) -> None:
    answer = await post(gateway, **body)
    assert (answer.status_code, set(answer.json())) == (status, {"error"})
    assert says in answer.json()["error"]
    assert answer.headers["x-request-id"]
    assert sum(gateway.sink.values("segserve_in_flight_requests")[-1:]) == 0


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "", 400),
        (b"[1]", "application/json", 400),
        (b'{"inputs": ', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"inputs": "", "more": [' + b"1," * 3 * 2**20 + b"1]}", "application/json", 413),
        (b"x" * (32 * 2**20 + 1), "image/png", 413),
    ],
)
async def test_bodies_that_are_none(content: bytes, kind: str, status: int, gateway: Running) -> None:
    answer = await gateway.client.post(SEGMENT, content=content, headers={"Content-Type": kind} if kind else {})
    assert (answer.status_code, set(answer.json())) == (status, {"error"})


async def test_compressed_bodies_and_other_methods_are_refused(gateway: Running) -> None:
    assert (await gateway.client.post(SEGMENT, content=PNG, headers={"Content-Encoding": "gzip"})).status_code == 415
    other = await gateway.client.get(SEGMENT)
    assert (other.status_code, set(other.json()), other.headers["allow"]) == (405, {"error"}, "POST")


async def test_keys_are_asked_for_and_tenants_apart() -> None:
    digests = {hashlib.sha256(key.encode()).hexdigest(): key for key in ("ada", "bo")}
    async with running(settings=Settings(api_keys=digests)) as gateway:
        refused = await gateway.client.post(SEGMENT, content=PNG)
        assert (refused.status_code, set(refused.json())) == (401, {"error"})
        assert refused.headers["www-authenticate"] == "Bearer"
        for key in digests.values():
            answer = await gateway.client.post(GENERATE, content=PNG, headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == 200
        assert [call.caller.tenant for call in gateway.wand.generated] == ["ada", "bo"]


async def test_every_permit_taken_is_told_as_other_errors() -> None:
    async with running(settings=Settings(max_concurrent_requests=1)) as gateway:
        with gateway.app.state.gateway.permits.permit("someone"):
            answer = await gateway.client.post(SEGMENT, content=PNG)
    assert (answer.status_code, set(answer.json())) == (503, {"error"})
    assert answer.headers["retry-after"]


async def test_mask_generation_gives_every_mask(gateway: Running) -> None:
    answer = (await gateway.client.post(GENERATE, content=picture(60))).json()
    assert set(answer) == {"masks", "scores", "rle_mask", "bounding_boxes"}
    assert answer["scores"] == [1.0, 1.0]
    for text, rle, box in zip(answer["masks"], answer["rle_mask"], answer["bounding_boxes"], strict=True):
        mask = mask_of(text) == 255
        assert np.array_equal(decode(rle), mask)
        region = Region.from_mask(mask)
        assert region.box == tuple(box)
        assert coco_mask.frPyObjects(rle, *rle["size"])["counts"].decode() == encode(region)["counts"]


async def test_mask_generation_takes_the_pipelines_names(gateway: Running) -> None:
    parameters = {"points_per_crop": 4, "crops_n_layers": 1, "crops_nms_thresh": 0.5, "output_rle_mask": False}
    answer = await post(gateway, GENERATE, inputs=INPUTS, parameters=parameters)
    assert "rle_mask" not in answer.json()
    options = gateway.wand.generated[0].options
    assert (options.points_per_side, options.crop_n_layers, options.crop_nms_thresh) == (4, 1, 0.5)
    refused = await post(gateway, GENERATE, inputs=INPUTS, parameters={"points_per_crop": 0})
    assert (refused.status_code, set(refused.json())) == (422, {"error"})
