"""DETR with its mask head, of transformers: queries of COCO's own category ids in, the label space's classes out.

Carion et al. 2020, https://arxiv.org/abs/2005.12872. The network scores 250 ids, of which COCO's panoptic categories
are 133 between 1 and 200; the others, the published weights never learned. What comes out is read as Mask2Former's is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions
from shared.labels import label_space
from shared.models.adapters.dense import prepare
from shared.models.adapters.mask_classification import CLASSES, MASKS, finisher
from shared.models.files import WeightsError
from shared.models.weights import TRANSFORMERS
from shared.protocols import LoadedModels


def load(card: Card, options: LoadOptions) -> LoadedModels:
    """The models of the tasks that the card lists, on one network. Raises `WeightsError` or `EngineError`."""
    labels = label_space(card.label_space).labels
    ids = [label.id if label.category_id is None else label.category_id for label in labels]

    def narrowed(network: Any) -> nn.Module:
        known = int(network.config.num_labels)
        if max(ids) >= known:
            raise WeightsError(f"card {card.name}: label space {card.label_space} goes to id {max(ids)} of {known}")
        return Narrowed(network, [*ids, known])

    prepared = prepare(card, options, TRANSFORMERS, narrowed, (CLASSES, MASKS))
    models = {role: prepared.model(role, finisher(card, role)) for role in options.roles}
    return prepared.loaded(models, options.roles)


class Narrowed(nn.Module):
    """[n,3,h,w] to class logits [n,q,c+1] of the ids kept, "no object" last, and mask logits [n,q,h/4,w/4]."""

    def __init__(self, network: Any, kept: list[int]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("kept", torch.tensor(kept), persistent=False)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised [n,3,h,w] to class logits [n,q,c+1] and mask logits [n,q,h/4,w/4]."""
        found = self.network(pixel_values=pixel_values)
        return found.logits[..., self.get_buffer("kept")], found.pred_masks
