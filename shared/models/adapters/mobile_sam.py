"""MobileSAM: Segment Anything's decoder behind a small encoder, from its published checkpoint.

`network: {class: MobileSam, encoder: {...}, config: {...}}`: arguments of timm's TinyViT, and a `SamConfig`'s.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from transformers import SamModel

from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions
from shared.models.adapters.sam import load_from
from shared.models.networks import mobile_sam
from shared.models.weights import Library, strict_fill
from shared.protocols import LoadedModels


def load(card: Card, options: LoadOptions) -> LoadedModels:
    """See `sam.load_from`."""
    return load_from(card, options, LIBRARY)


def build(card: Card) -> SamModel:
    """The network, randomly initialised."""
    return mobile_sam.build(card.network["encoder"], card.network["config"])


def fill(card: Card, state: Mapping[str, Tensor], place: str) -> nn.Module:
    """The network with the tensors of a published checkpoint or of its own. Raises `WeightsError`."""
    network = strict_fill(build, mobile_sam.published_names)(card, state, place)
    assert isinstance(network, SamModel)
    network.tie_weights()
    return network


LIBRARY = Library(build, None, fill)
