"""What an AVIF will really decode is known before it is decoded, whatever its header says."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.errors import ImageTooLarge, Malformed, UnsupportedFormat
from shared.imaging.avif import coded_sizes
from shared.imaging.formats import FORMATS
from shared.imaging.probe import probe
from tests.unit.imaging.encoded import LIMITS, encode, picture

pytestmark = pytest.mark.skipif("avif" not in FORMATS, reason="this Pillow reads no AVIF")


def see_through(height: int, width: int) -> Image.Image:
    alpha = np.tile(np.arange(width, dtype=np.uint8), (height, 1))
    return Image.fromarray(np.dstack([picture(height, width), alpha]))


def test_sizes_are_those_of_the_coded_pictures() -> None:
    assert coded_sizes(encode(picture(48, 64), "avif")) == [(64, 48)]
    assert coded_sizes(encode(picture(301, 203), "avif", quality=100, subsampling="4:4:4")) == [(203, 301)]
    assert coded_sizes(encode(picture(48, 64), "avif", 6)) == [(48, 64)]
    assert coded_sizes(encode(see_through(48, 64), "avif")) == [(64, 48), (64, 48)]


def test_a_header_that_names_a_smaller_size_does_not_help() -> None:
    data = bytearray(encode(np.zeros((1500, 2000, 3), np.uint8), "avif"))
    place = data.index(b"ispe") + 8
    data[place : place + 8] = struct.pack(">II", 20, 15)
    with pytest.raises(ImageTooLarge, match="pictures"):
        probe(bytes(data), max_pixels=1_000_000, max_side=16_384)


def test_animations_are_refused() -> None:
    frames = [Image.fromarray(picture()), Image.fromarray(picture()[::-1].copy())]
    data = encode(frames[0], "avif", save_all=True, append_images=frames[1:])
    with pytest.raises(UnsupportedFormat, match="Animated"):
        probe(data, **LIMITS)
    disguised = data.replace(b"ftypavis", b"ftypavif", 1)
    with pytest.raises(Malformed, match="animation"):
        probe(disguised, **LIMITS)


@settings(deadline=None, max_examples=200)
@given(changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=10), keep=st.integers(0, 900))
def test_corrupt_files_raise_value_errors_only(changes: list[tuple[int, int]], keep: int) -> None:
    data = bytearray(encode(picture(), "avif"))
    for position, value in changes:
        data[position % len(data)] = value
    try:
        sizes = coded_sizes(bytes(data[:keep]))
    except ValueError:
        return
    assert all(width > 0 or height >= 0 for width, height in sizes)
