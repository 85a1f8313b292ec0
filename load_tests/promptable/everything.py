"""Everything mode over HTTP against the reference algorithm run directly, step by step, on the bare model."""

from __future__ import annotations

import time
from dataclasses import dataclass

import httpx
import numpy as np
from pycocotools import mask as coco_mask

from load_tests.promptable.bare import Bare, drawn, item
from shared.client.events import events_of
from shared.imaging.rle import Rle, encode
from shared.types import Embedding

SIZES = ((600, 300), (1024, 1024), (3000, 2000))
"""(width, height)."""
THRESHOLDS = {"pred_iou_thresh": 0.2, "stability_score_thresh": 0.5}
NMS = 0.9
"""Generous, so that many masks stay to be compared; what the card asks for leaves one to four."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Masks here and there, and the mean over one side's masks of the best IoU with the other's, both ways."""

    size: tuple[int, int]
    reference: int
    served: int
    forward: float
    backward: float
    seconds: float


def agreement(client: httpx.Client, bare: Bare, size: tuple[int, int], points_per_side: int) -> Agreement:
    """One drawn image of this size, sent and worked through here. Raises `HTTPStatusError` for a refusal and
    `RuntimeError` for an answer that ends in an error."""
    pixels, image = drawn(77, *size)
    begun = time.perf_counter()
    options = {"points_per_side": points_per_side, "box_nms_thresh": NMS, **THRESHOLDS}
    fields = {name: str(value) for name, value in options.items()}
    served: list[Rle] = []
    headers = {"Accept": "text/event-stream"}
    path, files = "/v1/promptable/everything", {"image": image}
    with client.stream("POST", path, files=files, data=fields, headers=headers) as got:
        got.raise_for_status()
        for name, data in events_of(got.iter_lines()):
            if name == "error":
                raise RuntimeError(f"everything mode failed: {data}")
            if name == "result":
                served = [mask["rle"] for mask in data["masks"]]
    seconds = time.perf_counter() - begun
    reference = _reference(bare, bare.embed(pixels), size, points_per_side)
    forward, backward = best_ious(reference, served), best_ious(served, reference)
    return Agreement(size, len(reference), len(served), forward, backward, seconds)


def _reference(bare: Bare, embedding: Embedding, size: tuple[int, int], points_per_side: int) -> list[Rle]:
    """A click at the middle of every cell, one at a time; filter, then greedy suppression by box."""
    found: list[tuple[float, tuple[int, int, int, int], Rle]] = []
    for row in range(points_per_side):
        for column in range(points_per_side):
            x, y = (column + 0.5) / points_per_side * size[0], (row + 0.5) / points_per_side * size[1]
            for mask in bare.decoder.predict([item(embedding, x, y)])[0].masks:
                good = mask.predicted_iou > THRESHOLDS["pred_iou_thresh"]
                if good and mask.stability_score >= THRESHOLDS["stability_score_thresh"] and not mask.region.empty:
                    found.append((mask.predicted_iou, mask.region.box, encode(mask.region)))
    found.sort(key=lambda each: -each[0])
    kept: list[tuple[float, tuple[int, int, int, int], Rle]] = []
    for each in found:
        if all(_box_iou(each[1], other[1]) <= NMS for other in kept):
            kept.append(each)
    return [runs for _, _, runs in kept]


def _box_iou(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """Between first and last pixels, as torchvision's suppression has it."""
    width = min(one[2], other[2]) - max(one[0], other[0]) - 1
    height = min(one[3], other[3]) - max(one[1], other[1]) - 1
    shared = max(0, width) * max(0, height)
    union = sum((box[2] - box[0] - 1) * (box[3] - box[1] - 1) for box in (one, other)) - shared
    return shared / union if union else 0.0


def best_ious(ours: list[Rle], theirs: list[Rle]) -> float:
    """The mean over our masks of the best IoU with one of theirs; of none with none 1."""
    if not ours or not theirs:
        return float(len(ours) == len(theirs))
    table = np.asarray(coco_mask.iou(ours, theirs, [0] * len(theirs)))
    return float(table.max(axis=1).mean())
