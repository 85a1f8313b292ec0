"""Of a large photo a dense service decodes what its model sees, and all of it besides where the answer shows it."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from services.semantic.pipeline import SemanticPipeline
from shared.calls import Caller, DenseCall, DenseOptions, Effect, Format, ModelInfo
from shared.imaging.png import read_label_png
from shared.protocols import SizeSeen
from shared.serving.batcher import Batcher
from shared.settings import Settings
from shared.telemetry.recording import RecordingSink
from shared.types import DenseInput, SemanticOutput

HEIGHT, WIDTH = 480, 640
FULL, QUARTER = (HEIGHT, WIDTH, 3), (HEIGHT // 4, WIDTH // 4, 3)


def photo(form: str = "JPEG", stripes: bool = False) -> bytes:
    """Dark above, bright below, there with stripes of one pixel, brighter and darker."""
    pixels = np.zeros(FULL, np.uint8)
    pixels[HEIGHT // 2 :] = 240
    if stripes:
        pixels[HEIGHT // 2 :, 1::2] = 160
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, quality=95)
    return buffer.getvalue()


class Bright:
    """Label 3 where it is bright, at the size of the image; remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[DenseInput] = []

    def __call__(self, batch: Sequence[DenseInput]) -> list[SemanticOutput]:
        self.given += batch
        bright = [(item.pixels[..., 0] > 127).astype(np.uint8) * 3 for item in batch]
        sizes = [item.size[::-1] for item in batch]
        labels = [
            cv2.resize(each, size, interpolation=cv2.INTER_NEAREST) for each, size in zip(bright, sizes, strict=True)
        ]
        return [SemanticOutput(np.asarray(each, np.uint8), np.ones(each.shape, np.float16)) for each in labels]


async def given(image: bytes, sight: SizeSeen | None, rides: bool, **options: Any) -> tuple[DenseInput, bytes]:
    """What the model is given of one call, and the answer."""
    model, sink = Bright(), RecordingSink()
    batcher: Batcher[Any, Any] = Batcher(
        lambda items: [item.run(model) if hasattr(item, "run") else model([item])[0] for item in items],
        max_batch=1,
        max_cost=10**8,
        cost=lambda item: 1,
        max_queue=4,
        sink=sink,
        model="bright",
        role="semantic",
    )
    info = ModelInfo("bright", "1", ("semantic",), "camvid", "0" * 64, "numpy", 0, "none", "a test", tta=True, crf=True)
    with ThreadPoolExecutor(1) as executor:
        pipeline = SemanticPipeline(info, batcher, Settings(), sink, executor, rides, sight)
        caller = Caller("public", "test", time.time() + 20)
        answer = await pipeline.segment(DenseCall("semantic", image, caller, DenseOptions(**options)))
    (item,) = model.given
    return item, answer.body


def eighth(size: tuple[int, int], tta: bool = False) -> tuple[int, int]:
    return size[0] // 8, size[1] // 8


@pytest.mark.parametrize("rides", [False, True])
@pytest.mark.parametrize("form", ["rle", "coco", "polygon", "png", "npz", "label_map"])
async def test_answers_without_the_photo_take_a_part_of_its_pixels(form: Format, rides: bool) -> None:
    item, _ = await given(photo(), eighth, rides, format=form)
    assert item.pixels.shape == QUARTER
    assert item.size == (HEIGHT, WIDTH)


async def test_labels_are_those_of_the_whole_photo() -> None:
    _, few = await given(photo(), eighth, False, format="label_map")
    _, all_of_it = await given(photo(), None, False, format="label_map")
    labels = read_label_png(few)
    assert labels.shape == (HEIGHT, WIDTH)
    assert labels[0, 0] == 0
    assert labels[-1, -1] == 3
    np.testing.assert_array_equal(labels, read_label_png(all_of_it))


@pytest.mark.parametrize("rides", [False, True])
@pytest.mark.parametrize("form", ["overlay", "cutout", "blur"])
async def test_pictures_show_the_whole_photo_and_what_every_answer_on_it_says(form: Format, rides: bool) -> None:
    striped = photo(stripes=True)
    options: dict[str, Any] = {"format": form, "classes": ("road",), "effect": Effect(matting=False)}
    item, body = await given(striped, eighth, rides, **options)
    assert item.pixels.shape == QUARTER
    picture = np.asarray(Image.open(io.BytesIO(body)).convert("RGBA"))
    assert picture.shape == (HEIGHT, WIDTH, 4)
    below = picture[HEIGHT // 2 + 16 :, ::2, 1].astype(int) - picture[HEIGHT // 2 + 16 :, 1::2, 1]
    assert below.mean() > 10
    if form == "cutout":
        _, labels = await given(striped, eighth, rides, format="label_map", classes=("road",))
        np.testing.assert_array_equal(picture[..., 3] > 127, read_label_png(labels) == 3)


@pytest.mark.parametrize("rides", [False, True])
@pytest.mark.parametrize("form", ["rle", "overlay"])
async def test_refined_borders_take_all_pixels(form: Format, rides: bool) -> None:
    item, _ = await given(photo(), eighth, rides, crf=True, format=form)
    assert item.pixels.shape == FULL
    assert item.size == (HEIGHT, WIDTH)


async def test_a_model_that_does_not_say_what_it_sees_is_given_all() -> None:
    item, _ = await given(photo(), None, False)
    assert item.pixels.shape == FULL


async def test_the_model_is_asked_about_views() -> None:
    def sight(size: tuple[int, int], tta: bool = False) -> tuple[int, int]:
        return size if tta else eighth(size, tta)

    item, _ = await given(photo(), sight, False, tta=True)
    assert item.pixels.shape == FULL
    item, _ = await given(photo(), sight, False)
    assert item.pixels.shape == QUARTER


async def test_small_photos_and_other_formats_are_decoded_whole() -> None:
    item, _ = await given(photo("PNG"), eighth, False)
    assert item.pixels.shape == FULL
    item, _ = await given(photo(), lambda size, tta=False: (size[0] // 3, size[1] // 3), False)
    assert item.pixels.shape == FULL
