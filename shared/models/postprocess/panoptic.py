"""Queries to one segment a pixel: Mask2Former's panoptic inference, on the image's own pixels.

Each pixel goes to the query whose class probability times mask probability is largest there; a query that keeps less
than `overlap` of its own mask is dropped (its pixels are void); regions of one stuff class become one segment.
MaskFormer, https://arxiv.org/abs/2107.06278, section 3.4.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shared.models.postprocess.upsample import Grid, rows_per_tile, tiles
from shared.types import Int32Array, PanopticOutput, PanopticSegment


@dataclass(frozen=True, slots=True)
class Candidates:
    """The k queries that are sure of a class: `labels` and `scores` of each, and their mask logits [k,h,w]."""

    labels: tuple[int, ...]
    scores: tuple[float, ...]
    grid: Grid


@dataclass(frozen=True, slots=True)
class Painted:
    """`winner` HxW: 1 + the query that owns the pixel, 0 where its mask does not reach .5. `won`: pixels where a query
    is the best one; `whole`: pixels of its own mask."""

    winner: Int32Array
    won: tuple[int, ...]
    whole: tuple[int, ...]


def candidates(probabilities: Tensor, mask: Grid, score_threshold: float) -> Candidates:
    """Queries whose best class is not "no object" (the last column of `probabilities` [q,c+1]) and sure enough."""
    scores, labels = probabilities.max(dim=-1)
    kept = ((labels < probabilities.shape[1] - 1) & (scores > score_threshold)).nonzero().flatten()
    grid = Grid(mask.logits[kept], mask.extent, mask.mirrored)
    return Candidates(tuple(labels[kept].tolist()), tuple(scores[kept].tolist()), grid)


def panoptic(found: Candidates, size: tuple[int, int], things: Collection[int], overlap: float) -> PanopticOutput:
    """Disjoint segments of an image of `size` (H, W); ids count from 1 in the order of the queries."""
    if not found.labels:
        return PanopticOutput(np.zeros(size, dtype=np.int32), ())
    painted = paint(found, size)
    visible = np.bincount(painted.winner.ravel(), minlength=len(found.labels) + 1)[1:]
    table = np.zeros(len(found.labels) + 1, dtype=np.int32)
    segments: dict[int, PanopticSegment] = {}
    stuff: dict[int, int] = {}
    for query, (label, score) in enumerate(zip(found.labels, found.scores, strict=True)):
        if not visible[query] or painted.won[query] < overlap * painted.whole[query]:
            continue
        known = stuff.get(label)
        number = known or len(segments) + 1
        if label not in things:
            stuff[label] = number
        best = max(score, segments[number].score) if known else score
        segments[number] = PanopticSegment(number, label, label in things, best)
        table[query + 1] = number
    return PanopticOutput(table[painted.winner], tuple(segments.values()))


def paint(found: Candidates, size: tuple[int, int]) -> Painted:
    """Give every pixel to its best query, a tile of rows at a time."""
    device = found.grid.logits.device
    scores = torch.tensor(found.scores, device=device)
    winner = torch.empty(size, dtype=torch.int32, device=device)
    won = torch.zeros(len(found.scores), dtype=torch.int64, device=device)
    whole = torch.zeros_like(won)
    for part, tile in tiles(found.grid, size, rows_per_tile(found.grid, size[1])):
        best = (tile.sigmoid() * scores).argmax(dim=-1)
        inside = tile.gather(-1, best[..., None])[..., 0] >= 0
        winner[part] = torch.where(inside, best + 1, 0).to(torch.int32)
        won += best.flatten().bincount(minlength=len(won))
        whole += (tile >= 0).sum(dim=(0, 1))
    return Painted(winner.numpy(force=True), tuple(won.tolist()), tuple(whole.tolist()))
