"""A mask's small holes filled and small islands removed."""

from __future__ import annotations

import cv2
import numpy as np

from shared.types import BoolArray, Region

EIGHT = 8
"""Pixels that touch at a corner are connected."""


def tidied(region: Region, min_area: int) -> tuple[Region, bool]:
    """The mask without holes and islands of fewer than `min_area` pixels, and whether that changed it.

    Where all islands are small the largest stays. A hole may lie at the image's edge.
    """
    surroundings, x0, y0 = _with_margin(region, min_area)
    mask, filled = without_small(surroundings, min_area, holes=True)
    mask, removed = without_small(mask, min_area, holes=False)
    changed = filled or removed
    return (Region.from_mask(mask, x0, y0, region.size) if changed else region), changed


def _with_margin(region: Region, margin: int) -> tuple[BoolArray, int, int]:
    """The mask in its box and `margin` pixels around it, as far as the image goes, and where that lies (x, y).

    What reaches the edge of a margin as wide as the smallest area is no small hole, so nothing further away matters.
    """
    x0, y0, x1, y1 = region.box
    left, top = max(0, x0 - margin), max(0, y0 - margin)
    right, bottom = min(region.size[1], x1 + margin), min(region.size[0], y1 + margin)
    bits = np.pad(region.bits, ((y0 - top, bottom - y1), (x0 - left, right - x1)))
    return bits, left, top


def without_small(mask: BoolArray, min_area: int, holes: bool) -> tuple[BoolArray, bool]:
    """HxW mask with small holes filled, or without small islands, and whether there were any."""
    searched = (~mask if holes else mask).astype(np.uint8)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(searched, connectivity=EIGHT)
    areas = stats[1:, cv2.CC_STAT_AREA]
    small = 1 + np.flatnonzero(areas < min_area)
    if small.size == 0:
        return mask, False
    chosen = np.zeros(count, dtype=np.bool_)
    if holes:
        chosen[[0, *small]] = True
    else:
        chosen[1:] = True
        chosen[small] = False
        if not chosen.any():
            chosen[1 + int(np.argmax(areas))] = True
    return chosen[parts], True
