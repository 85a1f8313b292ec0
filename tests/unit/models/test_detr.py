"""DETR of transformers called directly: the same segments, told in the label space's classes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from shared.catalog.catalog import find_card
from shared.catalog.loading import LoadOptions, load
from shared.labels import label_space
from shared.models.files import WeightsError
from tests.contract.contract import picture
from tests.contract.tiny import tiny
from tests.unit.models.test_dense_adapters import _instance, _panoptic, answer, network, normalised

NAME = "detr-resnet50-coco-panoptic"


def test_detr_called_directly() -> None:
    card = tiny(find_card(NAME))
    card = card.model_copy(update={"thresholds": card.thresholds.model_copy(update={"overlap": 0.0})})
    pixels = picture(64, 96, seed=3)
    with torch.no_grad():
        found = network(card)(pixel_values=normalised(pixels))
    ids = [label.category_id for label in label_space("coco_panoptic").labels]
    assert ids[0] == 1
    assert ids[-1] == 200
    kept = torch.tensor([*(one for one in ids if one is not None), found.logits.shape[-1] - 1])
    assert len(kept) == 134
    probabilities = found.logits[0][:, kept].softmax(dim=-1)
    masks = functional.interpolate(found.pred_masks, size=(64, 96), mode="bilinear", align_corners=False)[0]
    _panoptic(answer(card, "panoptic", pixels), probabilities, masks, card, least=1)
    _instance(answer(card, "instance", pixels, score_threshold=0.05), probabilities, masks, card)


def test_ids_beyond_the_networks_are_refused() -> None:
    card = find_card(NAME)
    config = {**card.tiny["network"]["config"], "num_labels": 91}
    small = card.model_copy(update={"tiny": {**card.tiny, "network": {"config": config}}}).shrunk()
    with pytest.raises(WeightsError, match="goes to id 200 of 91"):
        load(small, LoadOptions(roles=("panoptic",), engine="torch", device="cpu"))
