"""DeconvNet: VGG-16 with its classifier, and a deep mirror of unpooling and transposed convolutions.

Noh, Hong and Han 2015, https://arxiv.org/abs/1505.04366.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from shared.models.networks.vgg import WIDTHS, mirrored, stages

CELLS = 7
"""Side of the coarsest features, which the classifier sees whole: the input is 224 pixels square."""


class DeconvNet(nn.Module):
    """[n,3,224,224] to class logits [n,c,224,224]; `hidden`: width of the classifier, 4096 in the paper."""

    side = 32 * CELLS

    def __init__(self, classes: int, widths: Sequence[int] = WIDTHS, hidden: int = 4096) -> None:
        super().__init__()
        self.encoder = stages(widths, norm=True)
        self.middle = nn.Sequential(
            *_normed(nn.Conv2d(widths[-1], hidden, CELLS), hidden),
            *_normed(nn.Conv2d(hidden, hidden, 1), hidden),
            *_normed(nn.ConvTranspose2d(hidden, widths[-1], CELLS), widths[-1]),
        )
        self.decoder = nn.ModuleList()
        channels = widths[-1]
        for stage in mirrored(widths):
            layers: list[nn.Module] = []
            for width in stage:
                layers += _normed(nn.ConvTranspose2d(channels, width, 3, padding=1), width)
                channels = width
            self.decoder.append(nn.Sequential(*layers))
        self.score = nn.Conv2d(channels, classes, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised [n,3,224,224] to class logits [n,c,224,224]."""
        values, taken = pixels, []
        for stage in self.encoder:
            values, indices = functional.max_pool2d(stage(values), 2, return_indices=True)
            taken.append(indices)
        values = self.middle(values)
        for stage, indices in zip(self.decoder, reversed(taken), strict=True):
            values = stage(functional.max_unpool2d(values, indices, (2, 2)))
        scores: Tensor = self.score(values)
        return scores


def _normed(layer: nn.Module, width: int) -> list[nn.Module]:
    return [layer, nn.BatchNorm2d(width), nn.ReLU()]
