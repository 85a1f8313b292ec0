"""U-Net as it was published: unpadded convolutions, so that the answer is smaller than what it looks at.

Ronneberger, Fischer and Brox 2015, https://arxiv.org/abs/1505.04597. The image is mirrored at its borders, as the
paper's overlap-tile strategy does it, so that every pixel of it gets an answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (64, 128, 256, 512, 1024)
MARGIN = 92
"""Pixels that the network looks beyond its answer, on each side: 572 in, 388 out."""


class UNet(nn.Module):
    """[n,3,h,w] (each channel grey, or one that is averaged) to class logits [n,c,h,w]; h and w are 4 more than
    multiples of 16, and above 92."""

    def __init__(self, classes: int, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        channels = 1
        for width in widths:
            self.down.append(_twice(channels, width))
            channels = width
        self.larger, self.up = nn.ModuleList(), nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.larger.append(nn.ConvTranspose2d(channels, width, 2, 2))
            self.up.append(_twice(2 * width, width))
            channels = width
        self.score = nn.Conv2d(channels, classes, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """[n,3,h,w] to class logits [n,c,h,w]: the margin that the network eats is mirrored on before."""
        values = functional.pad(pixels.mean(dim=1, keepdim=True), (MARGIN,) * 4, mode="reflect")
        skipped: list[Tensor] = []
        for stage in self.down:
            values = stage(functional.max_pool2d(values, 2) if skipped else values)
            skipped.append(values)
        for larger, stage, skip in zip(self.larger, self.up, reversed(skipped[:-1]), strict=True):
            values = larger(values)
            values = stage(torch.cat([_centre(skip, values), values], dim=1))
        scores: Tensor = self.score(values)
        return scores


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3), nn.ReLU(), nn.Conv2d(outputs, outputs, 3), nn.ReLU())


def _centre(values: Tensor, like: Tensor) -> Tensor:
    height, width = like.shape[-2:]
    top, left = (values.shape[-2] - height) // 2, (values.shape[-1] - width) // 2
    return values[..., top : top + height, left : left + width]
