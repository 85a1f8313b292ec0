"""DeepLab v2 on ResNet: four dilated classifiers summed, the input seen at three scales and the largest scores kept.

Chen et al. 2017, https://arxiv.org/abs/1606.00915. The backbone is torchvision's, its strides where the paper's ResNet
has them: in the first convolution of a block. The dense CRF of the paper is no part of the
network: `shared.models.postprocess.dense_crf`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import Bottleneck, ResNet

DILATIONS = (6, 12, 18, 24)
SCALES = (0.75, 0.5)
"""Beside the whole input."""
WIDTH = 2048


class DeepLabResNet(nn.Module):
    """[n,3,h,w] to class logits [n,c,h/8,w/8]; `layers`: blocks of the four stages, by default those of ResNet-101."""

    def __init__(self, classes: int, layers: Sequence[int] = (3, 4, 23, 3)) -> None:
        super().__init__()
        self.backbone = _backbone(layers)
        self.branches = nn.ModuleList([nn.Conv2d(WIDTH, classes, 3, padding=d, dilation=d) for d in DILATIONS])

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised [n,3,h,w] to class logits [n,c,h/8,w/8], the largest over the scales."""
        best = self._scores(pixels)
        for scale in SCALES:
            smaller = functional.interpolate(pixels, scale_factor=scale, mode="bilinear", align_corners=False)
            scores = functional.interpolate(
                self._scores(smaller), size=best.shape[-2:], mode="bilinear", align_corners=False
            )
            best = torch.maximum(best, scores)
        return best

    def _scores(self, pixels: Tensor) -> Tensor:
        values = self.backbone(pixels)
        return torch.stack([branch(values) for branch in self.branches]).sum(dim=0)


def _backbone(layers: Sequence[int]) -> nn.Sequential:
    network: Any = ResNet(Bottleneck, list(layers), replace_stride_with_dilation=[False, True, True])
    first: Any = network.layer2[0]
    first.conv1.stride, first.conv2.stride = first.conv2.stride, (1, 1)
    return nn.Sequential(
        network.conv1,
        network.bn1,
        network.relu,
        network.maxpool,
        network.layer1,
        network.layer2,
        network.layer3,
        network.layer4,
    )
