"""FCN, DeepLabv3 and LR-ASPP of torchvision: semantic segmentation with a classifier on a backbone's features.

`network: {class: fcn_resnet50, ...}`; the auxiliary head that the published weights carry is loaded and never run, and
the network's own upsampling to its input is left out: the logits go to the image's size in one step.
"""

from __future__ import annotations

from typing import Any

import torchvision
from torch import Tensor, nn

from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions
from shared.models.adapters.dense import load_semantic
from shared.models.files import WeightsError
from shared.models.weights import Library
from shared.protocols import LoadedModels


def load(card: Card, options: LoadOptions) -> LoadedModels:
    """The semantic model. Raises `WeightsError` or `EngineError`."""
    return load_semantic(card, options, LIBRARY, Classifier)


def build(card: Card) -> nn.Module:
    """The function of `torchvision.models.segmentation` that the card names, with its other arguments."""
    arguments = {key: value for key, value in card.network.items() if key != "class"}
    name = str(card.network.get("class"))
    if name not in torchvision.models.list_models(torchvision.models.segmentation):
        raise WeightsError(f"card {card.name}: network.class {name!r} is no segmentation model of torchvision")
    network: nn.Module = torchvision.models.get_model(name, weights=None, weights_backbone=None, **arguments)
    return network


LIBRARY = Library(build)


class Classifier(nn.Module):
    """[n,3,h,w] to class logits at the classifier's own resolution."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.backbone, self.classifier = network.backbone, network.classifier
        self.takes_all = isinstance(network, torchvision.models.segmentation.LRASPP)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor]:
        """Normalised [n,3,h,w] to class logits [n,c,h',w'], an eighth of the input in most; the only output."""
        features = self.backbone(pixel_values)
        return (self.classifier(features if self.takes_all else features["out"]),)
