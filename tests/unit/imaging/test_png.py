"""Ids survive the way through a PNG, as every other reader sees it too."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from shared.errors import Malformed
from shared.imaging.png import label_png, mask_png, panoptic_png, read_label_png, read_panoptic_png
from shared.types import BoolArray, Int32Array

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=20)
PALETTE = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)


def pillow(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data), formats=["PNG"])
    image.load()
    return image


@settings(deadline=None)
@given(labels=hnp.arrays(np.uint8, SHAPES))
def test_indexed_label_maps(labels: Any) -> None:
    data = label_png(labels, PALETTE)
    image = pillow(data)
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), labels)
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), PALETTE[labels])
    np.testing.assert_array_equal(read_label_png(data), labels)


@settings(deadline=None)
@given(labels=st.one_of(hnp.arrays(np.uint16, SHAPES), hnp.arrays(np.uint8, SHAPES)))
def test_grey_label_maps(labels: Any) -> None:
    data = label_png(labels)
    back = read_label_png(data)
    assert back.dtype == labels.dtype
    np.testing.assert_array_equal(back, labels)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), labels)


@settings(deadline=None)
@given(ids=hnp.arrays(np.int32, SHAPES, elements=st.integers(0, 2**24 - 1)))
def test_panoptic_ids(ids: Int32Array) -> None:
    data = panoptic_png(ids)
    rgb = np.asarray(pillow(data)).astype(int)
    np.testing.assert_array_equal(rgb[..., 0] + 256 * rgb[..., 1] + 256**2 * rgb[..., 2], ids)
    np.testing.assert_array_equal(read_panoptic_png(data), ids)


@settings(deadline=None)
@given(mask=hnp.arrays(np.bool_, SHAPES))
def test_masks(mask: BoolArray) -> None:
    data = mask_png(mask)
    assert pillow(data).mode == "L"
    np.testing.assert_array_equal(np.asarray(pillow(data)), np.where(mask, 255, 0))


def test_a_label_map_is_small() -> None:
    labels = np.kron(np.arange(64, dtype=np.uint8).reshape(8, 8), np.ones((64, 64), np.uint8))
    assert len(label_png(labels, PALETTE)) < 3_000


def test_other_writers_files_are_read() -> None:
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4) % 4
    image = Image.fromarray(labels)
    image.putpalette(PALETTE[:4].tobytes())
    buffer = BytesIO()
    image.save(buffer, "PNG", bits=2)
    np.testing.assert_array_equal(read_label_png(buffer.getvalue()), labels)
    one_bit = BytesIO()
    Image.fromarray(labels > 1).save(one_bit, "PNG")
    np.testing.assert_array_equal(read_label_png(one_bit.getvalue()), labels // 2)


def test_what_holds_no_ids_is_refused() -> None:
    labels = np.zeros((40, 40), np.uint8)
    with pytest.raises(Malformed):
        read_panoptic_png(label_png(labels))
    with pytest.raises(Malformed):
        read_label_png(panoptic_png(labels.astype(np.int32)))
    with pytest.raises(Malformed):
        read_label_png(label_png(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))[:1000])
    with pytest.raises(Malformed):
        read_label_png(b"no png")
