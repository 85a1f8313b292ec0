"""Through the whole platform: everything mode with progress, clicks over a WebSocket, pictures made of masks."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.client import Client, Uploaded
from shared.imaging.sample import street_scene
from tests.data import encoded

pytestmark = pytest.mark.e2e
STREET = street_scene(480, 360, 5)[0]


@pytest.fixture
def client(server_url: str) -> Iterator[Client]:
    with Client(server_url, timeout_s=120) as found:
        yield found


def test_everything_is_followed_to_its_end(client: Client) -> None:
    reports: list[tuple[int, int, int]] = []
    thresholds = {"pred_iou_thresh": 0.4, "stability_score_thresh": 0.7}
    options: dict[str, Any] = {"points_per_side": 6, "points_per_batch": 12, **thresholds}
    followed = client.everything(STREET, progress=lambda *report: reports.append(report), **options)
    assert [done for done, _, _ in reports][:3] == [12, 24, 36]
    assert {total for _, total, _ in reports} == {36}
    assert len(followed.masks) == reports[-1][2] > 0
    at_once = client.everything(followed.image_id, **options)
    assert [mask.rle for mask in at_once.masks] == [mask.rle for mask in followed.masks]


def test_clicks_over_a_websocket_are_those_of_http(client: Client) -> None:
    prompts = [{"points": [[240, 300]], "labels": [1]}]
    with client.clicks(STREET) as clicks:
        live = clicks.ask(prompts)
        for x in range(100, 400, 10):
            last = clicks.send([{"points": [[x, 300]], "labels": [1]}])
        while (answer := clicks.receive())[0] != last:
            pass
        assert answer[1] is not None
    plain = client.promptable(STREET, prompts)
    assert live.embedding == "memory"
    assert [mask.rle for mask in live.results[0]] == [mask.rle for mask in plain.results[0]]


def test_a_mask_is_refined_click_by_click_over_a_websocket(client: Client) -> None:
    clicks: list[tuple[list[float], int]] = [([240, 300], 1), ([400, 320], 1), ([240, 60], 0)]
    earlier: dict[str, Any] = {}
    with client.clicks(STREET) as live:
        for count in range(1, len(clicks) + 1):
            points, labels = ([each[part] for each in clicks[:count]] for part in (0, 1))
            prompt = {"points": points, "labels": labels, **earlier}
            (found,) = live.ask([prompt], multimask=False, return_logits=True).results
            (plain,) = client.promptable(STREET, [prompt], multimask=False, return_logits=True).results
            assert [mask.rle for mask in found] == [mask.rle for mask in plain]
            logits = found[0].logits
            assert logits is not None
            data = base64.b64encode(logits.astype("<f2").tobytes()).decode()
            earlier = {"mask": {"shape": list(logits.shape), "dtype": "float16", "data": data}}
        assert found[0].mask[300, 240]
        assert not found[0].mask[60, 240], "a click outside takes what it hits away"


def test_pictures_of_every_task(client: Client) -> None:
    road = Image.open(io.BytesIO(client.picture("semantic", STREET, "cutout", classes=["road"])))
    assert road.mode == "RGBA"
    assert 0.05 < (np.asarray(road)[..., 3] > 127).mean() < 0.8
    for task in ("instance", "panoptic"):
        behind = Image.open(io.BytesIO(client.picture(task, STREET, "replace", background="#00ff00")))
        assert (np.asarray(behind) == (0, 255, 0)).all(axis=2).mean() > 0.2
    prompts = [{"points": [[240, 300]]}, {"points": [[100, 60]]}]
    archive = zipfile.ZipFile(io.BytesIO(client.picture("promptable", STREET, "cutout", prompts=prompts)))
    assert len(archive.namelist()) == 2
    grid = {"points_per_side": 4, "pred_iou_thresh": 0.4, "stability_score_thresh": 0.7}
    every = Image.open(io.BytesIO(client.picture("promptable/everything", STREET, "blur", **grid)))
    assert (np.asarray(every) != STREET).any()


def test_many_images_in_one_request(client: Client) -> None:
    pictures = [encoded(street_scene(96, 72, seed)[0]) for seed in range(40)]
    found = client.upload_many([*pictures, b"no image"], embed=["street"])
    assert [isinstance(each, Uploaded) for each in found] == [True] * 40 + [False]
    assert {each.embeddings["street"] for each in found if isinstance(each, Uploaded)} == {"computed"}
