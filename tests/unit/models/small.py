"""A network of one layer and inputs for it: what every engine is tried on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shared.models.engines.engine import Arrays, Shapes
from shared.models.engines.graph import Graph

CPU = torch.device("cpu")


class Small(nn.Module):
    """Two inputs, two outputs of different types."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, stride=2, padding=1)

    def forward(self, pixels: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.convolution(pixels.permute(0, 3, 1, 2).float() / 255) + bias[:, :, None, None]
        return logits, logits.argmax(dim=1)


def small_graph() -> Graph:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Small()
    inputs: dict[str, np.dtype[Any]] = {"pixels": np.dtype(np.uint8), "bias": np.dtype(np.float32)}
    return Graph(module, inputs, ("logits", "labels"))


def arrays(height: int = 16, width: int = 24, batch: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(height * width)
    pixels = random.integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
    return {"pixels": pixels, "bias": random.normal(size=(batch, 8)).astype(np.float32)}


def shapes(inputs: Arrays) -> Shapes:
    return {name: array.shape for name, array in inputs.items()}
