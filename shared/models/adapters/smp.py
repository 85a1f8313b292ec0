"""Every decoder of segmentation_models_pytorch on every one of its encoders: semantic segmentation by card.

`network: {class: DeepLabV3Plus, encoder_name: resnet50, classes: 21, ...}`. The library publishes encoders; a whole
network's weights come from a file of your own, or from a repository that its `save_pretrained` wrote.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import segmentation_models_pytorch as library
from torch import nn

from shared.catalog.card import Card, HubWeights
from shared.catalog.loading import LoadOptions
from shared.models.adapters.dense import Plain, load_semantic
from shared.models.files import WeightsError
from shared.models.hub import place_of, told
from shared.models.weights import Library
from shared.protocols import LoadedModels


def load(card: Card, options: LoadOptions) -> LoadedModels:
    """The semantic model. Raises `WeightsError` or `EngineError`."""
    return load_semantic(card, options, LIBRARY, Plain)


def build(card: Card) -> nn.Module:
    """The class that the card names, with its other arguments, and no weights of the encoder."""
    arguments = {key: value for key, value in card.network.items() if key != "class"}
    return cast(nn.Module, _class(card)(**arguments | {"encoder_weights": None}))


def fetch(card: Card, hub: HubWeights, weights_dir: Path | None) -> nn.Module:
    """The library's own `from_pretrained`, strict."""
    place, revision = place_of(hub, weights_dir)
    with told(card.name, hub, weights_dir):
        network = library.from_pretrained(place, revision=revision, strict=True)
    if not isinstance(network, _class(card)):
        found = type(network).__name__
        raise WeightsError(f"card {card.name}: {hub.repo} holds a {found}, network.class says {card.network['class']}")
    return cast(nn.Module, network)


LIBRARY = Library(build, fetch)


def _class(card: Card) -> type[Any]:
    name = str(card.network.get("class"))
    found = getattr(library, name, None)
    if not (isinstance(found, type) and issubclass(found, library.base.SegmentationModel)):
        raise WeightsError(f"card {card.name}: network.class {name!r} is no class of segmentation_models_pytorch")
    return found
