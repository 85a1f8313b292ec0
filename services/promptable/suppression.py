"""Which of many masks stay: greedy box suppression, and masks that a crop's edge has cut off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EDGE_PIXELS = 20
"""A box this near to a crop's edge was probably cut off by it."""
Box = tuple[int, int, int, int]


def suppressed(boxes: Sequence[Box], scores: Sequence[float], threshold: float) -> list[int]:
    """Indices of the boxes that stay, best score first (the earlier of equal ones): each displaces all later ones whose
    IoU with it is above `threshold`.

    `boxes` are half-open; their overlap is counted between the first and the last pixel, as the reference does.
    """
    if not boxes:
        return []
    corners = np.array(boxes, dtype=np.float64)
    corners[:, 2:] -= 1
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    waiting = np.argsort(-np.array(scores, dtype=np.float64), kind="stable")
    kept: list[int] = []
    while waiting.size:
        best, waiting = int(waiting[0]), waiting[1:]
        kept.append(best)
        waiting = waiting[~(_iou(corners[best], areas[best], corners[waiting], areas[waiting]) > threshold)]
    return kept


def is_cut_off(box: Box, crop: Box, size: tuple[int, int]) -> bool:
    """Whether a side of `box` lies within EDGE_PIXELS of the crop's same side where that is no side of the image of
    `size` (H, W). All in pixels of the image, half-open."""
    whole = (0, 0, size[1], size[0])
    sides = (box[0], box[1], box[2] - 1, box[3] - 1)
    return any(
        abs(side - edge) <= EDGE_PIXELS and not abs(side - image_edge) <= EDGE_PIXELS
        for side, edge, image_edge in zip(sides, crop, whole, strict=True)
    )


def _iou(
    box: NDArray[np.float64], area: float, others: NDArray[np.float64], areas: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of one box with others; 0 where both have no area."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    union = area + areas - shared
    iou: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou
