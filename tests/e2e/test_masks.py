"""Photos in, masks out, over HTTP, for all four tasks: do they overlap the truth, and are they the model's own?"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image

from shared.imaging.rle import decode as decode_rle
from shared.imaging.sample import street_scene
from tests.data import CAMVID_VOID, camvid, drawn_street, encoded, pixels_of

pytestmark = pytest.mark.e2e
PNG = {"Content-Type": "image/png"}


def iou(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Intersection over union of two boolean masks."""
    return float((one & other).sum() / max((one | other).sum(), 1))


def label_map(http: httpx.Client, photo: bytes) -> np.ndarray[Any, Any]:
    """The bare label map that `Accept: image/png` asks for."""
    answer = http.post("/v1/semantic", content=photo, headers={**PNG, "Accept": "image/png"})
    assert answer.status_code == 200, answer.text
    return pixels_of(answer.content)


@pytest.fixture(scope="module")
def photos() -> list[tuple[bytes, np.ndarray[Any, Any]]]:
    """Ten real photos spread over val, with their true labels."""
    pairs = camvid("val")[::10][:10]
    return [(encoded(pixels_of(photo.read_bytes())), pixels_of(labels.read_bytes())) for photo, labels in pairs]


def test_a_real_photo_gets_most_of_its_pixels_right(http: httpx.Client, photos: list[Any]) -> None:
    right = total = 0
    for photo, truth in photos:
        labels = label_map(http, photo)
        known = truth != CAMVID_VOID
        right += int((labels == truth)[known].sum())
        total += int(known.sum())
    assert right / total > 0.8


def test_instances_overlap_the_true_cars(http: httpx.Client, photos: list[Any]) -> None:
    best: list[float] = []
    for photo, truth in photos:
        answer = http.post("/v1/instance", content=photo, headers=PNG).json()
        found = [decode_rle(each["rle"]) for each in answer["instances"] if each["label"] == "car"]
        best += [max((iou(mask, true) for mask in found), default=0.0) for true in components(truth == 8, 1500)]
    assert best, "no photo with a large car"
    assert np.mean(best) > 0.4


def test_panoptic_segments_are_disjoint_and_overlap_the_truth(http: httpx.Client, photos: list[Any]) -> None:
    for photo, truth in photos[:5]:
        answer = http.post("/v1/panoptic", content=photo, headers=PNG).json()
        masks = [decode_rle(segment["rle"]) for segment in answer["segments"]]
        assert int(np.sum(masks, axis=0).max()) == 1
        roads = [mask for mask, segment in zip(masks, answer["segments"], strict=True) if segment["label"] == "road"]
        assert iou(np.any(roads, axis=0), truth == 3) > 0.7
        ids = Counter(segment["id"] for segment in answer["segments"])
        assert max(ids.values()) == 1
        assert min(ids) > 0


def test_one_click_finds_what_was_clicked(http: httpx.Client, photos: list[Any]) -> None:
    scores = []
    for photo, truth in photos:
        for index in np.unique(truth[truth != CAMVID_VOID]):
            for true in components(truth == index, 2000):
                click = innermost(true)
                prompts = json.dumps([{"points": [click], "labels": [1]}])
                answer = http.post("/v1/promptable", files={"image": photo}, data={"prompts": prompts})
                assert answer.status_code == 200, answer.text
                masks = answer.json()["results"][0]["masks"]
                assert len(masks) == 3
                scores.append(iou(decode_rle(masks[0]["rle"]), true))
    assert np.mean(scores) > 0.5


@pytest.mark.parametrize("task", ["semantic", "instance", "panoptic"])
def test_a_drawn_street_gets_an_answer_of_its_own_size(http: httpx.Client, task: str) -> None:
    answer = http.post(f"/v1/{task}", content=drawn_street(800, 500), headers=PNG)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["width"], body["height"], body["model"]) == (800, 500, "street")
    for entry in body.get("segments", body.get("instances", [])):
        mask = decode_rle(entry["rle"])
        assert mask.shape == (500, 800)
        assert int(mask.sum()) == entry["area"]


def test_a_rotated_photo_with_its_orientation_gives_the_upright_mask(http: httpx.Client) -> None:
    upright = street_scene(480, 360, 3)[0]
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = Image.fromarray(np.rot90(upright).copy())
    buffer = io.BytesIO()
    sideways.save(buffer, "PNG", exif=exif)
    assert np.array_equal(label_map(http, encoded(upright)), label_map(http, buffer.getvalue()))


def test_every_way_to_send_a_photo_gives_one_answer(http: httpx.Client) -> None:
    photo = drawn_street(seed=5)
    image_id = http.post("/v1/images", files={"image": photo}).json()["image_id"]
    answers = [
        http.post("/v1/semantic", content=photo, headers=PNG),
        http.post("/v1/semantic", files={"image": ("street.png", photo, "image/png")}),
        http.post("/v1/semantic", json={"image": base64.b64encode(photo).decode()}),
        http.post("/v1/semantic", json={"image_id": image_id}),
    ]
    assert [answer.status_code for answer in answers] == [200] * 4
    segments = [answer.json()["segments"] for answer in answers]
    assert all(each == segments[0] for each in segments[1:])


def components(mask: np.ndarray[Any, Any], least: int) -> list[np.ndarray[Any, Any]]:
    """Connected components (8 neighbours) of at least so many pixels."""
    count, numbers = cv2.connectedComponents(mask.astype(np.uint8))
    found = [numbers == index for index in range(1, count)]
    return [each for each in found if int(each.sum()) >= least]


def innermost(mask: np.ndarray[Any, Any]) -> list[float]:
    """The pixel centre farthest from the mask's border, as [x, y]."""
    inside = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    return [float(column) + 0.5, float(row) + 0.5]
