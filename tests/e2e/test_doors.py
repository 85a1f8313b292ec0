"""The doors for clients of other servers, each by its real client: their answers are the native ones."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.http.aio import InferenceServerClient as AsyncClient
from tritonclient.utils import InferenceServerException

from shared.imaging.rle import decode
from tests.data import drawn_street, pixels_of
from tests.unit.brush import decode_brush

pytestmark = pytest.mark.e2e
STREET = drawn_street()
PNG = {"Content-Type": "image/png"}
TEXT = base64.b64encode(STREET).decode()
CLICK = [240.0, 300.0]


def native(http: httpx.Client, path: str) -> Any:
    """What the native path answers about the same picture."""
    return http.post(path, content=STREET, headers=PNG).raise_for_status().json()


def test_hugging_faces_client_gets_the_native_masks(http: httpx.Client, server_url: str) -> None:
    client = InferenceClient(model=f"{server_url}/hf/image-segmentation")
    segments = native(http, "/v1/panoptic")["segments"]
    found = client.image_segmentation(STREET)
    assert [(each.label, each.score) for each in found] == [(each["label"], each["score"]) for each in segments]
    for each, segment in zip(found, segments, strict=True):
        mask: Any = each.mask  # Pillow's image, which the client declares as text
        assert mask.mode == "L"
        assert np.array_equal(np.asarray(mask) == 255, decode(segment["rle"]))
    by_class = client.image_segmentation(STREET, subtask="semantic")
    assert {each.label for each in by_class} == {each["label"] for each in native(http, "/v1/semantic")["segments"]}
    with pytest.raises(HfHubHTTPError, match=r"threshold: should be at most 1"):
        client.image_segmentation(STREET, threshold=7.0)


def test_hugging_faces_client_takes_the_door_as_its_base_url(server_url: str) -> None:
    client = InferenceClient(base_url=f"{server_url}/hf/image-segmentation/street")
    assert client.image_segmentation(STREET, subtask="instance")


def tensor(name: str, values: Any, datatype: str) -> InferInput:
    """An input of Triton's client."""
    found = InferInput(name, list(values.shape), datatype)
    found.set_data_from_numpy(values)
    return found


IMAGE = tensor("image", np.array([STREET], dtype=np.object_), "BYTES")


def test_tritons_client_gets_the_native_masks(http: httpx.Client, server_url: str) -> None:
    segments = native(http, "/v1/semantic")["segments"]
    with InferenceServerClient(server_url.partition("//")[2], connection_timeout=60, network_timeout=60) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("street")
        assert not client.is_model_ready("none")
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        names = [each["name"] for each in client.get_model_metadata("street")["inputs"]]
        assert names == ["image", "point_coords", "point_labels", "boxes"]
        assert [each["name"] for each in client.get_model_repository_index()] == ["street"]
        found = client.infer("street", [IMAGE], outputs=[InferRequestedOutput(each) for each in ("label_map", "masks")])
        pixels = client.infer("street", [tensor("image", pixels_of(STREET), "UINT8")])
        for segment, mask in zip(segments, found.as_numpy("masks"), strict=True):
            assert np.array_equal(mask, decode(segment["rle"]))
            assert np.array_equal(mask, found.as_numpy("label_map") == segment["label_id"])
            assert np.array_equal(mask, pixels.as_numpy("label_map") == segment["label_id"])
        with pytest.raises(InferenceServerException, match="no such model"):
            client.infer("none", [IMAGE])
        with pytest.raises(InferenceServerException, match="switched off"):
            client.load_model("street")


@pytest.fixture
def clicked(http: httpx.Client) -> Any:
    """The native path's best mask under the click."""
    image_id = http.post("/v1/images", files={"image": STREET}).raise_for_status().json()["image_id"]
    prompts = [{"points": [CLICK], "labels": [1]}]
    answer = http.post("/v1/promptable", json={"image_id": image_id, "prompts": prompts}).raise_for_status()
    return answer.json()["results"][0]["masks"][0]


async def test_tritons_asynchronous_client_clicks(clicked: Any, server_url: str) -> None:
    points = tensor("point_coords", np.array([[CLICK]], np.float32), "FP32")
    async with AsyncClient(server_url.partition("//")[2]) as client:
        found = await client.infer("street", [IMAGE, points])
        assert np.array_equal(found.as_numpy("masks")[0], decode(clicked["rle"]))
        assert found.as_numpy("scores")[0] == pytest.approx(clicked["predicted_iou"], abs=1e-6)


def post(http: httpx.Client, path: str, body: Any) -> Any:
    """The answer to a JSON request."""
    return http.post(path, json=body).raise_for_status().json()


def test_cvat_gets_the_native_mask(http: httpx.Client, clicked: Any) -> None:
    body = {"image": TEXT, "pos_points": [CLICK], "neg_points": [], "obj_bbox": None}
    assert np.array_equal(np.array(post(http, "/cvat/interactor", body)["mask"]), decode(clicked["rle"]))


def test_label_studio_gets_the_native_mask(http: httpx.Client, clicked: Any) -> None:
    config = '<Image name="image" value="$image"/><BrushLabels name="brush" toName="image"/>'
    value = {"x": CLICK[0] / 4.8, "y": CLICK[1] / 3.6, "keypointlabels": ["car"]}
    region = {"type": "keypointlabels", "original_width": 480, "original_height": 360, "value": value}
    task = {"data": {"image": f"data:image/png;base64,{TEXT}"}}
    body = {"tasks": [task], "label_config": config, "params": {"context": {"result": [region]}}}
    found = post(http, "/label-studio/predict", body)["results"][0]["result"][0]
    assert np.array_equal(decode_brush(found["value"]["rle"], (360, 480)), decode(clicked["rle"]))
    assert found["value"]["brushlabels"] == ["car"]


def test_roboflow_gets_the_native_mask_and_its_outline(http: httpx.Client, clicked: Any) -> None:
    image = {"type": "base64", "value": TEXT}
    image_id = post(http, "/sam2/embed_image", {"image": image})["image_id"]
    points = [{"x": CLICK[0], "y": CLICK[1], "positive": True}]
    asked = {"image_id": image_id, "prompts": {"prompts": [{"points": points}]}}
    [exact] = post(http, "/sam2/segment_image", {**asked, "format": "rle"})["predictions"]
    assert (exact["masks"], exact["confidence"]) == (clicked["rle"], clicked["predicted_iou"])
    [outlined] = post(http, "/sam2/segment_image", asked)["predictions"]
    drawn = np.zeros((360, 480), np.uint8)
    cv2.fillPoly(drawn, [np.array(ring, np.int32) for ring in outlined["masks"]], 1)
    mask = decode(clicked["rle"])
    assert (mask & (drawn == 1)).sum() / mask.sum() > 0.95
