"""DeepLab on VGG-16: LargeFOV of the first paper, ASPP-L of the second; holes instead of the last two strides.

Chen et al. 2015, https://arxiv.org/abs/1412.7062, and Chen et al. 2017, https://arxiv.org/abs/1606.00915. The papers
sharpen these scores by a dense CRF, which is no part of the network: `shared.models.postprocess.dense_crf`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shared.models.networks.vgg import WIDTHS, stages

STRIDES = (2, 2, 2, 1, 1)
"""Of the five poolings: the scores come at an eighth of the input."""
DILATIONS = (1, 1, 1, 1, 2)


class DeepLabVgg(nn.Module):
    """[n,3,h,w] to class logits [n,c,h/8,w/8], summed over branches of these `dilations` (12; or 6, 12, 18, 24)."""

    def __init__(
        self, classes: int, dilations: Sequence[int], widths: Sequence[int] = WIDTHS, hidden: int = 1024
    ) -> None:
        super().__init__()
        self.stages = stages(widths, dilations=DILATIONS)
        self.pools = nn.ModuleList([nn.MaxPool2d(3, stride, padding=1) for stride in STRIDES])
        self.average = nn.AvgPool2d(3, 1, padding=1)
        self.branches = nn.ModuleList([_branch(widths[-1], classes, dilation, hidden) for dilation in dilations])

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised [n,3,h,w] to class logits [n,c,h/8,w/8]."""
        values = pixels
        for stage, pool in zip(self.stages, self.pools, strict=True):
            values = pool(stage(values))
        values = self.average(values)
        return torch.stack([branch(values) for branch in self.branches]).sum(dim=0)


def _branch(channels: int, classes: int, dilation: int, hidden: int) -> nn.Sequential:
    """fc6, fc7 and fc8 of VGG-16's classifier, cut down."""
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, padding=dilation, dilation=dilation),
        nn.ReLU(),
        nn.Dropout2d(0.5),
        nn.Conv2d(hidden, hidden, 1),
        nn.ReLU(),
        nn.Dropout2d(0.5),
        nn.Conv2d(hidden, classes, 1),
    )
