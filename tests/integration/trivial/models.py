"""Models that need no weights, for tests of what carries models: what they answer can be worked out by hand.

A card's `network` says how long a forward pass takes, which grey levels (of the first pixel) make it fail or kill its
process, and whether it gets through its warm-up. While the file `HELD` lies in the platform's home no pass ends: a test
that needs a busy model makes it so, for as long as it takes and on any machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions
from shared.protocols import LoadedModels, Model
from shared.settings import settings
from shared.types import (
    DecoderInput,
    DecoderOutput,
    DenseInput,
    Embedding,
    EncoderInput,
    PromptMask,
    Region,
    Role,
    SemanticOutput,
)

SIDE = 64
"""Side of every embedding, and of the network's input as batch caps count it."""
HELD = "held"


@dataclass(frozen=True, slots=True)
class Pace:
    """How a trivial model behaves in time and in failure."""

    delay_s: float = 0.0
    fails_on: int = -1
    kills_on: int = -1
    broken: bool = False

    def forward(self, levels: Sequence[int]) -> None:
        """One forward pass over images of these grey levels."""
        time.sleep(self.delay_s)
        while (settings().home / HELD).exists():
            time.sleep(0.01)
        if self.kills_on in levels:
            os._exit(1)
        if self.fails_on in levels:
            raise ArithmeticError(f"grey level {self.fails_on}")

    def warm(self) -> None:
        """Raises when the model is broken."""
        if self.broken:
            raise ArithmeticError("broken on purpose")


@dataclass(frozen=True, slots=True)
class Bright:
    """Semantic: class 1 where a pixel is brighter than 127, class 0 elsewhere."""

    pace: Pace

    def predict(self, batch: Sequence[DenseInput]) -> list[SemanticOutput]:
        self.pace.forward([int(item.pixels[0, 0, 0]) for item in batch])
        outputs = []
        for item in batch:
            labels = (item.pixels.mean(axis=2) > 127).astype(np.uint8)
            outputs.append(SemanticOutput(labels, np.ones(labels.shape, dtype=np.float16)))
        return outputs

    def cost(self, item: DenseInput) -> int:
        return SIDE * SIDE

    def warm(self) -> None:
        self.pace.warm()


@dataclass(frozen=True, slots=True)
class MeanEncoder:
    """An embedding that is the image's mean grey level, everywhere."""

    pace: Pace

    def predict(self, batch: Sequence[EncoderInput]) -> list[Embedding]:
        self.pace.forward([int(item.pixels[0, 0, 0]) for item in batch])
        return [
            Embedding(
                (item.pixels.shape[0], item.pixels.shape[1]),
                (np.full((32, SIDE, SIDE), item.pixels.mean(), dtype=np.float16),),
            )
            for item in batch
        ]

    def cost(self, item: EncoderInput) -> int:
        return SIDE * SIDE

    def warm(self) -> None:
        self.pace.warm()


@dataclass(frozen=True, slots=True)
class WholeDecoder:
    """Answers every prompt with the whole image, at once; the score is the embedding's value over 255."""

    def predict(self, batch: Sequence[DecoderInput]) -> list[DecoderOutput]:
        Pace().forward(())
        outputs = []
        for item in batch:
            region = Region.from_mask(np.ones(item.embedding.size, dtype=np.bool_))
            value = float(item.embedding.tensors[0][0, 0, 0]) / 255
            outputs.append(DecoderOutput((PromptMask(region, value, 1.0, np.ones((16, 16), dtype=np.float16)),)))
        return outputs

    def cost(self, item: DecoderInput) -> int:
        return SIDE * SIDE

    def warm(self) -> None:
        return None


def load(card: Card, options: LoadOptions) -> LoadedModels:
    """Loader of every trivial card."""
    pace = Pace(**card.network)
    models: dict[Role, Model[Any, Any]] = {
        "semantic": Bright(pace),
        "encoder": MeanEncoder(pace),
        "decoder": WholeDecoder(),
    }
    return LoadedModels(
        {role: models[role] for role in options.roles}, "0" * 64, "numpy", f"mean-{options.precision}", 0
    )
