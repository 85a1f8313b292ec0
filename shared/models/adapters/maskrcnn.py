"""Mask R-CNN of torchvision: instance segmentation, its boxes found on the resized image, masks pasted on the original.

He et al. 2017, https://arxiv.org/abs/1703.06870. The network's own transform is not used: it pads a batch to its
largest image, so that an answer would depend on its neighbours, and builds every mask at full size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FrozenBatchNorm2d

from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions
from shared.labels import LabelSpace, label_space
from shared.models.adapters.dense import prepare
from shared.models.engines.host import arrived
from shared.models.files import WeightsError
from shared.models.postprocess.paste import paste
from shared.models.runner import Finish, Seen
from shared.models.weights import Library
from shared.protocols import LoadedModels
from shared.types import DenseInput, Instance, InstanceOutput

BOXES, SCORES, NUMBERS, MASKS = "boxes", "scores", "numbers", "masks"
FROZEN = "frozen_norm_eps"
"""Key of `network`: the network's batch normalisation is frozen, with this epsilon (0 in the COCO_V1 weights)."""
SETTLING = 64
"""Side in pixels of the black square on which the region pooling settles its scales."""


def load(card: Card, options: LoadOptions) -> LoadedModels:
    """The instance model. Raises `WeightsError` or `EngineError`."""
    prepared = prepare(card, options, LIBRARY, Detector, (BOXES, SCORES, NUMBERS, MASKS), asks_valid=True)
    finish = instance_finish(card, label_space(card.label_space))
    return prepared.loaded({"instance": prepared.model("instance", finish)}, options.roles)


def build(card: Card) -> nn.Module:
    """The function of `torchvision.models.detection` that the card names, with its other arguments."""
    arguments = {key: value for key, value in card.network.items() if key not in ("class", FROZEN)}
    name = str(card.network.get("class"))
    if not name.startswith("maskrcnn") or name not in torchvision.models.list_models(torchvision.models.detection):
        raise WeightsError(f"card {card.name}: network.class {name!r} is no Mask R-CNN of torchvision")
    network: nn.Module = torchvision.models.get_model(name, weights=None, weights_backbone=None, **arguments)
    if FROZEN in card.network:
        freeze(network, float(card.network[FROZEN]))
    return network


def freeze(network: nn.Module, eps: float) -> None:
    """Put frozen batch normalisation where the network has the trainable kind, as its published weights have it."""
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(network, name, FrozenBatchNorm2d(child.num_features, eps))
        else:
            freeze(child, eps)


LIBRARY = Library(build)


class Detector(nn.Module):
    """Normalised [n,3,h,w], zero beyond `valid` [n,2], to the best d detections of each image, best first, zeros after:
    boxes [n,d,4] (xyxy pixels of the input), scores [n,d], COCO numbers [n,d], mask probabilities [n,d,28,28]."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network.eval()
        self.most = int(network.roi_heads.detections_per_img)
        # The pooling keeps the scales of the first image that it sees; a thin one would spoil them for all that follow.
        with torch.no_grad():
            self(torch.zeros(1, 3, SETTLING, SETTLING), torch.tensor([[SETTLING, SETTLING]]))

    def forward(self, pixel_values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """[n,3,h,w] and int64 `valid` [n,2] (height, width) to boxes, scores, COCO numbers, masks of d detections."""
        sizes = [(int(height), int(width)) for height, width in valid.tolist()]
        features = self.network.backbone(pixel_values)
        proposals, _ = self.network.rpn(ImageList(pixel_values, sizes), features)
        found, _ = self.network.roi_heads(features, proposals, sizes)
        return (
            self._stacked(found, "boxes"),
            self._stacked(found, "scores"),
            self._stacked(found, "labels"),
            self._stacked([{"masks": each["masks"][:, 0]} for each in found], "masks"),
        )

    def _stacked(self, found: Sequence[Mapping[str, Tensor]], key: str) -> Tensor:
        parts = [each[key] for each in found]
        stacked = parts[0].new_zeros((len(parts), self.most, *parts[0].shape[1:]))
        for row, part in zip(stacked, parts, strict=True):
            row[: len(part)] = part
        return stacked


def instance_finish(card: Card, space: LabelSpace) -> Finish[InstanceOutput]:
    """Detections of the space's classes (by COCO number), at or above the score asked for."""
    labels = {space.category_id(label.id): label.id for label in space.labels}

    def finish(item: DenseInput, views: Sequence[Seen]) -> InstanceOutput:
        (seen,) = views
        lowest = card.thresholds.score if item.score_threshold is None else item.score_threshold
        placement = seen.view.placement
        down, across = placement.scale
        boxes = seen.outputs[BOXES] / torch.tensor([across, down, across, down], device=seen.outputs[BOXES].device)
        masks, scores = arrived(seen.outputs[MASKS]).cpu(), seen.outputs[SCORES].tolist()  # small: pasted on the CPU
        numbers = seen.outputs[NUMBERS].tolist()
        found: list[Instance] = []
        for index, (box, score, number) in enumerate(zip(boxes.tolist(), scores, numbers, strict=True)):
            if score < lowest or score <= 0 or number not in labels:
                continue
            region = paste(masks[index], box, placement.image, card.thresholds.mask)
            if not region.empty:
                found.append(Instance(labels[number], score, region, (box[0], box[1], box[2], box[3])))
        return InstanceOutput(placement.image, tuple(found[: item.max_instances or card.thresholds.max_instances]))

    return finish
