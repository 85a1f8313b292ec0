"""Where images of every shape lie in a network's input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalog.card import Preprocess
from shared.models.geometry import Size, canvases, place

SQUASH = Preprocess(resize="squash", size=(512, 1024))
FIT = Preprocess(resize="fit", size=1024)
DETECTOR = Preprocess(resize="short_side", size=800, max_size=1333, multiple_of=32)
ALIGNED = Preprocess(resize="short_side", size=512, max_size=2048, multiple_of=32, align="resize")
BUCKETS = Preprocess(
    resize="short_side",
    size=512,
    max_size=2048,
    multiple_of=32,
    align="resize",
    buckets=((512, 512), (512, 672), (672, 512)),
)
PADDED = Preprocess(resize="none", multiple_of=32, buckets=((384, 512), (512, 512)))


@pytest.mark.parametrize(
    ("preprocess", "image", "valid", "canvas"),
    [
        (SQUASH, (100, 100), (512, 1024), (512, 1024)),
        (FIT, (480, 640), (768, 1024), (1024, 1024)),
        (FIT, (1, 1), (1024, 1024), (1024, 1024)),
        (DETECTOR, (480, 640), (800, 1067), (800, 1088)),
        (DETECTOR, (360, 1280), (375, 1333), (384, 1344)),
        (DETECTOR, (7, 513), (18, 1333), (32, 1344)),
        (ALIGNED, (480, 640), (512, 704), (512, 704)),
        (ALIGNED, (1, 5000), (32, 2048), (32, 2048)),
        (BUCKETS, (480, 640), (512, 672), (512, 672)),
        (BUCKETS, (640, 480), (672, 512), (672, 512)),
        (BUCKETS, (1000, 1100), (512, 512), (512, 512)),
        (BUCKETS, (100, 300), (512, 1536), (512, 1536)),
        (PADDED, (360, 480), (360, 480), (384, 512)),
        (PADDED, (500, 400), (500, 400), (512, 512)),
        (PADDED, (600, 401), (600, 401), (608, 416)),
    ],
)
def test_known_placements(
    preprocess: Preprocess, image: tuple[int, int], valid: tuple[int, int], canvas: tuple[int, int]
) -> None:
    placement = place(preprocess, *image)
    assert (placement.image, placement.valid, placement.canvas) == (image, valid, canvas)


@given(st.sampled_from([SQUASH, FIT, DETECTOR, ALIGNED, BUCKETS, PADDED]), st.integers(1, 3000), st.integers(1, 3000))
def test_every_image_fits_its_canvas(preprocess: Preprocess, height: int, width: int) -> None:
    placement = place(preprocess, height, width)
    for valid, canvas in zip(placement.valid, placement.canvas, strict=True):
        assert 1 <= valid <= canvas
        assert canvas % preprocess.multiple_of == 0 or placement.canvas in preprocess.buckets
    assert all(0 < part <= 1 for part in placement.extent)
    if preprocess.align == "resize":
        assert placement.valid == placement.canvas
    if preprocess.resize == "short_side" and min(height, width) > 30 and not preprocess.buckets:
        stretch = placement.scale[0] / placement.scale[1]
        assert 0.4 < stretch < 2.5


def test_zoom_scales_the_input_and_its_limits() -> None:
    assert place(ALIGNED, 480, 640, zoom=1.5).canvas == Size(768, 1024)
    assert place(ALIGNED, 100, 1000, zoom=0.5).canvas == Size(128, 1024)
    assert place(SQUASH, 10, 10, zoom=0.5).canvas == Size(256, 512)
    assert place(BUCKETS, 480, 640, zoom=2.0).canvas == Size(1024, 1376), "buckets are for the plain size"


def test_shapes_known_ahead() -> None:
    assert canvases(BUCKETS) == ((512, 512), (512, 672), (672, 512))
    assert canvases(SQUASH) == ((512, 1024),)
    assert canvases(FIT) == ((1024, 1024),)
    assert canvases(DETECTOR) == ((800, 800),)
    assert canvases(Preprocess(resize="none")) == ()
