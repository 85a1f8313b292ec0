"""Where the automatic mask generator looks: crops of the image, and the grid of points of each.

After Segment Anything (Kirillov et al. 2023, section 5 and appendix B; its reference implementation for the rounding).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Crop:
    """Part of the image, xyxy in pixels, half-open, of layer 0 (the whole image), 1, ..."""

    box: tuple[int, int, int, int]
    layer: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.box[3] - self.box[1], self.box[2] - self.box[0]

    @property
    def area(self) -> int:
        """In pixels."""
        return math.prod(self.size)


def crops_of(size: tuple[int, int], layers: int, overlap_ratio: float) -> list[Crop]:
    """The whole image of `size` (H, W), then 4, 16, ... crops a layer, which overlap by `overlap_ratio` of the image's
    short side in layer 1 and half as much in each further one."""
    height, width = size
    crops = [Crop((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(size) * (2 / count))
        columns, rows = _spans(width, count, overlap), _spans(height, count, overlap)
        crops += [Crop((x0, y0, x1, y1), layer) for (x0, x1), (y0, y1) in product(columns, rows)]
    return crops


def points_of(crop: Crop, points_per_side: int, downscale_factor: int) -> FloatArray:
    """A square number of points Nx2, xy in pixels of the crop, in the middles of equal cells, row by row. Each further
    layer has `downscale_factor` times fewer a side."""
    count = max(1, int(points_per_side / downscale_factor**crop.layer))
    middles = np.linspace(1 / (2 * count), 1 - 1 / (2 * count), count)
    x, y = np.meshgrid(middles, middles)
    grid: FloatArray = np.stack([x.ravel(), y.ravel()], axis=1) * np.array([crop.size[1], crop.size[0]])
    return grid


def _spans(length: int, count: int, overlap: int) -> list[tuple[int, int]]:
    """`count` spans of equal length that overlap by `overlap` pixels and cover [0, length]."""
    span = math.ceil((overlap * (count - 1) + length) / count)
    starts = [(span - overlap) * index for index in range(count)]
    return [(start, min(start + span, length)) for start in starts]
