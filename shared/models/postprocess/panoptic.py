"""Queries to one segment a pixel: Mask2Former's panoptic inference, on the image's own pixels.

Each pixel goes to the query whose class probability times mask probability is largest there; a query that keeps less
than `overlap` of its own mask is dropped (its pixels are void); regions of one stuff class become one segment.
MaskFormer, https://arxiv.org/abs/2107.06278, section 3.4.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from shared.models.engines.host import array_of
from shared.models.postprocess.query_borders import MOST, Owners, owners_of
from shared.models.postprocess.upsample import Grid, rows_per_tile, tiles
from shared.types import IdArray, PanopticOutput, PanopticSegment


@dataclass(frozen=True, slots=True)
class Candidates:
    """The k queries that are sure of a class: `labels` and `scores` of each, and their mask logits [k,h,w]."""

    labels: tuple[int, ...]
    scores: tuple[float, ...]
    grid: Grid


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
    owners = paint(found, size)
    queries = len(found.labels)
    table = np.zeros(2 * queries, dtype=owners.codes.dtype)
    segments: dict[int, PanopticSegment] = {}
    stuff: dict[int, int] = {}
    for query, (label, score) in enumerate(zip(found.labels, found.scores, strict=True)):
        visible, outside = owners.pixels[[query, queries + query]]
        if not visible or visible + outside < overlap * owners.whole[query]:
            continue
        known = stuff.get(label)
        number = known or len(segments) + 1
        if label not in things:
            stuff[label] = number
        best = max(score, segments[number].score) if known else score
        segments[number] = PanopticSegment(number, label, label in things, best)
        table[query] = number
    return PanopticOutput(_looked_up(table, owners.codes), tuple(segments.values()))


def paint(found: Candidates, size: tuple[int, int]) -> Owners:
    """Give every pixel of an image of `size` (H, W) to its best query."""
    grid = found.grid
    if grid.logits.device.type == "cpu" and not grid.mirrored:
        scores = np.array(found.scores, dtype=np.float32)
        owners = owners_of(array_of(grid.logits.float()), scores, size, grid.extent)
        if owners is not None:
            return owners
    return at_every_pixel(found, size)


def at_every_pixel(found: Candidates, size: tuple[int, int]) -> Owners:
    """The same, looking at every query at every pixel, a tile of rows at a time."""
    device, queries = found.grid.logits.device, len(found.scores)
    scores = torch.tensor(found.scores, device=device)
    codes = torch.empty(size, dtype=torch.uint8 if queries <= MOST else torch.int32, device=device)
    pixels = torch.zeros(2 * queries, dtype=torch.int64, device=device)
    whole = torch.zeros(queries, dtype=torch.int64, device=device)
    for part, tile in tiles(found.grid, size, rows_per_tile(found.grid, size[1])):
        best = (tile.sigmoid() * scores).argmax(dim=-1)
        best += queries * (tile.gather(-1, best[..., None])[..., 0] < 0)
        codes[part] = best.to(codes.dtype)
        pixels += best.flatten().bincount(minlength=2 * queries)
        whole += (tile >= 0).sum(dim=(0, 1))
    return Owners(array_of(codes), array_of(pixels), array_of(whole))


def _looked_up(table: IdArray, codes: IdArray) -> IdArray:
    """What the table says of each code."""
    if codes.dtype == np.uint8:
        wide = np.zeros(256, np.uint8)
        wide[: len(table)] = table
        return np.asarray(cv2.LUT(codes, wide), dtype=np.uint8)
    return np.asarray(table[codes], dtype=np.int32)
