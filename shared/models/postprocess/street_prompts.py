"""Prompts as the maps that the `street` decoder reads: clicks, distances, box and earlier mask at 1/4 of the
network's input.

Training renders its simulated prompts by the same function, so that serving and training cannot differ.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.types import BoolArray, Float32Array, Int32Array

MAPS = 6
"""Channels: positive clicks, negative clicks, nearness of a positive, nearness of a negative, box, earlier mask."""

STRIDE = 4
CLICK_SIGMA = 0.7
"""Cells (of 4 network pixels): width of a click's own peak."""

NEARNESS = 8.0
"""Cells over which the nearness of a click falls by e."""

FEW_CLICKS = 2
"""Up to so many, a correction may still say that another thing was meant altogether."""

Box = tuple[float, float, float, float]


def render_prompts(
    points: Float32Array,
    labels: Int32Array,
    box: Box | None,
    prev_logits: Float32Array | None,
    h4: int,
    w4: int,
    scale: float,
) -> Float32Array:
    """Maps float32 [6,h4,w4] of one prompt.

    `points` Px2 xy and `box` xyxy are in pixels of the upright image, `scale` network pixels per image pixel (the image
    lies at the network's top-left corner); `labels` P: 1 inside, 0 outside; `prev_logits` an earlier answer's logits
    in the network's frame, any size (resized to h4 x w4). Raises ValueError when points and labels differ in number.
    """
    if len(points) != len(labels):
        raise ValueError(f"{len(points)} points but {len(labels)} labels")
    maps = np.zeros((MAPS, h4, w4), np.float32)
    for channel, value in ((0, 1), (1, 0)):
        chosen = np.asarray(points, np.float32).reshape(-1, 2)[np.asarray(labels) == value]
        if len(chosen):
            squared = _squared_distance(chosen * (scale / STRIDE) - 0.5, h4, w4)
            maps[channel] = np.exp(squared * (-0.5 / CLICK_SIGMA**2))
            maps[channel + 2] = np.exp(np.sqrt(squared) * (-1.0 / NEARNESS))
    if box is not None:
        x0, y0, x1, y1 = (value * scale / STRIDE for value in box)
        maps[4] = np.outer(_coverage(y0, y1, h4), _coverage(x0, x1, w4))
    if prev_logits is not None:
        logits = np.asarray(prev_logits, np.float32)
        if logits.shape != (h4, w4):
            logits = cv2.resize(logits, (w4, h4), interpolation=cv2.INTER_LINEAR).astype(np.float32)
        maps[5] = np.tanh(logits / 2)
    return maps


def corrected(
    masks: Float32Array, earlier: Float32Array | None, points: Float32Array, labels: Int32Array
) -> Float32Array:
    """Mask logits [c,h4,w4] that differ from those of the `earlier` answer [h4,w4] only where the clicks correct it.

    Clicks that the earlier mask contradicts are corrections. Of what an answer adds and takes away, the 8-connected
    pieces count that a correction of that kind touches; from the third click on only where they are nearer to it than
    to any click of the other kind, because a click beside others of its looks must not take all of them away (after
    the progressive merge of FocalClick, Chen et al. 2022). Without an earlier answer, or where it contradicts no click,
    the logits stay as they are. `points` Px2 xy in network pixels.
    """
    if earlier is None or not len(points):
        return masks
    rows, columns = _cells(points, earlier.shape)
    before, after, inside = earlier > 0, masks > 0, np.asarray(labels) == 1
    correcting = before[rows, columns] != inside
    if not correcting.any():
        return masks
    accepted = after == before
    for kind in np.unique(inside[correcting]):
        chosen, others = correcting & (inside == kind), points[inside != kind]
        reach = np.ones_like(before)
        if len(points) > FEW_CLICKS and len(others):
            near, far = (_squared_distance(of / STRIDE - 0.5, *before.shape) for of in (points[chosen], others))
            reach = near < far
        for taken, changed in zip(accepted, (after != before) & (after == kind), strict=True):
            taken |= reach & _touched(changed, rows[chosen], columns[chosen])
    found: Float32Array = np.where(accepted, masks, earlier)
    return found


def clicked_pieces(
    masks: Float32Array, points: Float32Array, labels: Int32Array, box: Box | None = None
) -> Float32Array:
    """Mask logits [c,h4,w4] less the pieces that no positive click touches: their signs are turned.

    `points` Px2 xy in network pixels. What a click means is one connected thing; a box may hold several, and a mask
    that no click touches stays whole. Pieces are 8-connected cells above zero.
    """
    chosen = np.asarray(points, np.float32).reshape(-1, 2)[np.asarray(labels) == 1]
    if box is not None or not len(chosen):
        return masks
    rows, columns = _cells(chosen, masks.shape[1:])
    found = masks.copy()
    for mask in found:
        count, pieces = cv2.connectedComponents((mask > 0).astype(np.uint8), connectivity=8)
        touched = np.zeros(count, bool)
        touched[pieces[rows, columns]] = True
        if touched[1:].any():
            touched[0] = True  # what is below zero stays there
            mask[~touched[pieces]] *= -1
    return found


def _cells(points: Float32Array, shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the cells that points (network pixels) lie in; those outside are moved to the border."""
    limit = np.array(shape[::-1]) - 1
    columns, rows = np.clip(np.asarray(points, np.float32).reshape(-1, 2) // STRIDE, 0, limit).astype(np.int64).T
    return rows, columns


def _touched(plane: BoolArray, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> BoolArray:
    """The 8-connected pieces of a plane that have a cell in common with, or beside, one of these."""
    count, pieces = cv2.connectedComponents(plane.astype(np.uint8), connectivity=8)
    touched = np.zeros(count, bool)
    for row, column in zip(rows, columns, strict=True):
        touched[pieces[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]] = True
    touched[0] = False
    found: BoolArray = touched[pieces]
    return found


def _squared_distance(cells: Float32Array, h4: int, w4: int) -> Float32Array:
    """Squared distance in cells [h4,w4] to the nearest of `cells` Px2 (x, y); clicks outside are moved to the
    border.
    """
    x = np.clip(cells[:, 0], 0, w4 - 1)
    y = np.clip(cells[:, 1], 0, h4 - 1)
    across = (np.arange(w4, dtype=np.float32) - x[:, None]) ** 2
    down = (np.arange(h4, dtype=np.float32) - y[:, None]) ** 2
    nearest: Float32Array = (down[:, :, None] + across[:, None, :]).min(0)
    return nearest


def _coverage(low: float, high: float, cells: int) -> Float32Array:
    """How much of each cell [i, i+1] the interval covers, 0 to 1."""
    edges = np.arange(cells, dtype=np.float32)
    covered: Float32Array = np.clip(np.minimum(edges + 1, high) - np.maximum(edges, low), 0, 1).astype(np.float32)
    return covered
