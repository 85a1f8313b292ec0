"""Deep layer aggregation for dense prediction: a DLA backbone, then iterative upsampling that merges its levels.

Yu et al. 2018, https://arxiv.org/abs/1707.06484. The backbone is timm's. Each pass of the head merges the deepest maps
into the level above until one is left, at half the input's resolution (2s) or at an eighth (8s).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

LEVELS = 6
"""Of the backbone, at strides 1, 2, 4, 8, 16 and 32."""


class IterativeUp(nn.Module):
    """Maps of `channels`, each `factors` times coarser than the first, merged one by one into the first's resolution.

    [n,c_i,h/f_i,w/f_i] in, the merged maps [n,out,h,w] after each step out; the last one has seen all.
    """

    def __init__(self, out: int, channels: Sequence[int], factors: Sequence[int]) -> None:
        super().__init__()
        self.projections = nn.ModuleList([nn.Identity() if c == out else _normed(c, out, 1) for c in channels])
        self.larger = nn.ModuleList([nn.Identity() if f == 1 else _bilinear(out, f) for f in factors])
        self.nodes = nn.ModuleList([_normed(2 * out, out, 3) for _ in channels[1:]])

    @property
    def merges(self) -> int:
        """How many maps are merged into the first."""
        return len(self.nodes)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps, finest first, to the merged map after each step, `merges` in all."""
        ready = [
            larger(project(each)) for each, project, larger in zip(maps, self.projections, self.larger, strict=True)
        ]
        merged, steps = ready[0], []
        for node, deeper in zip(self.nodes, ready[1:], strict=True):
            merged = node(torch.cat([merged, deeper[..., : merged.shape[-2], : merged.shape[-1]]], dim=1))
            steps.append(merged)
        return steps


class Dla(nn.Module):
    """[n,3,h,w] to class logits [n,c,h,w]; `encoder`: timm's name of a DLA; `stride`: of the finest map, 2, 4 or 8.

    Height and width must be multiples of 32.
    """

    def __init__(self, classes: int, encoder: str = "dla34", stride: int = 2) -> None:
        super().__init__()
        first = {2: 1, 4: 2, 8: 3}[stride]
        backbone: Any = timm.create_model(encoder, features_only=True, out_indices=tuple(range(first, LEVELS)))
        self.encoder = backbone
        channels: list[int] = backbone.feature_info.channels()
        self.passes = nn.ModuleList()
        widths, factors = list(channels), [2**i for i in range(len(channels))]
        for level in range(len(channels) - 2, -1, -1):
            here = [factor // factors[level] for factor in factors[level:]]
            self.passes.append(IterativeUp(channels[level], widths[level:], here))
            # What lies deeper has been brought to this level's width and resolution.
            widths[level + 1 :] = [channels[level]] * (len(channels) - level - 1)
            factors[level + 1 :] = [factors[level]] * (len(channels) - level - 1)
        self.scores = nn.Sequential(nn.Conv2d(channels[0], classes, 1), _bilinear(classes, stride))

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised [n,3,h,w], sides multiples of 32, to class logits [n,c,h,w]."""
        maps: list[Tensor] = list(self.encoder(pixels))
        for number, each in enumerate(self.passes):
            level = len(maps) - 2 - number
            maps[level + 1 :] = each(maps[level:])
        scores: Tensor = self.scores(maps[-1])
        return scores


def _normed(channels: int, out: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU())


def _bilinear(channels: int, factor: int) -> nn.ConvTranspose2d:
    """Upsampling channel by channel, learnt from bilinear on."""
    layer = nn.ConvTranspose2d(channels, channels, 2 * factor, factor, padding=factor // 2, groups=channels, bias=False)
    at = (torch.arange(2 * factor) + 0.5) / factor
    weights = 1 - (at - 1).abs()
    with torch.no_grad():
        layer.weight.copy_(weights[:, None] * weights)
    return layer
