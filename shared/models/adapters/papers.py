"""Networks that no library has, each after its paper (`shared/models/networks`): semantic segmentation by card.

`network: {class: Fcn, classes: 21, stride: 8}`: a class below and its arguments. Their weights come from a file of your
own; a card with random weights says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions
from shared.models.adapters.dense import Plain, load_semantic
from shared.models.files import WeightsError
from shared.models.networks.deconvnet import DeconvNet
from shared.models.networks.deeplab_resnet import DeepLabResNet
from shared.models.networks.deeplab_vgg import DeepLabVgg
from shared.models.networks.dla import Dla
from shared.models.networks.fc_densenet import FcDenseNet
from shared.models.networks.fcn import Fcn
from shared.models.networks.ksac import Ksac
from shared.models.networks.segmenter import Segmenter, renamed
from shared.models.networks.segnet import SegNet
from shared.models.networks.unet import UNet
from shared.models.weights import Library, strict_fill
from shared.protocols import LoadedModels

NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    made.__name__: made
    for made in (DeconvNet, DeepLabResNet, DeepLabVgg, Dla, FcDenseNet, Fcn, Ksac, Segmenter, SegNet, UNet)
}


def load(card: Card, options: LoadOptions) -> LoadedModels:
    """The semantic model. Raises `WeightsError` or `EngineError`."""
    return load_semantic(card, options, LIBRARY, Plain)


def build(card: Card) -> nn.Module:
    """The class that the card names, with its other arguments."""
    name = str(card.network.get("class"))
    if name not in NETWORKS:
        raise WeightsError(f"card {card.name}: network.class {name!r} is none of {', '.join(NETWORKS)}")
    return NETWORKS[name](**{key: value for key, value in card.network.items() if key != "class"})


LIBRARY = Library(build, fill=strict_fill(build, renamed))
