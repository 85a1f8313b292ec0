"""Class logits on a coarse grid to a label for every pixel of the image: upsampled first, argmax after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.models.engines.host import array_of
from shared.models.postprocess.label_upsampling import labels_at
from shared.models.postprocess.upsample import Grid, axes, rows_per_tile, tiles
from shared.types import VOID_8, LabelArray, SemanticOutput

Score = Callable[[Tensor], Tensor]
"""Values [rows, w, c] of one grid to scores [rows, w, classes], 0 to 1."""


def label_map(
    grids: Sequence[Grid],
    size: tuple[int, int],
    classes: int,
    temperature: float = 1.0,
    scores: Sequence[Score] = (),
    alone: bool = False,
) -> SemanticOutput:
    """The best class of each pixel of an image of `size` (H, W), and how sure the network is of it.

    One grid: the largest logit, its softmax probability (logits divided by `temperature`) as confidence. Several grids
    (test-time augmentation), or `scores` of their own: scores are averaged at each pixel, then the largest is taken.
    Labels are uint8 below 256 classes, else uint16. `alone`: the confidence will hardly be asked for.
    """
    if len(grids) == 1 and not scores and _plain(grids[0]) and classes <= VOID_8:
        return labels_at(grids[0].logits.numpy(), size, temperature, alone)
    if len(grids) == 1 and not scores and grids[0].logits.is_cuda and find_spec("triton") is not None:
        return _on_gpu(grids[0], size, classes, temperature, alone)
    labels = torch.empty(size, dtype=torch.int64, device=grids[0].logits.device)
    confidence = torch.empty(size, dtype=torch.float16, device=grids[0].logits.device)
    rows = min(rows_per_tile(grid, size[1]) for grid in grids)
    each = scores or [_softmax(temperature)] * len(grids)
    for parts in zip(*(tiles(grid, size, rows) for grid in grids), strict=True):
        part = parts[0][0]
        if len(parts) == 1 and not scores:
            labels[part], confidence[part] = _sharp(parts[0][1], temperature)
        else:
            labels[part], confidence[part] = _averaged(
                [score(tile) for score, (_, tile) in zip(each, parts, strict=True)]
            )
    return SemanticOutput(as_labels(labels, classes), array_of(confidence))


def probability_map(grids: Sequence[Grid], size: tuple[int, int], temperature: float = 1.0) -> Tensor:
    """The classes' probabilities f32 [h,w,c] at every pixel of a picture of `size` (h, w), averaged over the grids. All
    of them at once: for small pictures."""
    softmax = _softmax(temperature)
    maps = [torch.cat([softmax(tile) for _, tile in tiles(grid, size, rows_per_tile(grid, size[1]))]) for grid in grids]
    return sum(maps[1:], maps[0]) / len(maps)


def _on_gpu(grid: Grid, size: tuple[int, int], classes: int, temperature: float, alone: bool) -> SemanticOutput:
    from shared.models.postprocess.upsample_cuda import labels_on

    labels, confidence = labels_on(grid.logits, *axes(grid, size), temperature)
    certainty = partial(array_of, confidence)  # two thirds of what would leave the GPU
    return SemanticOutput(as_labels(labels, classes), certainty if alone else certainty())


def _plain(grid: Grid) -> bool:
    """Whether these logits lie on the CPU and cover the image exactly: what the kernel without torch takes."""
    return grid.logits.device.type == "cpu" and grid.extent == (1.0, 1.0) and not grid.mirrored


def as_labels(labels: Tensor, classes: int) -> LabelArray:
    """uint8 where ids below `classes` leave 255 free for void, else uint16."""
    if classes <= VOID_8:
        small: NDArray[np.uint8] = array_of(labels.to(torch.uint8))
        return small
    return array_of(labels).astype(np.uint16)


def _sharp(tile: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    best, labels = tile.max(dim=-1)
    return labels, ((tile - best[..., None]) / temperature).exp_().sum(dim=-1).reciprocal_()


def _averaged(scores: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    best, labels = (sum(scores[1:], scores[0]) / len(scores)).max(dim=-1)
    return labels, best


def _softmax(temperature: float) -> Score:
    def softmax(tile: Tensor) -> Tensor:
        return (tile / temperature).softmax(dim=-1)

    return softmax
