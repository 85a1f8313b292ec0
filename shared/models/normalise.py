"""The first layers of every graph: uint8 RGB pixels, channels last, to the network's normalised float input."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from shared.catalog.card import Preprocess
from shared.models.engines.graph import Graph

PIXELS, VALID = "pixels", "valid"


class Normalise(nn.Module):
    """(pixels * scale - mean) / std on [n,h,w,3] uint8, to [n,3,h,w] float32; RGB to BGR where the card says so.

    Computed as transformers does it, in grey levels: (pixels - mean / scale) / (std / scale).
    """

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        mean, std = torch.tensor(preprocess.mean), torch.tensor(preprocess.std)
        self.register_buffer("mean", (mean / preprocess.scale).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", (std / preprocess.scale).view(1, 3, 1, 1), persistent=False)
        self.bgr = preprocess.channels == "bgr"

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 RGB [n,h,w,3] to float32 [n,3,h,w]."""
        values = pixels.permute(0, 3, 1, 2).float()
        if self.bgr:
            values = values.flip(1)
        return (values - self.get_buffer("mean")) / self.get_buffer("std")


class FromPixels(nn.Module):
    """`network` behind `Normalise`, for images that fill their canvas."""

    def __init__(self, preprocess: Preprocess, network: nn.Module) -> None:
        super().__init__()
        self.normalise = Normalise(preprocess)
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """uint8 RGB [n,h,w,3] to the network's outputs."""
        outputs: tuple[Tensor, ...] = self.network(self.normalise(pixels))
        return outputs


class FromPaddedPixels(nn.Module):
    """`network` behind `Normalise`, with exact zeros beyond `valid` [n,2] (height, width), which it is given too if
    it `asks`."""

    def __init__(self, preprocess: Preprocess, network: nn.Module, asks: bool = False) -> None:
        super().__init__()
        self.normalise = Normalise(preprocess)
        self.network = network
        self.asks = asks

    def forward(self, pixels: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        """uint8 RGB [n,h,w,3] and int64 `valid` [n,2] to the network's outputs."""
        height, width = pixels.shape[1], pixels.shape[2]
        rows = torch.arange(height, device=pixels.device) < valid[:, 0, None]
        columns = torch.arange(width, device=pixels.device) < valid[:, 1, None]
        values = self.normalise(pixels) * (rows[:, None, :, None] & columns[:, None, None, :])
        outputs: tuple[Tensor, ...] = self.network(values, valid) if self.asks else self.network(values)
        return outputs


def pixel_graph(
    preprocess: Preprocess, network: nn.Module, outputs: tuple[str, ...], asks_valid: bool = False
) -> Graph:
    """`network` ([n,3,h,w] float to a tuple of tensors) as a graph of uint8 pixels, and `valid` where they are padded.

    `asks_valid`: the network takes the valid sizes [n,2] as its second input. Raises `ValueError` if nothing is padded
    with zeros.
    """
    pixels = {PIXELS: np.dtype(np.uint8)}
    if pads(preprocess):
        padded = FromPaddedPixels(preprocess, network, asks_valid)
        return Graph(padded, pixels | {VALID: np.dtype(np.int64)}, outputs)
    if asks_valid:
        raise ValueError("this network needs preprocess.align: pad with padding: mean")
    return Graph(FromPixels(preprocess, network), pixels, outputs)


def pads(preprocess: Preprocess) -> bool:
    """Whether the graph must be told how much of its canvas is image, to make the rest zero."""
    padded = preprocess.resize == "fit" or preprocess.align == "pad"
    return padded and preprocess.padding == "mean"
