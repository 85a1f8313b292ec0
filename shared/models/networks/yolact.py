"""YOLACT: one stage, prototype masks for the whole image and coefficients for each box, which are multiplied.

Bolya et al. 2019, https://arxiv.org/abs/1904.02689. The parts are named as in the authors' checkpoints; the branch for
semantic segmentation, which only training uses, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

PROTOTYPES = 32
WIDTH = 256
ANCHORS = tuple(side / 550 for side in (24, 48, 96, 192, 384))
"""Side of a level's square anchors, as a part of the input's."""
RATIOS = (1.0, 0.5, 2.0)
"""The anchors of a cell are squares whose widths those of these aspect ratios have: what the published weights know."""
VARIANCES = (0.1, 0.2)
"""Units of the boxes' centres and sizes, as in SSD."""


class Pyramid(nn.Module):
    """C3 to C5 to P3 to P7, each [n,256,..]."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.lat_layers = nn.ModuleList([nn.Conv2d(each, WIDTH, 1) for each in reversed(channels)])
        self.pred_layers = nn.ModuleList([nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in channels])
        self.downsample_layers = nn.ModuleList([nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1) for _ in range(2)])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """C3 to C5, finest first, to five levels [n,256,h,w], finest first: strides 8 to 128."""
        levels: list[Tensor] = []
        for given, lateral in zip(reversed(maps), self.lat_layers, strict=True):
            here = lateral(given)
            if levels:
                above = functional.interpolate(levels[-1], here.shape[-2:], mode="bilinear", align_corners=False)
                here = here + above
            levels.append(here)
        levels = [layer(level).relu() for layer, level in zip(self.pred_layers, levels, strict=True)][::-1]
        for layer in self.downsample_layers:
            levels.append(layer(levels[-1]))
        return levels


class Head(nn.Module):
    """One level [n,256,h,w] to class logits [n,p,c+1] (background first), boxes [n,p,4] relative to their anchors and
    coefficients [n,p,32] of the prototypes; p = 3 h w."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.upfeature = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU())
        self.bbox_layer = nn.Conv2d(WIDTH, len(RATIOS) * 4, 3, padding=1)
        self.conf_layer = nn.Conv2d(WIDTH, len(RATIOS) * (classes + 1), 3, padding=1)
        self.mask_layer = nn.Conv2d(WIDTH, len(RATIOS) * PROTOTYPES, 3, padding=1)

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[n,256,h,w] to class logits [n,p,c+1], boxes [n,p,4] and coefficients [n,p,32] from -1 to 1."""
        seen = self.upfeature(level)
        logits, boxes, coefficients = (
            layer(seen).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, layer.out_channels // len(RATIOS)))
            for layer in (self.conf_layer, self.bbox_layer, self.mask_layer)
        )
        return logits, boxes, coefficients.tanh()


class Yolact(nn.Module):
    """Normalised [n,3,s,s] to class probabilities [n,p,c] without the background, boxes [n,p,4] (xyxy, parts of the
    input), coefficients [n,p,32] and prototypes [n,32,h,w] at a quarter of the input; `encoder`: timm's name."""

    def __init__(self, classes: int, encoder: str = "resnet101") -> None:
        super().__init__()
        backbone: Any = timm.create_model(encoder, features_only=True, out_indices=(2, 3, 4))
        self.backbone = backbone
        self.fpn = Pyramid(backbone.feature_info.channels())
        self.proto_net = nn.Sequential(
            *(layer for _ in range(3) for layer in (nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU())),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, PROTOTYPES, 1),
        )
        self.prediction_layers = nn.ModuleList([Head(classes)])

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normalised [n,3,s,s] to what all p anchors of the levels say, and prototypes [n,32,s/4,s/4] from 0."""
        levels = self.fpn(self.backbone(pixels))
        found = [self.prediction_layers[0](level) for level in levels]
        logits, relative, coefficients = (torch.cat(each, dim=1) for each in zip(*found, strict=True))
        where = torch.cat([anchors(level, side) for level, side in zip(levels, ANCHORS, strict=True)])
        probabilities = logits.softmax(dim=-1)[..., 1:]
        return probabilities, corners(relative, where), coefficients, self.proto_net(levels[0]).relu()


def anchors(level: Tensor, side: float) -> Tensor:
    """The anchors of a level [n,c,h,w], row by row: centre and size [3 h w, 4] as parts of the input."""
    rows, columns = level.shape[-2:]
    y = (torch.arange(rows, device=level.device) + 0.5) / rows
    x = (torch.arange(columns, device=level.device) + 0.5) / columns
    size = side * torch.tensor(RATIOS, device=level.device).sqrt()
    across = x.view(1, -1, 1).expand(rows, columns, len(RATIOS))
    down = y.view(-1, 1, 1).expand(rows, columns, len(RATIOS))
    sizes = size.expand(rows, columns, len(RATIOS))
    return torch.stack([across, down, sizes, sizes], dim=-1).reshape(-1, 4)


def corners(relative: Tensor, where: Tensor) -> Tensor:
    """Boxes [n,p,4] relative to anchors [p,4] (centre, size) as xyxy."""
    centre = where[:, :2] + relative[..., :2] * VARIANCES[0] * where[:, 2:]
    half = where[:, 2:] * (relative[..., 2:] * VARIANCES[1]).exp() / 2
    return torch.cat([centre - half, centre + half], dim=-1)
