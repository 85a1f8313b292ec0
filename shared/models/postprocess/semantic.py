"""Class logits on a coarse grid to a label for every pixel of the image: upsampled first, argmax after."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.models.engines.host import array_of
from shared.models.postprocess.label_upsampling import PADDED_TO, labels_at, labels_by_borders, sample_of
from shared.models.postprocess.score_upsampling import Scores, enlarged
from shared.models.postprocess.upsample import Grid, axes, rows_per_tile, tiles, values_at
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
    seen: tuple[int, int] | None = None,
) -> SemanticOutput:
    """The best class of each pixel of an image of `size` (H, W), and how sure the network is of it.

    One grid: the largest logit, its softmax probability (logits divided by `temperature`) as confidence. Several grids
    (test-time augmentation), or `scores` of their own: scores are averaged at each pixel, then the largest is taken; of
    an image larger than `seen` (h, w), the size at which the network saw it, they are averaged there and then resized.
    Labels are uint8 below 256 classes, else uint16. `alone`: the confidence will hardly be asked for.
    """
    if len(grids) == 1 and not scores and _plain(grids[0]) and classes <= VOID_8:
        return labels_at(grids[0].logits.numpy(), size, temperature, alone)
    if len(grids) == 1 and not scores and grids[0].logits.is_cuda and find_spec("triton") is not None:
        return _on_gpu(grids[0], size, classes, temperature, alone)
    if len(grids) == 1 and not scores:
        return _of_padded(grids[0], size, classes, temperature)
    each = list(scores) or [_softmax(temperature)] * len(grids)
    if seen is None or math.prod(seen) >= math.prod(size):
        return _output(*_tiled(grids, size, each), classes)
    labels, best = _tiled(grids, seen, each)
    sampled = _output(labels, best, classes)
    output = _output(*enlarged(labels, best, _averaged_at(grids, seen, each), size), classes)
    return replace(output, sampled=lambda: sampled) if classes <= VOID_8 else output


def _of_padded(grid: Grid, size: tuple[int, int], classes: int, temperature: float) -> SemanticOutput:
    """Of logits that cover more than the image."""

    def tiled(size: tuple[int, int]) -> SemanticOutput:
        return _output(*_tiled([grid], size, [], temperature), classes)

    labels = None
    if grid.logits.device.type == "cpu" and not grid.mirrored and classes <= VOID_8:
        labels = labels_by_borders(grid.logits.numpy(), size, grid.extent, PADDED_TO)
    if labels is None:
        return tiled(size)
    some = sample_of(grid.logits.shape[1:], size)
    return SemanticOutput(labels, lambda: tiled(size).confidence, cache(lambda: tiled(some)))


def _tiled(
    grids: Sequence[Grid], size: tuple[int, int], scores: Sequence[Score], temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Labels int64 and confidence f32, both [H,W], a few rows at a time; without `scores` of the one grid's logits."""
    labels = torch.empty(size, dtype=torch.int64, device=grids[0].logits.device)
    confidence = torch.empty(size, dtype=torch.float32, device=grids[0].logits.device)
    rows = min(rows_per_tile(grid, size[1]) for grid in grids)
    for parts in zip(*(tiles(grid, size, rows) for grid in grids), strict=True):
        part = parts[0][0]
        if scores:
            found = _averaged([score(tile) for score, (_, tile) in zip(scores, parts, strict=True)])
        else:
            found = _sharp(parts[0][1], temperature)
        labels[part], confidence[part] = found
    return labels, confidence


def _averaged_at(grids: Sequence[Grid], seen: tuple[int, int], scores: Sequence[Score]) -> Scores:
    """The scores that `_averaged` compares, at single positions of what was seen."""
    values = [values_at(grid, seen) for grid in grids]

    def averaged(y: Tensor, x: Tensor) -> Tensor:
        found = [score(value(y, x)[:, None])[:, 0] for score, value in zip(scores, values, strict=True)]
        return sum(found[1:], found[0]) / len(found)

    return averaged


def _output(labels: Tensor, confidence: Tensor, classes: int) -> SemanticOutput:
    return SemanticOutput(as_labels(labels, classes), array_of(confidence.half()))


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
