"""Fully convolutional networks on VGG-16: FCN-32s, FCN-16s and FCN-8s.

Long, Shelhamer and Darrell 2015, https://arxiv.org/abs/1411.4038: the classifier's layers as convolutions, upsampled by
learned transposed convolutions, coarse scores added to finer ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.models.networks.vgg import WIDTHS, stages

FIRST_PADDING = 100
"""Around the image, so that the 7x7 classifier fits any of them; what it adds is cropped away again."""
LAST = {32: (64, 19), 16: (32, 27), 8: (16, 31)}
"""By stride: the last transposed convolution's kernel, and where its output shows the image's first pixel."""
WITHIN = {"pool4": 5, "pool3": 9}
"""Where a skipped stage's scores show the first cell of what is added to them."""


class Fcn(nn.Module):
    """[n,3,h,w] to class logits [n,c,h,w]; `stride` 32, 16 or 8: of the finest scores."""

    def __init__(self, classes: int, stride: int, widths: Sequence[int] = WIDTHS, hidden: int = 4096) -> None:
        super().__init__()
        self.stages = stages(widths, first_padding=FIRST_PADDING)
        self.fc6 = nn.Conv2d(widths[4], hidden, 7)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.dropout = nn.Dropout2d(0.5)
        self.score = _scores(hidden, classes)
        self.score_pool4 = _scores(widths[3], classes) if stride < 32 else None
        self.score_pool3 = _scores(widths[2], classes) if stride < 16 else None
        self.twice = nn.ModuleList([_larger(classes, 4, 2) for _ in range({32: 0, 16: 1, 8: 2}[stride])])
        kernel, self.crop = LAST[stride]
        self.last = _larger(classes, kernel, stride)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised [n,3,h,w] to class logits [n,c,h,w]."""
        values, pools = pixels, []
        for stage in self.stages:
            values = functional.max_pool2d(stage(values), 2, ceil_mode=True)
            pools.append(values)
        values = self.dropout(functional.relu(self.fc6(values)))
        values = self.dropout(functional.relu(self.fc7(values)))
        scores = self.score(values)
        skips = [(self.score_pool4, pools[3], "pool4"), (self.score_pool3, pools[2], "pool3")]
        for larger, (head, pool, name) in zip(self.twice, skips, strict=False):
            scores = larger(scores)
            assert head is not None
            scores = scores + _cropped(head(pool), WITHIN[name], scores)
        return _cropped(self.last(scores), self.crop, pixels)


def _scores(channels: int, classes: int) -> nn.Conv2d:
    """A classifier that starts from zero."""
    layer = nn.Conv2d(channels, classes, 1)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _larger(classes: int, kernel: int, stride: int) -> nn.ConvTranspose2d:
    """A transposed convolution that interpolates bilinearly until it learns better."""
    layer = nn.ConvTranspose2d(classes, classes, kernel, stride, bias=False)
    factor = (kernel + 1) // 2
    centre = factor - 1 if kernel % 2 else factor - 0.5
    line = 1 - (torch.arange(kernel) - centre).abs() / factor
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[range(classes), range(classes)] = line[:, None] * line
    return layer


def _cropped(values: Tensor, start: int, like: Tensor) -> Tensor:
    height, width = like.shape[-2:]
    return values[..., start : start + height, start : start + width]
