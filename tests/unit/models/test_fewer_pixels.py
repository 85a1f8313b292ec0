"""Networks say at what size they see an image, and answer on all of it where they are given fewer pixels."""

from __future__ import annotations

import io
import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.catalog.card import Preprocess
from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.imaging.decode import decode_for
from shared.imaging.sample import street_scene
from shared.models.geometry import Placement, Size, place, seen, shown
from shared.protocols import ImageModel, PaddedModel
from shared.types import DecoderInput, DenseInput, EncoderInput, Photo, Prompt, Role

SIZE = (2160, 2880)
LIMITS = {"max_pixels": 10**8, "max_side": 10**5}


@cache
def photo() -> bytes:
    """A drawn street of six megapixels with the noise of a camera."""
    pixels, _ = street_scene(SIZE[1] // 2, SIZE[0] // 2, 3)
    image = np.asarray(Image.fromarray(pixels).resize(SIZE[::-1], Image.Resampling.BICUBIC)).astype(np.int16)
    noisy = image + np.random.default_rng(0).normal(0, 6, image.shape)
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@cache
def street(role: Role) -> Any:
    """One role of the bundled model."""
    model = load(find_card("street"), LoadOptions(roles=(role,), engine="openvino")).roles[role]
    assert isinstance(model, ImageModel) or role == "decoder"
    return model


def both(model: Any) -> tuple[Photo, Photo]:
    """A part of the photo's pixels, as the model asks for, and all of them."""
    few = decode_for(photo(), model.seen, **LIMITS)
    assert few.pixels.shape == (SIZE[0] // 2, SIZE[1] // 2, 3)
    assert few.size == SIZE
    return few, decode_for(photo(), lambda size: size, **LIMITS)


@pytest.mark.parametrize(("role", "kind"), [("semantic", DenseInput), ("encoder", EncoderInput)])
def test_padding_is_told(role: Role, kind: type[DenseInput] | type[EncoderInput]) -> None:
    model = street(role)
    assert isinstance(model, PaddedModel)
    for size in ((360, 480), (200, 1000)):
        item = kind(np.zeros((1, 1, 3), np.uint8), whole=size)
        network, content = model.shown(item)
        assert (network, content) == (model.cost(item), math.prod(model.seen(size)))
        assert (content < network) == (size == (200, 1000))


def test_every_view_counts() -> None:
    view = Placement(Size(8, 8), Size(6, 4), Size(8, 8))
    assert shown([view, view]) == (128, 48)


def test_labels_of_fewer_pixels_agree() -> None:
    model = street("semantic")
    few, whole = model.predict([DenseInput(each.pixels, whole=each.size) for each in both(model)])
    assert few.labels.shape == few.confidence.shape == SIZE
    assert np.mean(few.labels == whole.labels) > 0.999


def test_instances_and_segments_of_fewer_pixels_lie_on_the_whole_image() -> None:
    photos = [DenseInput(each.pixels, whole=each.size) for each in both(street("instance"))]
    few, whole = street("instance").predict(photos)
    assert few.size == SIZE
    boxes, others = (sorted(each.region.box for each in found.instances) for found in (few, whole))
    assert len(boxes) == len(others) > 0
    assert np.abs(np.subtract(boxes, others)).max() < 16
    segments, other = street("panoptic").predict(photos)
    assert segments.ids.shape == SIZE
    assert np.mean((segments.ids > 0) == (other.ids > 0)) > 0.999


def test_clicks_on_an_embedding_of_fewer_pixels_agree() -> None:
    encoder = street("encoder")
    few = decode_for(photo(), encoder.seen, **LIMITS)
    assert few.pixels.shape == (SIZE[0] // 2, SIZE[1] // 2, 3)
    whole = decode_for(photo(), lambda size: size, **LIMITS)
    embeddings = encoder.predict([EncoderInput(each.pixels, each.size) for each in (few, whole)])
    assert embeddings[0].size == embeddings[1].size == SIZE
    click = Prompt(np.array([[1400.0, 1900.0]], np.float32), np.ones(1, np.int32))
    one, other = street("decoder").predict([DecoderInput(each, click) for each in embeddings])
    assert one.masks[0].region.size == SIZE
    assert one.masks[0].region.area == pytest.approx(other.masks[0].region.area, rel=0.01)


@pytest.mark.parametrize(
    ("card", "size", "tta", "expected"),
    [
        ("street", (3000, 4000), False, (504, 672)),
        ("street", (4000, 3000), False, (672, 504)),
        ("street", (3000, 4000), True, (504, 672)),
        ("segformer-b0-ade", (3000, 4000), False, (512, 672)),
    ],
)
def test_what_is_seen(card: str, size: tuple[int, int], tta: bool, expected: tuple[int, int]) -> None:
    found = find_card(card)
    if card == "street":
        assert street("semantic").seen(size, tta) == expected
    else:
        assert seen(found.preprocess, [place(found.preprocess, *size)]) == expected


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "area"])
def test_pixels_that_are_picked_instead_of_averaged_all_count(interpolation: Any) -> None:
    def at(antialias: bool) -> tuple[int, int]:
        preprocess = Preprocess(resize="squash", size=(100, 100), interpolation=interpolation, antialias=antialias)
        return seen(preprocess, [place(preprocess, 3000, 4000)])

    assert at(True) == (100, 100)
    assert at(False) == ((100, 100) if interpolation == "area" else (3000, 4000))


def test_of_several_views_the_largest_counts() -> None:
    preprocess = Preprocess(resize="squash", size=(100, 200))
    views: list[Any] = [place(preprocess, 3000, 4000, zoom) for zoom in (0.5, 1.0, 1.75)]
    assert seen(preprocess, views) == (175, 350)
