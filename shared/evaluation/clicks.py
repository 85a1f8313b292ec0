"""A simulated user: what is wanted and what the model answered in, the next click out.

As interactive segmentation is measured (Sofiiuk et al. 2021): the next click lies in the innermost point of the error
region that holds the largest circle, positive where something is missing, negative where there is too much.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np

from shared.types import BoolArray, Float16Array, Prompt, Region

Click = tuple[float, float, Literal[0, 1]]
"""(x, y, label) in pixels of the image; label 1 inside, 0 outside."""


def innermost(mask: BoolArray) -> tuple[int, int, float]:
    """(row, column) of the pixel farthest from what is not the mask, and that distance in pixels; the edge of the array
    counts as outside. The distance is 0 for an empty mask."""
    if not mask.any():
        return 0, 0, 0.0
    padded = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    return int(row) - 1, int(column) - 1, float(distance[row, column])


@dataclass(slots=True)
class SimulatedUser:
    """One user who wants the object `wanted`; pixels of `void` (HxW, or None) are neither wanted nor wrong.

    `logits` are those of the last answer, sent back with the next click.
    """

    wanted: Region
    void: BoolArray | None = None
    clicks: list[Click] = field(default_factory=list)
    logits: Float16Array | None = None

    def begin(self) -> None:
        """The first click: the innermost point of the object."""
        row, column, _ = innermost(self.wanted.bits)
        self._click(row + self.wanted.y0, column + self.wanted.x0, 1)

    def correct(self, answer: BoolArray) -> bool:
        """Click where an HxW answer is most wrong; False where nothing is."""
        wanted, answered, (top, left) = self._around(answer)
        missed, extra = innermost(wanted & ~answered), innermost(answered & ~wanted)
        is_missing = missed[2] >= extra[2]
        row, column, depth = missed if is_missing else extra
        if depth == 0:
            return False
        self._click(row + top, column + left, 1 if is_missing else 0)
        return True

    def iou(self, answer: BoolArray) -> float:
        """Intersection over union of an HxW answer and what is wanted, void left out."""
        wanted, answered, _ = self._around(answer)
        union = int(np.count_nonzero(wanted | answered))
        return int(np.count_nonzero(wanted & answered)) / max(union, 1)

    def prompt(self) -> Prompt:
        """Every click so far, and the logits of the last answer."""
        points = np.array([click[:2] for click in self.clicks], dtype=np.float32)
        labels = np.array([click[2] for click in self.clicks], dtype=np.int32)
        return Prompt(points, labels, mask=None if self.logits is None else self.logits.astype(np.float32))

    def _click(self, row: int, column: int, label: Literal[0, 1]) -> None:
        self.clicks.append((column + 0.5, row + 0.5, label))

    def _around(self, answer: BoolArray) -> tuple[BoolArray, BoolArray, tuple[int, int]]:
        """What is wanted and what was answered, without void, in the box around both; its corner (row, column)."""
        given = Region.from_mask(answer)
        boxes = [region.box for region in (self.wanted, given) if not region.empty]
        x0, y0 = min(box[0] for box in boxes), min(box[1] for box in boxes)
        x1, y1 = max(box[2] for box in boxes), max(box[3] for box in boxes)
        wanted, answered = self.wanted.full()[y0:y1, x0:x1], answer[y0:y1, x0:x1]
        if self.void is not None:
            known = ~self.void[y0:y1, x0:x1]
            wanted, answered = wanted & known, answered & known
        return np.ascontiguousarray(wanted), np.ascontiguousarray(answered), (y0, x0)
