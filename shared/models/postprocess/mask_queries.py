"""A mask-classification network's queries to instances: class logits and mask logits of each, without painting order.

Mask2Former (Cheng et al. 2022, https://arxiv.org/abs/2112.01527), section on instance inference: a candidate is a query
with a class; its score is the class probability times the mean probability inside its mask. Masks may overlap: a weak
one never takes pixels from a strong one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shared.models.postprocess.prompt_masks import LogitFrame, region_of
from shared.types import Float32Array, Instance, InstanceOutput, Region

CANDIDATES = 100
"""Query and class pairs that are looked at, best class probability first (the official TEST.DETECTIONS_PER_IMAGE)."""


@dataclass(frozen=True, slots=True)
class Found:
    """One query's mask on the image and the mean of its probabilities inside."""

    region: Region
    certainty: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which instances to keep: label ids, the lowest score, and at most so many."""

    labels: Collection[int]
    lowest: float
    most: int


def instances(
    probabilities: Tensor, mask_logits: Tensor, frame: LogitFrame, wanted: Wanted, boxes: Tensor | None = None
) -> InstanceOutput:
    """The best pairs of a query and a class as objects, best score first.

    `probabilities` [q,c] of the classes by label id, without "no object"; `mask_logits` [q,h,w] on the grid that
    `frame` describes. `boxes` [q,4] (xyxy pixels of the image): a detector's own; its scores are the probabilities
    alone, not weighed by the mask's.
    """
    pairs = _best_pairs(probabilities, wanted)
    masks = masks_of({query for query, _, _ in pairs}, mask_logits, frame)
    found = []
    for query, label, probability in pairs:
        mask = masks[query]
        score = probability * mask.certainty if boxes is None else probability
        if not mask.region.empty and score >= wanted.lowest:
            found.append(Instance(label, score, mask.region, None if boxes is None else _box(boxes[query])))
    found.sort(key=lambda instance: -instance.score)
    return InstanceOutput(frame.size, tuple(found[: wanted.most]))


def _best_pairs(probabilities: Tensor, wanted: Wanted) -> list[tuple[int, int, float]]:
    """(query, label, probability) of the candidates, best first."""
    classes = probabilities.shape[1]
    allowed = torch.zeros(classes, dtype=torch.bool, device=probabilities.device)
    allowed[list(wanted.labels)] = True
    flat = (probabilities * allowed).flatten()
    best, where = flat.topk(min(max(CANDIDATES, wanted.most), flat.numel()))
    pairs = zip(where.tolist(), best.tolist(), strict=True)
    return [(*divmod(index, classes), value) for index, value in pairs if value > 0 and value >= wanted.lowest]


def _box(corners: Tensor) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = corners.tolist()
    return x0, y0, x1, y1


def masks_of(queries: Collection[int], mask_logits: Tensor, frame: LogitFrame) -> dict[int, Found]:
    """The masks of these queries: upsampled to the image, where they can be positive at all, then thresholded at 0."""
    chosen = sorted(queries)
    logits: Float32Array = mask_logits[chosen].numpy(force=True)
    return {query: mask_of(logits[index], frame) for index, query in enumerate(chosen)}


def mask_of(logits: Float32Array, frame: LogitFrame) -> Found:
    """Where hxw logits are positive on the image, and the mean of their sigmoid there; of a large image, where they are
    on what the network saw of it."""
    if frame.places is not None:
        seen = frame.as_seen(logits)
        return Found(region_of(logits, frame, 0.0)[0], _certainty(seen[seen > 0]))
    positive = logits > 0
    rows, columns = frame.rows.reach(np.any(positive, axis=1)), frame.columns.reach(np.any(positive, axis=0))
    if rows is None or columns is None:
        return Found(Region(frame.size, 0, 0, np.zeros((0, 0), dtype=np.bool_)), 0.0)
    seen = logits[rows[1], columns[1]]
    values = frame.rows.weights[rows[0], rows[1]] @ seen @ frame.columns.weights[columns[0], columns[1]].T
    bits = values > 0
    return Found(
        Region.from_mask(bits, columns[0].start, rows[0].start, frame.size), _certainty(values[bits].astype(np.float32))
    )


def _certainty(logits: Float32Array) -> float:
    """The mean of their sigmoid; 0 of none."""
    return float(np.mean(1 / (1 + np.exp(-logits)))) if logits.size else 0.0
