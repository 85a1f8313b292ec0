"""Scores that are dear to find at every pixel: found where the network saw the image, a label for each pixel of it out.

Where the four scores around a pixel agree on their largest class, so does all that lies between them; everywhere else
the scores are found again and resized (bilinear, half-pixel centres, edges repeated). Runs on the labels' device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from shared.models.postprocess.upsample import TILE_VALUES, axis

Scores = Callable[[Tensor, Tensor], Tensor]
"""Rows [n] and columns [n] of what was seen to scores [n, classes] there."""


class Side(NamedTuple):
    """One side of the image: after position i of what was seen lie `many[i]` pixels from `start[i]` on; pixel p lies
    `weight[p]` of the way to the next."""

    low: Tensor
    weight: Tensor
    start: Tensor
    many: Tensor

    def pixels(self, after: Tensor) -> Tensor:
        """The pixels that follow each of these positions [n,most]; where there are fewer, the last several times."""
        most = int(self.many[after].max())
        steps = torch.arange(most, device=after.device)
        return self.start[after, None] + torch.minimum(steps, self.many[after, None] - 1)


def enlarged(labels: Tensor, best: Tensor, scores: Scores, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Labels int64 and their scores f16, both [H,W] for an image of `size`, from the labels and the largest scores f32,
    both [h,w], of what was seen of it: equal to resizing all classes' scores and taking the largest."""
    height, width = labels.shape
    rows, columns = _side(height, size[0], labels.device), _side(width, size[1], labels.device)
    found = labels[rows.low][:, columns.low]
    certain = functional.interpolate(best[None, None], size=size, mode="bilinear")[0, 0].half()
    around = functional.pad(labels[None, None].float(), (0, 1, 0, 1), mode="replicate")[0, 0].long()
    mixed = (labels != around[:-1, 1:]) | (labels != around[1:, :-1]) | (labels != around[1:, 1:])
    cells = torch.nonzero(mixed & (rows.many > 0)[:, None] & (columns.many > 0))
    if len(cells):
        classes = scores(cells[:1, 0], cells[:1, 1]).shape[1]
        budget = TILE_VALUES["cuda" if labels.is_cuda else "cpu"]
        step = max(1, budget // (classes * int(rows.many.max()) * int(columns.many.max())))
        for y, x in (part.unbind(1) for part in cells.split(step)):
            _between(found, certain, scores, (rows, columns), y, x)
    return found, certain


def _between(found: Tensor, certain: Tensor, scores: Scores, sides: tuple[Side, Side], y: Tensor, x: Tensor) -> None:
    """Set every pixel that lies between one of these positions and its three next ones."""
    rows, columns = sides
    below, right = (y + 1).clamp(max=len(rows.many) - 1), (x + 1).clamp(max=len(columns.many) - 1)
    high, wide = rows.pixels(y), columns.pixels(x)
    down, across = rows.weight[high][..., None], columns.weight[wide][:, None, :, None]
    left_side = torch.lerp(scores(y, x)[:, None], scores(below, x)[:, None], down)
    right_side = torch.lerp(scores(y, right)[:, None], scores(below, right)[:, None], down)
    best, which = torch.lerp(left_side[:, :, None], right_side[:, :, None], across).max(dim=-1)
    place = high[:, :, None], wide[:, None]
    found[place], certain[place] = which, best.half()


def _side(seen: int, pixels: int, device: torch.device) -> Side:
    along = axis(seen, pixels, 1.0, False, device)
    many = torch.bincount(along.low, minlength=seen)
    return Side(along.low, along.weight, many.cumsum(0) - many, many)
