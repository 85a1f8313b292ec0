"""A component's mask in, a mask that no class map holds out: what a user may want beside what the labels say.

On photos that the dense network has learned by heart its classes have no errors left, and a negative click then always
lies on another thing. Only pieces cut off and added against the classes teach that a click beside others of its looks
corrects its surroundings, not all that looks alike.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
SHARES = (0.004, 0.3)
"""Smallest and largest piece, in the component's area; drawn log-uniformly."""
TRIES = 4


def amended(mask: Mask, random: np.random.Generator, keep: list[tuple[float, float]]) -> Mask:
    """`mask` less a piece at its border, cut by an ellipse or a line, or with an ellipse there added.

    The points `keep` (x, y) stay where they are, inside or outside; where no piece can be had, the mask itself.
    """
    area = int(mask.sum())
    border = mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0).astype(bool)
    rows, columns = np.nonzero(border)
    for _ in range(TRIES):
        pick = int(random.integers(len(rows)))
        at = (int(columns[pick]), int(rows[pick]))
        share = float(np.exp(random.uniform(*np.log(SHARES))))
        kind = random.random()
        if kind < 0.35:
            changed = mask & ~_beyond_line(mask, share, random)
        else:
            ellipse = _ellipse(mask.shape, at, share * area, random)
            changed = mask | ellipse if kind > 0.7 else mask & ~ellipse
        different = int((changed ^ mask).sum())
        held = all(changed[int(y), int(x)] == mask[int(y), int(x)] for x, y in keep)
        if held and SHARES[0] * area / 2 <= different <= 0.5 * area:
            return changed
    return mask


def _beyond_line(mask: Mask, share: float, random: np.random.Generator) -> Mask:
    """The pixels on the far side of a line of any direction that has `share` of the mask there."""
    angle = random.uniform(0, 2 * np.pi)
    height, width = mask.shape
    along = np.cos(angle) * np.arange(width)[None] + np.sin(angle) * np.arange(height)[:, None]
    beyond: Mask = along > np.quantile(along[mask], 1 - share)
    return beyond


def _ellipse(shape: tuple[int, ...], at: tuple[int, int], area: float, random: np.random.Generator) -> Mask:
    """An ellipse of any direction around (x, y), of twice the area: half of it lies beyond the border it is on."""
    long = float(np.exp(random.uniform(0, np.log(3))))
    radius = np.sqrt(2 * area / np.pi)
    axes = (max(1, round(radius * np.sqrt(long))), max(1, round(radius / np.sqrt(long))))
    drawn = np.zeros(shape, np.uint8)
    cv2.ellipse(drawn, at, axes, float(random.uniform(0, 180)), 0, 360, 1, -1)
    return drawn.astype(bool)
