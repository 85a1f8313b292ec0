"""Kernel-sharing atrous convolution: one 3x3 kernel at several dilations, in the place of DeepLabv3+'s ASPP.

Huang et al. 2019, https://arxiv.org/abs/1908.07678. Sharing saves 62 % of the module's weights and lets the kernel
learn from every scale. Encoder and decoder are DeepLabv3+'s (Chen et al. 2018, https://arxiv.org/abs/1802.02611).
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

DILATIONS = (6, 12, 18)
WIDTH = 256
FINE = 48
"""Channels of the finer features that the decoder reads."""


class KernelSharing(nn.Module):
    """[n,c,h,w] to [n,256,h,w]: a 1x1 convolution, the image's mean, and one 3x3 kernel dilated three ways, summed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.point = _normed(nn.Conv2d(channels, WIDTH, 1, bias=False))
        self.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), *_normed(nn.Conv2d(channels, WIDTH, 1, bias=False)))
        self.kernel = nn.Conv2d(channels, WIDTH, 3, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(WIDTH) for _ in DILATIONS])

    def forward(self, values: Tensor) -> Tensor:
        """[n,c,h,w] to [n,256,h,w]."""
        found = self.point(values) + self.mean(values)
        for dilation, norm in zip(DILATIONS, self.norms, strict=True):
            seen = functional.conv2d(values, self.kernel.weight, padding=dilation, dilation=dilation)
            found = found + functional.relu(norm(seen))
        return torch.as_tensor(found)


class Ksac(nn.Module):
    """[n,3,h,w] to class logits [n,c,h/4,w/4]; `encoder`: timm's name of a ResNet, run at output stride 16."""

    def __init__(self, classes: int, encoder: str = "resnet101") -> None:
        super().__init__()
        resnet: Any = timm.create_model(encoder, features_only=True, output_stride=16, out_indices=(1, 4))
        self.encoder = resnet
        fine, coarse = resnet.feature_info.channels()
        self.module = KernelSharing(coarse)
        self.fine = _normed(nn.Conv2d(fine, FINE, 1, bias=False))
        self.joined = nn.Sequential(
            *_normed(nn.Conv2d(WIDTH + FINE, WIDTH, 3, padding=1, bias=False)),
            *_normed(nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)),
            nn.Conv2d(WIDTH, classes, 1),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised [n,3,h,w] to class logits [n,c,h/4,w/4]."""
        fine, coarse = self.encoder(pixels)
        larger = functional.interpolate(self.module(coarse), size=fine.shape[-2:], mode="bilinear", align_corners=False)
        scores: Tensor = self.joined(torch.cat([larger, self.fine(fine)], dim=1))
        return scores


def _normed(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU())
