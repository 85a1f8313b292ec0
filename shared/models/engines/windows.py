"""Canvases larger than a network's own input in, seen through overlapping windows of that size; whole maps out.

Where windows overlap their outputs are averaged. Windows start at multiples of `STEP` pixels, so that the cells of
every output with a stride that divides it lie on one grid. A canvas smaller than a window is filled up with black.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from shared.models.engines.engine import Around, Array, Arrays, Engine, Shapes
from shared.models.engines.graph import tensors
from shared.models.geometry import Size
from shared.models.normalise import PIXELS

STEP = 16


def starts(length: int, window: int, overlap: int) -> list[int]:
    """Where windows begin along a side of `length`: as few as share at least `overlap` pixels, evenly spread.

    Raises `ValueError` where the side is shorter than a window or no multiple of `STEP`.
    """
    if length < window or length % STEP:
        raise ValueError(
            f"a side of {length} pixels is given; windows of {window} need that or a larger multiple of 16"
        )
    if length == window:
        return [0]
    count = 1 + math.ceil((length - window) / max(STEP, (window - overlap) // STEP * STEP))
    spread = [(length - window) * number // (count - 1) for number in range(count)]
    return [start // STEP * STEP for start in spread]


class WindowedEngine(Around):
    """An engine for one size of input as one for every canvas at least that large; outputs are maps [n,c,h,w]."""

    def __init__(self, engine: Engine, window: Size, overlap: int) -> None:
        super().__init__(engine)
        self._window = window
        self._overlap = overlap

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """See `Engine.run`. Raises `ValueError` for a canvas whose sides are no multiples of `STEP`."""
        return {name: output.numpy(force=True) for name, output in self.run_tensors(inputs).items()}

    def run_tensors(self, inputs: Arrays) -> dict[str, Tensor]:
        """See `TensorEngine.run_tensors`."""
        given = inputs[PIXELS]
        missing = [max(0, side - has) for side, has in zip(self._window, given.shape[1:3], strict=True)]
        pixels = np.pad(given, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0))) if any(missing) else given
        height, width = pixels.shape[1:3]
        corners = [
            (image, top, left)
            for image in range(len(pixels))
            for top in starts(height, self._window.height, self._overlap)
            for left in starts(width, self._window.width, self._overlap)
        ]
        joined: dict[str, Joined] = {}
        for first in range(0, len(corners), self.batch_limit):
            chunk = corners[first : first + self.batch_limit]
            for name, output in self._look(pixels, chunk).items():
                if name not in joined:
                    joined[name] = Joined(output, (len(pixels), height, width), self._window)
                joined[name].add(output, chunk)
        return {name: each.mean(Size(*given.shape[1:3])) for name, each in joined.items()}

    def warm(self, shapes: Sequence[Shapes]) -> None:
        """The window's shape, whatever canvases will come."""
        self._within.warm([{PIXELS: (1, *self._window, 3)}])

    def _look(self, pixels: Array, corners: Sequence[tuple[int, int, int]]) -> Mapping[str, Tensor]:
        height, width = self._window
        windows = [pixels[image, top : top + height, left : left + width] for image, top, left in corners]
        return tensors(self._within, {PIXELS: np.stack(windows)})


class Joined:
    """The maps of windows, added up where they lie on those of whole canvases (n, height, width in pixels)."""

    def __init__(self, output: Tensor, canvases: tuple[int, int, int], window: Size) -> None:
        channels, rows, columns = output.shape[1:]
        self._stride = (window.height // rows, window.width // columns)
        if any(STEP % stride for stride in self._stride):
            raise ValueError(f"outputs of stride {self._stride} do not fit windows that start at multiples of {STEP}")
        number, height, width = canvases
        self._size = (height // self._stride[0], width // self._stride[1])
        self._sums = output.new_zeros((number, channels, *self._size), dtype=torch.float32)
        self._counts = output.new_zeros((number, 1, *self._size), dtype=torch.float32)

    def add(self, output: Tensor, corners: Sequence[tuple[int, int, int]]) -> None:
        """Maps [k,c,h,w] of windows at these (image, top, left)."""
        rows, columns = output.shape[2:]
        for part, (image, top, left) in zip(output, corners, strict=True):
            y, x = top // self._stride[0], left // self._stride[1]
            self._sums[image, :, y : y + rows, x : x + columns] += part
            self._counts[image, :, y : y + rows, x : x + columns] += 1

    def mean(self, canvas: Size) -> Tensor:
        """The averages f32 [n,c,h,w] over this canvas, from the top left."""
        rows, columns = canvas.height // self._stride[0], canvas.width // self._stride[1]
        return (self._sums / self._counts)[..., :rows, :columns]
