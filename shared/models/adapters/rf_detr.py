"""RF-DETR-Seg of transformers: one-stage, real-time instance segmentation of COCO's things.

Robinson et al. 2025, https://arxiv.org/abs/2511.09554. Every class of a query has a probability of its own (sigmoid),
so that one query may be found twice under two labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions
from shared.labels import LabelSpace, label_space
from shared.models.adapters.dense import prepare
from shared.models.engines.host import arrived
from shared.models.postprocess.mask_queries import Wanted, instances
from shared.models.postprocess.prompt_masks import padded
from shared.models.runner import Finish, Seen
from shared.models.weights import TRANSFORMERS
from shared.protocols import LoadedModels
from shared.types import DenseInput, InstanceOutput

LOGITS, BOXES, MASKS = "logits", "boxes", "mask_logits"


def load(card: Card, options: LoadOptions) -> LoadedModels:
    """The instance model. Raises `WeightsError` or `EngineError`."""
    prepared = prepare(card, options, TRANSFORMERS, Detector, (LOGITS, BOXES, MASKS))
    finish = instance_finish(card, label_space(card.label_space))
    return prepared.loaded({"instance": prepared.model("instance", finish)}, options.roles)


class Detector(nn.Module):
    """[n,3,h,w] to class logits [n,q,91] by COCO number, boxes [n,q,4] (centre, size; parts of the input) and mask
    logits [n,q,h/4,w/4]."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised [n,3,h,w] to class logits [n,q,91], boxes [n,q,4] from 0 to 1 and mask logits [n,q,h/4,w/4]."""
        found = self.network(pixel_values=pixel_values)
        return found.logits, found.pred_boxes, found.pred_masks


def instance_finish(card: Card, space: LabelSpace) -> Finish[InstanceOutput]:
    """Queries by probability, each label of the space looked up by its COCO number."""
    numbers = [space.category_id(label.id) for label in space.labels]

    def finish(item: DenseInput, views: Sequence[Seen]) -> InstanceOutput:
        (seen,) = views
        placement = seen.view.placement
        masks = seen.outputs[MASKS]
        return instances(
            arrived(seen.outputs[LOGITS]).sigmoid()[:, numbers],
            masks,
            padded((int(masks.shape[1]), int(masks.shape[2])), placement.canvas, placement.valid, placement.image),
            Wanted(
                range(len(space.labels)),
                card.thresholds.score if item.score_threshold is None else item.score_threshold,
                item.max_instances or card.thresholds.max_instances,
            ),
            corners(seen.outputs[BOXES], placement.image),
        )

    return finish


def corners(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """[q,4] of centre and size, parts of an image of `size` (H, W), to xyxy pixels inside it."""
    centre, extent = boxes[:, :2], boxes[:, 2:]
    scale = torch.tensor([size[1], size[0]] * 2, device=boxes.device, dtype=boxes.dtype)
    return torch.cat([centre - extent / 2, centre + extent / 2], dim=1).clamp(0, 1) * scale
