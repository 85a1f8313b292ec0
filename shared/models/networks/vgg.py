"""The convolutions of VGG-16 (Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556), as the networks of 2015
were cut from it: five stages of 3x3 convolutions, whose pooling is each paper's own."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

WIDTHS = (64, 128, 256, 512, 512)
DEPTHS = (2, 2, 3, 3, 3)


def stages(
    widths: Sequence[int], norm: bool = False, first_padding: int = 1, dilations: Sequence[int] = (1, 1, 1, 1, 1)
) -> nn.ModuleList:
    """Five stages [n,c,h,w] -> [n,c',h,w] without their pooling; `widths` and `dilations`: one a stage."""
    found = nn.ModuleList()
    channels = 3
    for width, depth, dilation in zip(widths, DEPTHS, dilations, strict=True):
        layers: list[nn.Module] = []
        for _ in range(depth):
            padding = first_padding if not found and not layers else dilation
            layers += convolution(channels, width, norm, padding, dilation)
            channels = width
        found.append(nn.Sequential(*layers))
    return found


def mirrored(widths: Sequence[int]) -> list[list[int]]:
    """Widths of the layers of a decoder that undoes the five stages, coarsest first."""
    found = []
    for stage in reversed(range(len(widths))):
        after = widths[max(stage - 1, 0)]
        found.append([widths[stage]] * (DEPTHS[stage] - 1) + [after])
    return found


def convolution(inputs: int, outputs: int, norm: bool, padding: int = 1, dilation: int = 1) -> list[nn.Module]:
    """3x3, perhaps batch normalisation, ReLU."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=padding, dilation=dilation)]
    return [*layers, nn.BatchNorm2d(outputs), nn.ReLU()] if norm else [*layers, nn.ReLU()]
