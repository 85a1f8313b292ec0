"""Logits on a coarse grid, bilinearly sampled at every pixel of the image, a tile of rows at a time.

Half-pixel centres, edges repeated, no antialiasing: where the grid covers the image exactly this equals
`torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`. Tiles fit the cache on a CPU; whole maps of 150
classes at full size never exist. Runs on the logits' device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

TILE_VALUES = {"cpu": 2**19, "cuda": 2**27}
"""Floats of one tile: what fits the caches of two cores; on a GPU, half a gigabyte."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Logits [c,h,w] of one network input whose top-left `extent` (parts of height and width) shows the image.

    `mirrored`: the image was flipped left to right before it went in.
    """

    logits: Tensor
    extent: tuple[float, float] = (1.0, 1.0)
    mirrored: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """Output position o is weight[o] of the way from input low[o] to input high[o]."""

    low: Tensor
    high: Tensor
    weight: Tensor


def axis(inputs: int, outputs: int, extent: float, mirrored: bool, device: torch.device) -> Axis:
    """Where `outputs` pixel centres lie on `inputs` cells of which the first `extent` show the image."""
    centres = torch.arange(outputs, dtype=torch.float32, device=device) + 0.5
    if mirrored:
        centres = outputs - centres
    position = (centres * (inputs * extent / outputs) - 0.5).clamp(0, inputs - 1)
    low = position.floor()
    return Axis(low.long(), (low.long() + 1).clamp(max=inputs - 1), position - low)


def axes(grid: Grid, size: tuple[int, int]) -> tuple[Axis, Axis]:
    """Where the rows and columns of an image of `size` (H, W) lie on the grid."""
    height, width = grid.logits.shape[1:]
    device = grid.logits.device
    down = axis(height, size[0], grid.extent[0], False, device)
    return down, axis(width, size[1], grid.extent[1], grid.mirrored, device)


def tiles(grid: Grid, size: tuple[int, int], rows: int) -> Iterator[tuple[slice, Tensor]]:
    """(rows of the image, logits [rows, W, c] there), top to bottom, for an image of `size` (H, W)."""
    cells = grid.logits.permute(1, 2, 0).contiguous()
    down, across = axes(grid, size)
    for start in range(0, size[0], rows):
        part = slice(start, min(start + rows, size[0]))
        band = torch.lerp(cells[down.low[part]], cells[down.high[part]], down.weight[part, None, None])
        yield part, torch.lerp(band[:, across.low], band[:, across.high], across.weight[None, :, None])


def values_at(grid: Grid, size: tuple[int, int]) -> Callable[[Tensor, Tensor], Tensor]:
    """From rows [n] and columns [n] of an image of `size` (H, W) to the logits [n, c] there: those of `tiles`."""
    cells = grid.logits.permute(1, 2, 0).contiguous()
    down, across = axes(grid, size)

    def values(y: Tensor, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = (down.low[y], down.high[y]), (across.low[x], across.high[x])
        tall, wide = down.weight[y, None], across.weight[x, None]
        near = torch.lerp(cells[top, left], cells[bottom, left], tall)
        return torch.lerp(near, torch.lerp(cells[top, right], cells[bottom, right], tall), wide)

    return values


def rows_per_tile(grid: Grid, width: int) -> int:
    """How many rows of an image of this width make a tile."""
    budget = TILE_VALUES["cuda" if grid.logits.is_cuda else "cpu"]
    return max(1, budget // (grid.logits.shape[0] * width))
