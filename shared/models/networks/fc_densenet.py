"""FC-DenseNet, the "one hundred layers tiramisu": dense blocks down and up, with the skips of a U-Net.

Jegou et al. 2017, https://arxiv.org/abs/1611.09326. On the way up only what a block added is upsampled, so that the
width does not explode.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

FIRST = 48
DROPOUT = 0.2


class FcDenseNet(nn.Module):
    """[n,3,h,w] (sides multiples of 32) to class logits [n,c,h,w]; `layers`: of the five blocks down, mirrored up;
    `bottleneck`: of the one between."""

    def __init__(self, classes: int, growth: int, layers: Sequence[int], bottleneck: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, FIRST, 3, padding=1)
        self.down, self.smaller = nn.ModuleList(), nn.ModuleList()
        channels = FIRST
        skipped: list[int] = []
        for count in layers:
            self.down.append(Dense(channels, growth, count))
            channels += growth * count
            skipped.append(channels)
            self.smaller.append(_smaller(channels))
        self.middle = Dense(channels, growth, bottleneck)
        self.larger, self.up = nn.ModuleList(), nn.ModuleList()
        added = growth * bottleneck
        for count, skip in zip(reversed(layers), reversed(skipped), strict=True):
            self.larger.append(nn.ConvTranspose2d(added, added, 3, 2, padding=1, output_padding=1))
            channels = added + skip
            self.up.append(Dense(channels, growth, count))
            added = growth * count
        self.score = nn.Conv2d(channels + added, classes, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised [n,3,h,w] to class logits [n,c,h,w]."""
        values = self.first(pixels)
        skipped: list[Tensor] = []
        for block, smaller in zip(self.down, self.smaller, strict=True):
            values = torch.cat([values, block(values)], dim=1)
            skipped.append(values)
            values = smaller(values)
        added = self.middle(values)
        for larger, block, skip in zip(self.larger, self.up, reversed(skipped), strict=True):
            values = torch.cat([larger(added), skip], dim=1)
            added = block(values)
        scores: Tensor = self.score(torch.cat([values, added], dim=1))
        return scores


class Dense(nn.Module):
    """[n,c,h,w] to what its layers add, [n,growth * layers,h,w]; each layer sees all before it."""

    def __init__(self, channels: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_layer(channels + i * growth, growth) for i in range(layers)])

    def forward(self, values: Tensor) -> Tensor:
        """[n,c,h,w] to [n,growth * layers,h,w], without what came in."""
        seen = [values]
        for layer in self.layers:
            seen.append(layer(torch.cat(seen, dim=1)))
        return torch.cat(seen[1:], dim=1)


def _layer(channels: int, growth: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, growth, 3, padding=1)
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), convolution, nn.Dropout2d(DROPOUT))


def _smaller(channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, channels, 1)
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), convolution, nn.Dropout2d(DROPOUT), nn.MaxPool2d(2))
