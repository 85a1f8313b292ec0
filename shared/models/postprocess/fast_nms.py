"""Overlapping boxes of every class in, the best of each heap out, all at once on the boxes' device.

Fast NMS (Bolya et al. 2019, https://arxiv.org/abs/1904.02689): a box is dropped where any better one of its class
overlaps it, even one that is itself dropped. A little harsher than the usual suppression, and one matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou

PER_CLASS = 200
"""Boxes of a class that are looked at, best first."""


def fast_nms(probabilities: Tensor, boxes: Tensor, lowest: float, overlap: float, most: int) -> tuple[Tensor, Tensor]:
    """Which box under which label: `probabilities` [p,c], `boxes` [p,4] xyxy to (box indices [k], labels [k]), best
    first, k at most `most`; only probabilities of `lowest` and more are looked at.
    """
    seen = (probabilities >= lowest).any(dim=1).nonzero().flatten()
    if not len(seen):
        return seen, seen
    scores, order = probabilities[seen].T.sort(dim=1, descending=True)
    scores, order = scores[:, :PER_CLASS], order[:, :PER_CLASS]
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for label in (scores[:, 0] >= lowest).nonzero().flatten().tolist():
        here = boxes[seen[order[label]]]
        kept[label] = box_iou(here, here).triu(diagonal=1).amax(dim=0) <= overlap
    labels, ranks = (kept & (scores >= lowest)).nonzero(as_tuple=True)
    best = scores[labels, ranks].argsort(descending=True, stable=True)[:most]
    return seen[order[labels[best], ranks[best]]], labels[best]
