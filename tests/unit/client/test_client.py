"""The client against a real gateway on a real socket, over small models whose answers are known."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image

from services.gateway.app import create_app
from services.gateway.inprocess import InProcessDirectory
from shared.client import Client, Uploaded
from shared.client.pictures import Picture
from shared.errors import (
    ImageNotFound,
    ImageUrlFailed,
    InvalidOption,
    Malformed,
    ModelNotFound,
    Unauthorized,
    UnsupportedFormat,
)
from shared.settings import Settings
from shared.store.images_memory import MemoryImageStore
from shared.store.keys import image_id
from shared.telemetry.recording import RecordingSink
from shared.types import Prompt
from tests.data import encoded
from tests.unit.gateway.tiny import Wand, info
from tests.unit.services.test_dense_pipelines import CAR, PEDESTRIAN, ROAD, SKY, pipeline, scene

KEY = "open sesame"
KEY_SHA256 = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb"


class Served:
    """A gateway that runs in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        sink = RecordingSink()
        directory = InProcessDirectory(
            [pipeline("semantic"), pipeline("instance"), pipeline("panoptic")], [Wand(info("wand", "promptable"))]
        )

        async def page() -> bytes:
            return b""

        app = create_app(settings, directory, MemoryImageStore(2**20, 60, sink), sink, page)
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="on", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> str:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Served(Settings()) as found:
        yield found


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as found:
        yield found


def test_semantic_gives_the_models_own_label_map(client: Client) -> None:
    answer = client.semantic(scene())
    np.testing.assert_array_equal(answer.label_map(), scene()[..., 0])
    assert answer.label_map().dtype == np.uint8
    assert (answer.width, answer.height, answer.model) == (60, 40, "tiny")
    assert {segment.label_id for segment in answer.segments} == {SKY, ROAD, CAR, PEDESTRIAN}
    for segment in answer.segments:
        assert segment.area == segment.mask.sum()


def test_void_is_where_the_answer_says_nothing(client: Client) -> None:
    labels = client.semantic(scene(), classes=["car"]).label_map()
    np.testing.assert_array_equal(labels, np.where(scene()[..., 0] == CAR, CAR, 255))


def test_instances_come_with_masks_and_boxes(client: Client) -> None:
    answer = client.instance(scene(), max_instances=2)
    assert [item.label_id for item in answer.instances] == [PEDESTRIAN, CAR]
    for item, number in zip(answer.instances, (3, 2), strict=True):
        np.testing.assert_array_equal(item.mask, scene()[..., 1] == number)
        x0, y0, x1, y1 = item.box
        assert item.mask[y0:y1, x0:x1].sum() == item.area
        assert item.detection_box == (1.0, 2.0, 3.5, 4.0)


def test_panoptic_ids_are_the_models_own(client: Client) -> None:
    answer = client.panoptic(scene())
    expected = scene()[..., 1].astype(np.int32)
    expected[(expected == 0) & (scene()[..., 0] == ROAD)] = 4
    np.testing.assert_array_equal(answer.ids(), expected)
    assert [part.isthing for part in answer.segments] == [part.id != 4 for part in answer.segments]


@pytest.fixture
def far(tmp_path: Path) -> Iterator[str]:
    """A server of pictures, not ours: `scene.png`, and `text`, which is none."""
    (tmp_path / "scene.png").write_bytes(encoded(scene()))
    (tmp_path / "text").write_text("no picture")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture
def fetching(far: str) -> Iterator[Client]:
    """Of a server that fetches from there."""
    hosts = (far.removeprefix("http://"),)
    with Served(Settings(image_urls="http", image_url_hosts=hosts)) as url, Client(url) as found:
        yield found


def test_a_url_is_fetched_by_a_server_that_has_this_switched_on(client: Client, far: str, fetching: Client) -> None:
    where = f"{far}/scene.png"
    with pytest.raises(InvalidOption, match="switched off"):
        client.semantic(where)
    np.testing.assert_array_equal(fetching.semantic(where).label_map(), scene()[..., 0])
    assert fetching.upload(where).width == 60


def test_many_pictures_may_come_by_url_and_each_fails_alone(client: Client, far: str, fetching: Client) -> None:
    reports: list[tuple[int, int, int | None]] = []
    sent: list[Picture] = [f"{far}/scene.png", scene() + 1, f"{far}/nowhere", f"{far}/text", b"no image"]
    found = fetching.upload_many(sent, embed=["wand"], progress=lambda *report: reports.append(report))
    assert [type(each) for each in found] == [
        Uploaded, Uploaded, ImageUrlFailed, UnsupportedFormat, UnsupportedFormat,
    ]  # fmt: skip
    first = found[0]
    assert isinstance(first, Uploaded)
    assert (first.image_id, first.embeddings) == (image_id(encoded(scene())), {"wand": "computed"})
    assert reports[-1] == (5, 3, 5)
    assert {total for _, _, total in reports} <= {None, 5}
    (alone,) = fetching.upload_many([f"{far}/scene.png"])
    assert isinstance(alone, Uploaded)
    with pytest.raises(ModelNotFound):
        fetching.upload_many([f"{far}/scene.png"], embed=["nobody"])
    (refused,) = client.upload_many([f"{far}/scene.png"])
    assert isinstance(refused, InvalidOption), "of a server that has this switched off"


def test_a_background_may_come_by_url(far: str, fetching: Client) -> None:
    photo, where = scene() + 1, f"{far}/scene.png"
    shown = fetching.picture("instance", photo, "replace", background=where, matting=False)
    assert shown == fetching.picture("instance", photo, "replace", background=scene(), matting=False)
    job = fetching.jobs.submit("instance", photo, format="replace", background=where, matting=False)
    assert fetching.jobs.content(fetching.jobs.wait(job)) == shown


def test_every_kind_of_picture_is_the_same_picture(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "scene.png"
    path.write_bytes(encoded(scene()))
    pictures: list[Any] = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), Image.fromarray(scene())]
    pictures.append(np.dstack([scene(), np.full(scene().shape[:2], 255, np.uint8)]))
    pictures.append(client.upload(path))
    pictures.append(client.upload(path).image_id)
    for picture in pictures:
        np.testing.assert_array_equal(client.semantic(picture).label_map(), scene()[..., 0])


def test_an_upload_is_asked_about_by_its_id_until_it_is_deleted(client: Client) -> None:
    data = encoded(scene() + 1)
    stored = client.upload(data, embed=["wand"])
    assert stored.image_id == image_id(data)
    assert (stored.width, stored.height) == (60, 40)
    assert stored.embeddings == {"wand": "computed"}
    assert 0 < (stored.expires_at - datetime.now(UTC)).total_seconds() <= 60
    assert client.promptable(stored, Prompt(points=np.array([[1, 1]], np.float32))).embedding == "memory"
    client.delete(stored)
    with pytest.raises(ImageNotFound):
        client.promptable(stored, {"points": [[1, 1]]})
    with pytest.raises(ImageNotFound):
        client.delete(stored.image_id)


def test_prompts_are_answered_in_their_order(client: Client) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, 32:] = 255
    answer = client.promptable(pixels, [{"points": [[40, 5]]}, Prompt(points=np.array([[2, 5]], np.float32))])
    (right,), (left,) = answer.results
    np.testing.assert_array_equal(right.mask, pixels[..., 0] > 0)
    np.testing.assert_array_equal(left.mask, pixels[..., 0] == 0)
    assert (right.box, right.logits, right.score) == ((32, 0, 64, 48), None, None)
    again = client.promptable(answer.image_id, {"points": [[40, 5]]})
    assert again.embedding == "memory"


def test_options_and_prompts_may_hold_arrays_and_numbers_of_numpy(client: Client) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, 32:] = 255
    prompt = {"points": [(np.int64(40), np.float32(5))], "labels": np.ones(1, np.int32)}
    for sent in (pixels, client.upload(pixels)):
        answer = client.promptable(sent, [prompt, {"points": np.array([[2, 5]])}])
        assert answer.results[0][0].box == (32, 0, 64, 48)
        assert client.everything(sent, point_grids=[np.array([[0.9, 0.5]])]).masks


def test_every_mask_of_a_picture_with_and_without_progress(client: Client) -> None:
    picture = np.zeros((6, 8, 3), dtype=np.uint8)
    picture[:, 5:] = 255
    plain = client.everything(picture, points_per_side=4)
    assert [mask.box for mask in plain.masks] == [(0, 0, 5, 6), (5, 0, 8, 6)]
    reports: list[tuple[int, int, int]] = []
    followed = client.everything(picture, progress=lambda *report: reports.append(report), points_per_side=4)
    assert reports == [(1, 2, 1), (2, 2, 2)]
    assert [mask.rle for mask in followed.masks] == [mask.rle for mask in plain.masks]
    assert client.everything(plain.image_id, progress=lambda *report: None).masks == plain.masks
    with pytest.raises(InvalidOption) as caught:
        client.everything(picture, progress=lambda *report: None, points_per_side=0)
    assert caught.value.details[0].field == "points_per_side"


def test_many_pictures_in_one_request_with_progress(client: Client) -> None:
    pictures = [np.full((4, 5 + number, 3), number, np.uint8) for number in range(20)]
    reports: list[tuple[int, int, int | None]] = []
    sent: list[Picture] = [*pictures[:3], b"no image", *pictures[3:]]
    found = client.upload_many(sent, embed=["wand"], progress=lambda *report: reports.append(report))
    assert reports[-1] == (21, 1, 21)
    assert isinstance(found[3], UnsupportedFormat)
    stored = [each for each in found if isinstance(each, Uploaded)]
    assert [each.width for each in stored] == [5 + number for number in range(20)]
    assert stored[0].embeddings == {"wand": "computed"}
    with pytest.raises(ModelNotFound):
        client.upload_many(pictures, embed=["nobody"])


def test_pictures_made_of_masks(client: Client) -> None:
    photo = scene()
    behind = np.full((4, 4, 3), (7, 8, 9), np.uint8)
    for background in ("#070809", behind, client.upload(behind)):
        shown = client.picture("instance", photo, "replace", background=background, matting=False)
        assert (np.asarray(Image.open(io.BytesIO(shown)))[:10] == (7, 8, 9)).all()
    stored = client.picture("instance", client.upload(photo), "replace", background=behind, matting=False)
    assert stored == shown
    assert client.picture("instance", photo, "cutout").startswith(b"PK")
    with pytest.raises(InvalidOption):
        client.picture("instance", photo, "recolor")


def test_models_and_readiness(client: Client) -> None:
    models = client.models()
    assert {model.name for model in models} == {"tiny", "wand"}
    assert all(isinstance(model.tasks, tuple) for model in models)
    assert client.ready()


def test_the_servers_errors_are_raised_as_their_own_class(client: Client) -> None:
    with pytest.raises(ModelNotFound) as missing:
        client.semantic(scene(), model="nothing")
    assert missing.value.details[0].value == "nothing"
    assert any(note.startswith("request_id: ") for note in missing.value.__notes__)
    with pytest.raises(InvalidOption) as wrong:
        client.instance(scene(), score_threshold=2.0)
    assert wrong.value.details[0].field == "score_threshold"
    with pytest.raises(InvalidOption):
        client.promptable(scene(), {"points": [[1000, 1]]})
    with pytest.raises((UnsupportedFormat, Malformed)):
        client.semantic(b"no picture")


def test_a_key_opens_a_server_that_asks_for_one() -> None:
    with Served(Settings.model_validate({"api_keys": {KEY_SHA256: "t"}})) as locked:
        with Client(locked) as stranger, pytest.raises(Unauthorized):
            stranger.models()
        with Client(locked, api_key=KEY) as friend:
            assert friend.models()


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros(4, np.uint8)]
)
def test_an_array_that_is_no_picture_is_refused_before_it_is_sent(client: Client, array: Any) -> None:
    with pytest.raises(InvalidOption, match="no picture"):
        client.semantic(array)


def test_what_is_no_picture_at_all_is_refused(client: Client) -> None:
    with pytest.raises(InvalidOption, match="no path"):
        client.semantic(7)  # type: ignore[arg-type]  # a mistake that callers make
    with pytest.raises(FileNotFoundError):
        client.semantic("no/such/file.png")


def test_a_pil_image_of_an_odd_mode_is_sent_as_rgb(client: Client) -> None:
    picture = Image.fromarray(scene()).convert("CMYK")
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "PNG")
    np.testing.assert_array_equal(client.semantic(picture).label_map(), client.semantic(buffer.getvalue()).label_map())
