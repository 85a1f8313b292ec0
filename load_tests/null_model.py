"""A model that costs nothing, so that what is measured is the way to it and back: 100 KB in, 5 KB out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions
from shared.labels import label_space
from shared.protocols import LoadedModels
from shared.types import DenseInput, SemanticOutput


class NullModel:
    """Answers every image with the same noise of labels, which no PNG can make smaller than about 5 KB."""

    def __init__(self, classes: int, side: int) -> None:
        labels = np.random.default_rng(0).integers(0, classes, (side, side), dtype=np.uint8)
        self._output = SemanticOutput(labels, np.ones((side, side), dtype=np.float16))

    def predict(self, batch: Sequence[DenseInput]) -> list[SemanticOutput]:
        """See `Model.predict`."""
        return [self._output] * len(batch)

    def cost(self, item: DenseInput) -> int:
        """One pixel: nothing is computed."""
        return 1

    def warm(self) -> None:
        """There is nothing to warm."""


def load(card: Card, options: LoadOptions) -> LoadedModels:
    """The loader of the card `null`."""
    model = NullModel(len(label_space(card.label_space).labels), int(card.extras["side"]))
    return LoadedModels(dict.fromkeys(options.roles, model), "0" * 64, "numpy", "", 0)
