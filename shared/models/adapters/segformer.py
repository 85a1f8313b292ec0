"""SegFormer and every other network of transformers whose output is `logits` on a grid: semantic segmentation.

Xie et al. 2021, https://arxiv.org/abs/2105.15203. The logits, not the labels, are brought to the image's size.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions
from shared.models.adapters.dense import load_semantic
from shared.models.weights import TRANSFORMERS
from shared.protocols import LoadedModels


def load(card: Card, options: LoadOptions) -> LoadedModels:
    """The semantic model. Raises `WeightsError` or `EngineError`."""
    return load_semantic(card, options, TRANSFORMERS, Logits)


class Logits(nn.Module):
    """[n,3,h,w] to class logits [n,c,h/4,w/4] (SegFormer's stride; others have their own)."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor) -> tuple[Tensor]:
        """Normalised [n,3,h,w] to class logits [n,c,h/4,w/4], the only output."""
        return (self.network(pixel_values=pixel_values).logits,)
