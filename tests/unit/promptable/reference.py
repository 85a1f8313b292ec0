"""The automatic mask generator, written as plainly as its description: whole masks, one loop a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from shared.calls import EverythingOptions
from shared.types import BoolArray, Float32Array, UInt8Array

Answer = Callable[[UInt8Array, float, float], tuple[Float32Array, Float32Array]]
"""Of a click (x, y) on pixels hxwx3: logits [3,h,w] and predicted IoUs [3]."""


@dataclass
class Mask:
    """A mask at full size and what is known of it; `box` is the reference's, its last pixel included."""

    mask: BoolArray
    box: tuple[int, int, int, int]
    iou: float
    stability: float
    point: tuple[float, float]
    crop_area: int


def generate(pixels: UInt8Array, answer: Answer, options: EverythingOptions) -> list[Mask]:
    """Every mask, in the reference's order."""
    height, width = pixels.shape[:2]
    found: list[Mask] = []
    boxes = crop_boxes(height, width, options)
    for (x0, y0, x1, y1), layer in boxes:
        part = pixels[y0:y1, x0:x1]
        side = int(options.points_per_side / options.crop_n_points_downscale_factor**layer)
        here: list[Mask] = []
        for row in range(side):
            for column in range(side):
                x, y = (column + 0.5) / side * (x1 - x0), (row + 0.5) / side * (y1 - y0)
                logits, iou = answer(part, x, y)
                for each in sorted(range(3), key=lambda index: -iou[index]):
                    mask = judged(logits[each], float(iou[each]), (x0, y0, x1, y1), (height, width), options)
                    if mask is not None:
                        here.append(replace(mask, point=(x + x0, y + y0)))
        found += nms(here, [mask.iou for mask in here], options.box_nms_thresh)
    if len(boxes) > 1:
        found = nms(found, [1 / mask.crop_area for mask in found], options.crop_nms_thresh)
    if options.min_mask_region_area:
        found = small_regions(found, options)
    return found


def crop_boxes(height: int, width: int, options: EverythingOptions) -> list[tuple[tuple[int, int, int, int], int]]:
    boxes = [((0, 0, width, height), 0)]
    for layer in range(options.crop_n_layers):
        count = 2 ** (layer + 1)
        overlap = int(options.crop_overlap_ratio * min(height, width) * (2 / count))
        wide = math.ceil((overlap * (count - 1) + width) / count)
        tall = math.ceil((overlap * (count - 1) + height) / count)
        for i in range(count):
            for j in range(count):
                x0, y0 = (wide - overlap) * i, (tall - overlap) * j
                boxes.append(((x0, y0, min(x0 + wide, width), min(y0 + tall, height)), layer + 1))
    return boxes


def judged(
    logits: Float32Array, iou: float, crop: tuple[int, int, int, int], size: tuple[int, int], options: EverythingOptions
) -> Mask | None:
    assert options.pred_iou_thresh is not None
    assert options.stability_score_thresh is not None
    if not np.float32(iou) > options.pred_iou_thresh:
        return None
    stability = (logits > 1).sum() / max((logits > -1).sum(), 1)
    if stability < options.stability_score_thresh:
        return None
    full = np.zeros(size, dtype=bool)
    full[crop[1] : crop[3], crop[0] : crop[2]] = logits > 0
    box = box_of(full)
    whole = (0, 0, size[1], size[0])
    for side in range(4):
        if abs(box[side] - crop[side]) <= 20 and abs(box[side] - whole[side]) > 20:
            return None
    return Mask(full, box, iou, float(stability), (0, 0), (crop[2] - crop[0]) * (crop[3] - crop[1]))


def box_of(mask: BoolArray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def nms(found: list[Mask], scores: list[float], threshold: float) -> list[Mask]:
    kept: list[Mask] = []
    for index in sorted(range(len(found)), key=lambda index: -scores[index]):
        if all(overlap(found[index].box, other.box) <= threshold for other in kept):
            kept.append(found[index])
    return kept


def overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    width = max(0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0, min(one[3], other[3]) - max(one[1], other[1]))
    union = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - width * height
    return width * height / union if union else 0.0


def small_regions(found: list[Mask], options: EverythingOptions) -> list[Mask]:
    tidy, scores = [], []
    for each in found:
        mask, filled = remove(each.mask, options.min_mask_region_area, holes=True)
        mask, removed = remove(mask, options.min_mask_region_area, holes=False)
        tidy.append(replace(each, mask=mask, box=box_of(mask)))
        scores.append(0.0 if filled or removed else 1.0)
    return nms(tidy, scores, max(options.box_nms_thresh, options.crop_nms_thresh))


def remove(mask: BoolArray, area: int, holes: bool) -> tuple[BoolArray, bool]:
    searched = mask ^ holes
    count, parts, stats, _ = cv2.connectedComponentsWithStats(searched.astype(np.uint8), connectivity=8)
    sizes = stats[:, cv2.CC_STAT_AREA]
    small = [part for part in range(1, count) if sizes[part] < area]
    if not small:
        return mask, False
    if holes:
        return mask | np.isin(parts, small), True
    large = [part for part in range(1, count) if part not in small] or [1 + int(np.argmax(sizes[1:]))]
    return np.isin(parts, large), True
