"""Where tests find pictures: drawn by our code; real photos only where the shared data lies beside us."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from shared.imaging.sample import street_scene
from shared.types import UInt8Array

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
CAMVID_VOID = 11


def camvid(split: str) -> list[tuple[Path, Path]]:
    """(photo, label map) pairs of a CamVid split, by name; skips the test, saying so, where they are absent."""
    folder = SHARED / "camvid" / split
    if not folder.is_dir():
        pytest.skip("the CamVid photos are not on this machine")
    return [(path, folder / "labels" / f"{path.stem}.png") for path in sorted((folder / "images").glob("*.webp"))]


def encoded(pixels: UInt8Array, form: str = "PNG", **options: object) -> bytes:
    """HxWx3 RGB pixels as an image file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def drawn_street(width: int = 480, height: int = 360, seed: int = 0) -> bytes:
    """A drawn street scene as PNG."""
    return encoded(street_scene(width, height, seed)[0])


def pixels_of(data: bytes) -> UInt8Array:
    """An image file as HxWx3 RGB, or HxW where it has one channel."""
    return np.asarray(Image.open(io.BytesIO(data)))


def geotiff(pixels: UInt8Array, tags: Mapping[int, tuple[float, ...]]) -> bytes:
    """Pixels as a TIFF with further tags: shorts where all their numbers are whole, else doubles."""
    directory = ImageFileDirectory_v2()
    for name, values in tags.items():
        directory.tagtype[name] = TiffTags.SHORT if all(isinstance(each, int) for each in values) else TiffTags.DOUBLE
        directory[name] = values
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF", tiffinfo=directory)
    return buffer.getvalue()


NORTH_UP: Mapping[int, tuple[float, ...]] = {
    33550: (0.5, 0.25, 0.0),
    33922: (0.0, 0.0, 0.0, 600_000.0, 5_000_000.0, 0.0),
    34735: (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633),
}
"""Tags of a GeoTIFF whose corner lies at (600,000, 5,000,000) of UTM zone 33, pixels .5 m wide and .25 m high."""
