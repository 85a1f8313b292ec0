"""CVAT's, Label Studio's and Roboflow's doors over ASGI: clicks and boxes in their words, masks in theirs."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import httpx
import numpy as np
import pytest

from services.gateway.routes.compat import cvat
from shared.imaging.rle import decode
from shared.settings import Settings
from shared.store.keys import image_id
from tests.bad_input import PNG, png_header
from tests.unit.brush import decode_brush
from tests.unit.gateway.running import Running, running
from tests.unit.gateway.tiny import bright

TEXT = base64.b64encode(PNG).decode()
CVAT, PREDICT, EMBED, SEGMENT = "/cvat/interactor", "/label-studio/predict", "/sam2/embed_image", "/sam2/segment_image"
CLICK: dict[str, Any] = {"image": TEXT, "pos_points": [[60, 5]], "neg_points": [[5, 5], [6, 6]]}
CONFIG = """<View><Image name="photo" value="$picture" zoom="true"/><BrushLabels name="tag" toName="photo">
<Label value="car"/></BrushLabels><KeyPointLabels name="kp" toName="photo" smart="true"><Label value="car"/>
</KeyPointLabels></View>"""
SIZE = {"original_width": 64, "original_height": 48}
KEYPOINT = {
    **SIZE,
    "type": "keypointlabels",
    "is_positive": True,
    "value": {"x": 75, "y": 50, "keypointlabels": ["car"]},
}
BOX = {
    **SIZE,
    "type": "rectanglelabels",
    "value": {"x": 50, "y": 0, "width": 50, "height": 100, "rectanglelabels": ["bus"]},
}
POINT = {"x": 60, "y": 5, "positive": True}
SENT = {"type": "base64", "value": TEXT}


def labelled(*regions: Any, picture: Any = f"data:image/png;base64,{TEXT}", config: str = CONFIG) -> dict[str, Any]:
    """What Label Studio sends when something was clicked."""
    context = {"result": [*regions]} if regions else None
    task = {"id": 1, "data": {"picture": picture}}
    return {"tasks": [task], "label_config": config, "project": "1.1", "params": {"login": None, "context": context}}


def told(answer: httpx.Response, status: int, says: str, field: str = "error") -> None:
    """An error as the door's client reads it."""
    assert answer.status_code == status, answer.text
    assert says in answer.json()[field], answer.text


async def test_cvat_gets_rows_of_zeros_and_ones(gateway: Running) -> None:
    for path in (CVAT, f"{CVAT}/wand"):
        answer = await gateway.client.post(path, json={**CLICK, "obj_bbox": [[32, 0], [64, 48]]})
        assert np.array_equal(np.array(answer.json()["mask"]), bright(PNG).astype(int))
    prompt = gateway.wand.calls[0].prompts[0]
    assert (prompt.points.tolist(), prompt.labels.tolist()) == ([[60, 5], [5, 5], [6, 6]], [1, 0, 0])
    assert prompt.box == (32, 0, 64, 48)


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"image": "?"}, 400, "base64"),
        ({"image": base64.b64encode(png_header(16000, 16000)).decode()}, 413, "pixels"),
        ({"image": None}, 422, "image"),
        ({"pos_points": [], "neg_points": []}, 422, "prompts"),
        ({"pos_points": [[1]]}, 422, "pos_points"),
        ({"pos_points": [[65, 1]]}, 422, "points"),
        ({"pos_points": [[1, 1]] * 1100}, 422, "too many points"),
        ({"obj_bbox": [[1, 1]]}, 422, "obj_bbox"),
        ({"obj_bbox": [[9, 9], [1, 1]]}, 422, "box"),
    ],
)
async def test_cvat_is_told_what_is_wrong(change: dict[str, Any], status: int, says: str, gateway: Running) -> None:
    told(await gateway.client.post(CVAT, json={**CLICK, **change}), status, says)
    assert not gateway.wand.calls


async def test_cvats_masks_are_bounded(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cvat, "MAX_PIXELS", 3000)
    told(await gateway.client.post(CVAT, json=CLICK), 422, "too large for a mask in JSON")


async def test_label_studio_gets_brush_strokes(gateway: Running) -> None:
    answer = (await gateway.client.post(PREDICT, json=labelled(KEYPOINT))).json()
    assert answer["model_version"] == "wand@1"
    [prediction] = answer["results"]
    [region] = prediction["result"]
    value = region["value"]
    assert (region["from_name"], region["to_name"], region["type"]) == ("tag", "photo", "brushlabels")
    assert (region["original_width"], region["original_height"], value["brushlabels"]) == (64, 48, ["car"])
    assert np.array_equal(decode_brush(value["rle"], (48, 64)), bright(PNG))
    assert gateway.wand.calls[0].prompts[0].points.tolist() == [[48, 24]]


async def test_label_studio_mixes_clicks_and_a_box(gateway: Running) -> None:
    beside = {**KEYPOINT, "is_positive": False, "value": {"x": 0, "y": 50, "keypointlabels": ["car"]}}
    answer = await gateway.client.post("/label-studio/wand/predict", json=labelled(KEYPOINT, beside, BOX))
    assert answer.json()["results"][0]["result"][0]["value"]["brushlabels"] == ["bus"]
    prompt = gateway.wand.calls[0].prompts[0]
    assert (prompt.points.tolist(), prompt.labels.tolist()) == ([[48, 24], [0, 24]], [1, 0])
    assert prompt.box == (32, 0, 64, 48)


async def test_label_studio_asks_before_anything_is_drawn(gateway: Running) -> None:
    assert (await gateway.client.post(PREDICT, json=labelled())).json() == {"results": [], "model_version": "wand@1"}
    assert (await gateway.client.get("/label-studio/health")).json()["status"] == "UP"
    setup = {"project": "1.1", "schema": CONFIG, "hostname": "http://127.0.0.1", "access_token": "x"}
    for path in ("/label-studio/setup", "/label-studio/wand/setup"):
        assert (await gateway.client.post(path, json=setup)).json() == {"model_version": "wand@1"}
    told(await gateway.client.post("/label-studio/none/setup", json=setup), 404, "none")


async def test_label_studios_image_may_be_a_stored_one(gateway: Running) -> None:
    await gateway.client.post("/v1/images", files={"image": PNG})
    answer = await gateway.client.post(PREDICT, json=labelled(KEYPOINT, picture=image_id(PNG)))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 422, "tasks"),
        (labelled(KEYPOINT, config="<View/>"), 422, "needs a tag Image"),
        (labelled(KEYPOINT, config='<Image value="$picture" name="a"/>'), 422, "needs a tag BrushLabels"),
        (labelled(KEYPOINT, config="<" * 100_000), 422, "needs a tag Image"),
        (labelled(KEYPOINT, picture=None), 422, "has no image"),
        (labelled(KEYPOINT, picture="/data/upload/1.png"), 422, "whole URL"),
        (labelled(KEYPOINT, picture="file:///etc/passwd"), 422, "whole URL"),
        (labelled(KEYPOINT, picture="http://127.0.0.1/x.png"), 422, "switched off"),
        (labelled(KEYPOINT, picture="data:image/png;base64,?"), 400, "tasks[0].data: not valid base64"),
        (labelled(KEYPOINT, picture="sha256:" + "0" * 64), 404, "image"),
        (labelled({**KEYPOINT, "type": "polygonlabels"}), 422, "takes keypoints and rectangles"),
        (labelled({**KEYPOINT, "value": {"x": 101, "y": 0}}), 422, "at most 100"),
        (labelled({**KEYPOINT, "original_width": 6400}), 422, "points"),
        (labelled({**BOX, "value": {"x": 5, "y": 5}}), 422, "box"),
    ],
)
async def test_label_studio_is_told_what_is_wrong(body: Any, status: int, says: str, gateway: Running) -> None:
    told(await gateway.client.post(PREDICT, json=body), status, says)
    assert not gateway.wand.calls


async def test_roboflow_embeds_once_and_clicks_by_id(gateway: Running) -> None:
    embedded = (await gateway.client.post(EMBED, json={"image": SENT, "sam2_version_id": "hiera_tiny"})).json()
    assert (embedded["image_id"], embedded["model"]) == (image_id(PNG), "wand@1")
    box = {"x": 48, "y": 24, "width": 32, "height": 48}
    prompts = {"prompts": [{"points": [POINT, {"x": 5, "y": 5, "positive": False}], "box": box}, {"points": [POINT]}]}
    asked = {"image_id": embedded["image_id"], "prompts": prompts, "format": "rle"}
    answer = (await gateway.client.post(SEGMENT, json=asked)).json()
    assert [each["confidence"] for each in answer["predictions"]] == [1.0, 1.0]
    assert np.array_equal(decode(answer["predictions"][0]["masks"]), bright(PNG))
    call = gateway.wand.calls[0]
    assert (call.image, call.options.multimask, call.options.format) == (None, True, "rle")
    assert (call.prompts[0].labels.tolist(), call.prompts[0].box) == ([1, 0], (32, 0, 64, 48))


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        (EMBED, {}, 422, "image"),
        (EMBED, {"image": {"type": "numpy", "value": "x"}}, 422, "base64"),
        (EMBED, {"image": {"type": "base64", "value": "?"}}, 400, "image.value"),
        (EMBED, {"image": {"type": "url", "value": "http://127.0.0.1/x.png"}}, 422, "switched off"),
        (EMBED, {"image": {"type": "base64", "value": base64.b64encode(b"none").decode()}}, 415, "image"),
        (SEGMENT, {"image": SENT}, 422, "prompts"),
        (SEGMENT, {"image": SENT, "prompts": {"prompts": []}}, 422, "prompts"),
        (SEGMENT, {"image": SENT, "prompts": {"prompts": [{}]}}, 422, "prompts"),
        (SEGMENT, {"prompts": {"prompts": [{"points": [POINT]}]}}, 422, "an image or an image_id is required"),
        (SEGMENT, {"image_id": "mine", "prompts": {"prompts": [{"points": [POINT]}]}}, 422, "no image id"),
        (SEGMENT, {"image": SENT, "prompts": {"prompts": [{"points": [{**POINT, "x": 900}]}]}}, 422, "points"),
        (SEGMENT, {"image": SENT, "prompts": {"prompts": [{"points": [POINT]}] * 300}}, 422, "too many prompts"),
        (
            SEGMENT,
            {"image": SENT, "prompts": {"prompts": [{"points": [POINT]}]}, "format": "binary"},
            422,
            "json or rle",
        ),
        (
            SEGMENT,
            {"image": SENT, "prompts": {"prompts": [{"points": [POINT]}]}, "mask_input": [[1]]},
            422,
            "mask_input",
        ),
    ],
)
async def test_roboflow_is_told_what_is_wrong(path: str, body: Any, status: int, says: str, gateway: Running) -> None:
    answer = await gateway.client.post(path, json=body)
    told(answer, status, says, "message")
    assert set(answer.json()) == {"code", "message", "details", "request_id"}
    assert not gateway.wand.calls


async def test_keys_are_asked_for_and_tenants_apart() -> None:
    digests = {hashlib.sha256(key.encode()).hexdigest(): key for key in ("ada", "bo")}
    prompts = {"prompts": [{"points": [POINT]}]}
    bodies = {
        CVAT: CLICK,
        PREDICT: labelled(KEYPOINT),
        SEGMENT: {"image": SENT, "prompts": prompts, "format": "rle"},
        EMBED: {"image": SENT},
    }
    async with running(settings=Settings(api_keys=digests)) as gateway:
        for path, body in bodies.items():
            assert (await gateway.client.post(path, json=body)).status_code == 401
        assert (await gateway.client.post("/label-studio/setup", json={})).status_code == 401
        assert (await gateway.client.get("/label-studio/health")).status_code == 200
        for path, body in bodies.items():
            answer = await gateway.client.post(path, json=body, auth=("anyone", "ada"))
            assert answer.status_code == 200, answer.text
        assert {call.caller.tenant for call in gateway.wand.calls} == {"ada"}
        by_id = {"image_id": image_id(PNG), "prompts": prompts, "format": "rle"}
        told(await gateway.client.post(SEGMENT, json=by_id, auth=("", "bo")), 404, "image", "message")
        assert (await gateway.client.post(SEGMENT, json=by_id, auth=("", "ada"))).status_code == 200
