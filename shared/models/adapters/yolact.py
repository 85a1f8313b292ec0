"""YOLACT: real-time instance segmentation of COCO's things, its boxes cleared by Fast NMS, its masks cut to the boxes.

Bolya et al. 2019, https://arxiv.org/abs/1904.02689. Of each detection only the mask inside its box is ever computed at
full size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions
from shared.labels import LabelSpace, label_space
from shared.models.adapters.dense import prepare, require_classes
from shared.models.engines.host import arrived
from shared.models.networks.yolact import Yolact
from shared.models.postprocess.fast_nms import fast_nms
from shared.models.postprocess.mask_queries import CANDIDATES, Wanted, instances
from shared.models.postprocess.prompt_masks import padded
from shared.models.runner import Finish, Seen
from shared.models.weights import Library, StateDict, strict_fill
from shared.protocols import LoadedModels
from shared.types import DenseInput, InstanceOutput

PROBABILITIES, BOXES, COEFFICIENTS, MASKS = "probabilities", "boxes", "coefficients", "prototypes"
TRAINING_ONLY = "semantic_seg_conv."
MARGIN = 1.0
"""Cells of the prototypes by which a mask may reach beyond its box."""


def load(card: Card, options: LoadOptions) -> LoadedModels:
    """The instance model. Raises `WeightsError` or `EngineError`."""
    prepared = prepare(card, options, LIBRARY, lambda network: network, (PROBABILITIES, BOXES, COEFFICIENTS, MASKS))
    finish = instance_finish(card, label_space(card.label_space))
    return prepared.loaded({"instance": prepared.model("instance", finish)}, options.roles)


def build(card: Card) -> Yolact:
    """The network with the card's arguments."""
    return Yolact(**{key: value for key, value in card.network.items() if key != "class"})


def renamed(state: StateDict) -> StateDict:
    """The authors' checkpoint under this network's names: timm's for the backbone, nothing that only training uses."""
    found = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[:2] == ["backbone", "layers"]:
            name = ".".join(["backbone", f"layer{int(parts[2]) + 1}", *parts[3:]])
        if not name.startswith(TRAINING_ONLY):
            found[name] = value
    return found


LIBRARY = Library(build, fill=strict_fill(build, renamed))


def instance_finish(card: Card, space: LabelSpace) -> Finish[InstanceOutput]:
    """What is left after Fast NMS, best first."""

    def finish(item: DenseInput, views: Sequence[Seen]) -> InstanceOutput:
        (seen,) = views
        placement, outputs = seen.view.placement, seen.outputs
        require_classes(card, outputs[PROBABILITIES].shape[-1], len(space.labels))
        lowest = card.thresholds.score if item.score_threshold is None else item.score_threshold
        most = item.max_instances or card.thresholds.max_instances
        boxes = outputs[BOXES].clamp(0, 1)
        probabilities = arrived(outputs[PROBABILITIES])
        chosen, labels = fast_nms(probabilities, boxes, lowest, card.thresholds.overlap, max(CANDIDATES, most))
        told = torch.zeros(len(chosen), len(space.labels), device=boxes.device)
        rows = torch.arange(len(chosen), device=boxes.device)
        told[rows, labels] = probabilities[chosen, labels]
        masks = cut(outputs[COEFFICIENTS][chosen], outputs[MASKS], boxes[chosen], card.thresholds.mask)
        height, width = placement.image
        scale = torch.tensor([width, height] * 2, device=boxes.device, dtype=boxes.dtype)
        frame = padded((int(masks.shape[1]), int(masks.shape[2])), placement.canvas, placement.valid, placement.image)
        return instances(told, masks, frame, Wanted(range(len(space.labels)), lowest, most), boxes[chosen] * scale)

    return finish


def cut(coefficients: Tensor, prototypes: Tensor, boxes: Tensor, threshold: float) -> Tensor:
    """Prototypes [32,h,w] weighed by coefficients [k,32], as probabilities above `threshold` [k,h,w]; what lies outside
    the boxes [k,4] (xyxy, parts of the input) counts as none."""
    probabilities = torch.einsum("kp,phw->khw", coefficients, prototypes).sigmoid()
    rows, columns = prototypes.shape[-2:]
    y = torch.arange(rows, device=boxes.device).view(1, -1, 1)
    x = torch.arange(columns, device=boxes.device).view(1, 1, -1)
    left, top, right, bottom = (side.view(-1, 1, 1) for side in boxes.unbind(dim=1))
    across = (x >= left * columns - MARGIN) & (x < right * columns + MARGIN)
    down = (y >= top * rows - MARGIN) & (y < bottom * rows + MARGIN)
    return probabilities * (across & down) - threshold
