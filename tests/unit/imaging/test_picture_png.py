"""Pictures survive the way through a PNG whatever is in them, and are packed about as small as OpenCV packs them."""

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

from shared.imaging import stripes
from shared.imaging.compose import overlay_labels
from shared.imaging.png import picture_png
from shared.imaging.sample import street_scene
from shared.labels import label_space
from shared.types import UInt8Array

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([3, 4]))


def check(pixels: UInt8Array) -> bytes:
    """Two other readers see these pixels; the file is returned."""
    data = picture_png(pixels)
    image = Image.open(BytesIO(data), formats=["PNG"])
    assert image.mode == ("RGB" if pixels.shape[2] == 3 else "RGBA")
    np.testing.assert_array_equal(np.asarray(image), pixels)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    order = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    np.testing.assert_array_equal(cv2.cvtColor(np.asarray(read), order), pixels)
    return data


def by_opencv(pixels: UInt8Array) -> bytes:
    order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    return cv2.imencode(".png", cv2.cvtColor(pixels, order))[1].tobytes()


@settings(deadline=None)
@given(pixels=hnp.arrays(np.uint8, SHAPES))
def test_any_picture(pixels: Any) -> None:
    check(pixels)


@pytest.mark.parametrize("rows", [1, 3, 64, 1000])
def test_stripes_of_runs_and_of_none_follow_each_other(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripes, "STRIPE_BYTES", rows * 4 * 301)
    pixels = np.random.default_rng(0).integers(0, 256, (517, 301, 4), np.uint8)
    pixels[100:230] = 0
    pixels[300:420, :150] = 7
    check(pixels)
    check(pixels[::-1, ::-1])
    check(pixels[3:200, 5:100, :3])


def test_photos_and_drawings_are_packed_as_small_as_by_opencv() -> None:
    pixels, labels = street_scene(960, 720, seed=2)
    grain = np.random.default_rng(0).normal(0, 3, (720, 960, 1))
    photo = np.clip(cv2.GaussianBlur(pixels, (0, 0), 1.5) + grain, 0, 255).astype(np.uint8)
    space = label_space("camvid")
    for picture in (pixels, photo, overlay_labels(photo, labels, space.palette(), names=space.names)):
        assert len(check(picture)) < 1.03 * len(by_opencv(picture))
    cut = np.dstack([photo, np.where(labels == 8, 255, 0).astype(np.uint8)])
    cut[labels != 8] = 0
    assert len(check(cut)) < 1.03 * len(by_opencv(cut))
    assert len(check(np.zeros((3000, 4000, 4), np.uint8))) < 1.1 * len(by_opencv(np.zeros((3000, 4000, 4), np.uint8)))


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 2), (4, 4, 5), (0, 4, 3), (4, 0, 4)])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        picture_png(np.zeros(shape, np.uint8))
