"""SegNet: an encoder of VGG-16 and its mirror, which puts values back where the encoder's pooling took them.

Badrinarayanan, Kendall and Cipolla 2017, https://arxiv.org/abs/1511.00561.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from shared.models.networks.vgg import WIDTHS, convolution, mirrored, stages


class SegNet(nn.Module):
    """[n,3,h,w] to class logits [n,c,h,w]."""

    def __init__(self, classes: int, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.encoder = stages(widths, norm=True)
        self.decoder = nn.ModuleList()
        channels = widths[-1]
        for number, stage in enumerate(mirrored(widths), start=1):
            layers: list[nn.Module] = []
            # The last layer of the finest stage is the classifier.
            for width in stage if number < len(widths) else stage[:-1]:
                layers += convolution(channels, width, norm=True)
                channels = width
            self.decoder.append(nn.Sequential(*layers))
        self.score = nn.Conv2d(channels, classes, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised [n,3,h,w] to class logits [n,c,h,w], whatever h and w."""
        values, taken = pixels, []
        for stage in self.encoder:
            values = stage(values)
            size = values.shape[-2:]
            values, indices = functional.max_pool2d(values, 2, return_indices=True)
            taken.append((indices, size))
        for stage, (indices, size) in zip(self.decoder, reversed(taken), strict=True):
            values = stage(functional.max_unpool2d(values, indices, (2, 2), output_size=size))
        scores: Tensor = self.score(values)
        return scores
