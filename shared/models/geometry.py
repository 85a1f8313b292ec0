"""Where an image lies in a network's input: how it is resized, how it is padded, and back again. Numbers only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shared.catalog.card import Preprocess

LARGEST_STRETCH = 1.2
"""How far a bucket's aspect ratio may be from the image's before the image takes a shape of its own instead."""


class Size(NamedTuple):
    """Height before width, in pixels."""

    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Placement:
    """The image, resized to `valid`, lies at the top left of an input of size `canvas`; the rest is padding."""

    image: Size
    valid: Size
    canvas: Size

    @property
    def extent(self) -> tuple[float, float]:
        """Which part of the canvas's height and width is image, 0 to 1."""
        return self.valid.height / self.canvas.height, self.valid.width / self.canvas.width

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the input per pixel of the image, (y, x)."""
        return self.valid.height / self.image.height, self.valid.width / self.image.width


def place(preprocess: Preprocess, height: int, width: int, zoom: float = 1.0) -> Placement:
    """Where an image of this size lies. `zoom` scales the input for test-time augmentation (sizes and limits alike)."""
    image = Size(height, width)
    match preprocess.resize:
        case "squash":
            return _aligned(preprocess, image, _zoomed(_pair(preprocess.size), zoom))
        case "fit":
            canvas = _zoomed(_pair(preprocess.size), zoom)
            factor = min(canvas.height / height, canvas.width / width)
            return Placement(image, _within(_scaled(image, factor), canvas), _up(canvas, preprocess.multiple_of))
        case "short_side":
            side = zoom * min(_pair(preprocess.size))
            factor = side / min(image)
            if preprocess.max_size is not None:
                factor = min(factor, zoom * preprocess.max_size / max(image))
            return _bucketed(preprocess, image, _scaled(image, factor), zoom)
        case "none":
            return _bucketed(preprocess, image, _scaled(image, zoom), zoom)


def seen(preprocess: Preprocess, placements: Sequence[Placement]) -> tuple[int, int]:
    """The largest size (height, width) at which an image lies in any of these places; its own where the network's
    pixels are picked from the image's instead of averaged, so that each of them counts."""
    if not preprocess.antialias and preprocess.interpolation != "area":
        return placements[0].image
    return max(each.valid.height for each in placements), max(each.valid.width for each in placements)


def shown(placements: Iterable[Placement]) -> tuple[int, int]:
    """Pixels of these places together, and how many of them are the image's: `protocols.PaddedModel`."""
    places = tuple(placements)
    return sum(math.prod(each.canvas) for each in places), sum(math.prod(each.valid) for each in places)


def canvases(preprocess: Preprocess) -> tuple[Size, ...]:
    """The input shapes that are known before any image came: buckets, or the one shape that `resize` yields."""
    if preprocess.buckets:
        return tuple(Size(*bucket) for bucket in preprocess.buckets)
    side = _pair(preprocess.size)
    if preprocess.resize == "none":
        return ()
    return (place(preprocess, side.height, side.width).canvas,)


def _bucketed(preprocess: Preprocess, image: Size, ideal: Size, zoom: float) -> Placement:
    buckets = [Size(*bucket) for bucket in preprocess.buckets] if zoom == 1.0 else []
    if preprocess.align == "pad":
        holding = [bucket for bucket in buckets if bucket.height >= ideal.height and bucket.width >= ideal.width]
        if holding:
            return Placement(image, ideal, min(holding, key=math.prod))
    elif buckets:
        nearest = min(buckets, key=lambda bucket: (_stretch(bucket, image), math.prod(bucket)))
        if _stretch(nearest, image) <= LARGEST_STRETCH:
            return Placement(image, nearest, nearest)
    return _aligned(preprocess, image, ideal)


def _aligned(preprocess: Preprocess, image: Size, ideal: Size) -> Placement:
    canvas = _up(ideal, preprocess.multiple_of)
    return Placement(image, ideal if preprocess.align == "pad" else canvas, canvas)


def _stretch(bucket: Size, image: Size) -> float:
    """By how much filling the bucket distorts the image: 1 is not at all."""
    ratio = (bucket.height * image.width) / (bucket.width * image.height)
    return max(ratio, 1 / ratio)


def _pair(size: tuple[int, int] | int) -> Size:
    return Size(size, size) if isinstance(size, int) else Size(*size)


def _scaled(size: Size, factor: float) -> Size:
    """Rounded half up, at least one pixel."""
    height, width = (max(1, math.floor(side * factor + 0.5)) for side in size)
    return Size(height, width)


def _zoomed(size: Size, zoom: float) -> Size:
    return size if zoom == 1.0 else _scaled(size, zoom)


def _within(size: Size, limit: Size) -> Size:
    return Size(min(size.height, limit.height), min(size.width, limit.width))


def _up(size: Size, multiple: int) -> Size:
    height, width = (math.ceil(side / multiple) * multiple for side in size)
    return Size(height, width)
