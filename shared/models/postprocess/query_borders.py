"""Queries whose masks are to be resized to a large image in, the best of them for each of its pixels out; without
torch.

A query's score at a pixel is its class probability times its mask's there, which grows with the mask's logit. So what
it reaches between four logits lies between what it has at the least and at the largest of them: where one query has
more at the least than every other at the largest, it owns all that lies between, and nothing is computed there. What is
found equals looking at every pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from shared.imaging.stripes import stripes
from shared.models.postprocess.label_borders import ROUNDING, Gaps, axis, largest
from shared.types import BoolArray, Float32Array, IdArray, Int64Array, UInt8Array

PIXELS_FROM, ASKED_TO = 8, 0.25
"""Pixels a logit from which on, and the part of all pairs of query and pixel up to which, it pays to ask those alone
that may win."""
_LEAST = 80
"""Logits below its negative count as that: their exponential has no place in float32."""
MOST = 127
"""Queries: a byte holds the code of a pixel."""


@dataclass(frozen=True, slots=True)
class Owners:
    """`codes` HxW: the one of q queries that owns the pixel, plus q where its mask does not reach .5. `pixels` [2q]: so
    many have each code; `whole` [q]: pixels where the query's own mask reaches .5."""

    codes: IdArray
    pixels: Int64Array
    whole: Int64Array


@dataclass(frozen=True, slots=True)
class Around:
    """Of each query the least and the largest of the four logits around a gap, [q,h+1,w+1]."""

    least: Float32Array
    largest: Float32Array

    @classmethod
    def of(cls, logits: Float32Array) -> Around:
        """Of logits [q,h,w], the outermost of which are repeated."""
        around = np.pad(logits, ((0, 0), (1, 1), (1, 1)), "edge")
        above, below = around[:, :-1], around[:, 1:]
        low, high = np.minimum(above, below), np.maximum(above, below)
        return cls(np.minimum(low[..., :-1], low[..., 1:]), np.maximum(high[..., :-1], high[..., 1:]))


def owners_of(
    logits: Float32Array, scores: Float32Array, size: tuple[int, int], extent: tuple[float, float] = (1.0, 1.0)
) -> Owners | None:
    """Who owns the pixels of an image of `size` (H, W), by mask logits [q,h,w] whose top-left `extent` (parts of height
    and width) shows it, and the queries' class probabilities [q]; none where it does not pay to find it this way."""
    queries, height, width = logits.shape
    if queries > MOST or size[0] * size[1] < PIXELS_FROM * height * width * extent[0] * extent[1]:
        return None
    rows, columns = axis(height, size[0], extent[0]), axis(width, size[1], extent[1])
    around = Around.of(logits)
    margin = ROUNDING * float(np.abs(logits).max(initial=1))
    weights = scores[:, None, None]
    surest = _ranks(around.least, weights).max(axis=0) * np.float32(max(0, 1 - margin))
    possible = _ranks(around.largest, weights) >= surest
    owner = possible.argmax(axis=0)
    least, most = (np.take_along_axis(side, owner[None], 0)[0] for side in (around.least, around.largest))
    crossed = (around.least < margin) & (around.largest >= -margin)
    mixed = (possible.sum(axis=0) > 1) | ((least < margin) & (most >= -margin))
    asked = rows.many @ (possible * mixed | crossed).sum(axis=0) @ columns.many
    if asked > ASKED_TO * queries * size[0] * size[1]:
        return None
    codes = (owner + queries * (most < 0)).astype(np.uint8)
    enlarged = np.repeat(np.repeat(codes, columns.many, axis=1), rows.many, axis=0)
    _fill(enlarged, logits, scores, possible, Gaps.of(mixed, rows, columns))
    whole = (around.least >= margin) @ columns.many @ rows.many
    for query, each in enumerate(crossed):
        whole[query] += _reached(logits[query : query + 1], Gaps.of(each, rows, columns))
    return Owners(enlarged, _counts(enlarged)[: 2 * queries], whole)


def _ranks(logits: Float32Array, scores: Float32Array) -> Float32Array:
    """What queries compete with: their scores times the probabilities of their logits."""
    ranks = np.exp(-np.maximum(logits, -_LEAST))
    ranks += 1
    found: Float32Array = np.divide(scores, ranks, out=ranks)
    return found


def _fill(codes: UInt8Array, logits: Float32Array, scores: Float32Array, possible: BoolArray, gaps: Gaps) -> None:
    """Set the codes [H,W] of all pixels of these gaps."""
    flat = codes.reshape(-1)
    for part in gaps.between(gaps.corners(logits), possible[:, gaps.y, gaps.x]):
        ids = (part.values < 0).view(np.uint8) * np.uint8(len(logits))
        ids += part.classes.astype(np.uint8)[:, None, None]
        flat[part.pixels] = largest(_ranks(part.values, scores[part.classes][:, None, None]), ids)


def _counts(codes: UInt8Array) -> Int64Array:
    """Pixels of each of 256 codes."""
    counts = np.zeros(256, np.int64)
    for rows in stripes(codes[..., None]):
        counts += cv2.calcHist([codes[rows]], [0], None, [256], (0, 256)).ravel().astype(np.int64)
    return counts


def _reached(logits: Float32Array, gaps: Gaps) -> int:
    """Pixels of these gaps where a query's own mask, [1,h,w], reaches .5."""
    everywhere = np.ones((1, len(gaps.y)), np.bool_)
    parts = gaps.between(gaps.corners(logits), everywhere)
    return sum(int(np.count_nonzero((part.values[0] >= 0) & gaps.once(part))) for part in parts)
