"""Photos of one split as other cameras, hours and weathers would have taken them; mIoU of the network on each out.

Conditions are fixed functions of the pixels (noise and rain from a seed), so that two runs and two models compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.models.training.data import Split
from shared.models.training.validate import validate_semantic


def night(x: Tensor) -> Tensor:
    """A dark, underexposed photo with sensor noise."""
    dark = x.pow(1.6) * 0.5
    return dark + 0.03 * _noise(x)


def haze(x: Tensor) -> Tensor:
    """Blended by 40 % with a bright grey."""
    return 0.6 * x + 0.4 * 0.7


def rain(x: Tensor) -> Tensor:
    """Flat contrast and slanted bright streaks of 11 pixels."""
    drops = (torch.rand(x.shape[0], 1, *x.shape[2:], generator=_seeded()) < 0.004).to(x)
    kernel = torch.zeros(1, 1, 11, 11).to(x)
    rows = torch.arange(11)
    kernel[0, 0, rows, 5 + (rows - 5).div(4, rounding_mode="trunc")] = 1.0
    streaks = F.conv2d(drops, kernel, padding=5).clamp(0, 1)
    return 0.8 * x + 0.2 * 0.5 + 0.25 * streaks


def blur(x: Tensor) -> Tensor:
    """A mean over 5 by 5 pixels: out of focus."""
    return F.avg_pool2d(x, 5, 1, 2, count_include_pad=False)


def noise(x: Tensor) -> Tensor:
    """Gaussian noise of .06 of the range."""
    return x + 0.06 * _noise(x)


def half_resolution(x: Tensor) -> Tensor:
    """A camera of half the resolution, its picture enlarged."""
    small = F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True)
    return F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False)


def warm_light(x: Tensor) -> Tensor:
    """A white balance off by 15 % towards orange."""
    return x * torch.tensor([1.15, 1.0, 0.85]).view(1, 3, 1, 1).to(x)


def overexposed(x: Tensor) -> Tensor:
    """1.6 times as much light, clipped."""
    return x * 1.6


CONDITIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "night": night,
    "haze": haze,
    "rain": rain,
    "blur": blur,
    "noise": noise,
    "half the resolution": half_resolution,
    "warm light": warm_light,
    "overexposed": overexposed,
}
"""By name: RGB f32 [n,3,h,w] in 0-1 in, the same out, clipped by the caller."""


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _noise(x: Tensor) -> Tensor:
    return torch.randn(x.shape, generator=_seeded()).to(x)


def under(split: Split, condition: Callable[[Tensor], Tensor], batch: int = 8) -> Split:
    """The split with its photos taken under `condition`."""
    photos = [
        condition(split.photos[start : start + batch].float() / 255).clamp(0, 1).mul(255).round().byte()
        for start in range(0, len(split.photos), batch)
    ]
    return replace(split, photos=torch.cat(photos))


def portrait(split: Split) -> Split:
    """The middle of every photo, three wide to four high."""
    height, width = split.labels.shape[-2:]
    wide = min(width, height * 3 // 4)
    middle = slice((width - wide) // 2, (width - wide) // 2 + wide)
    return replace(split, photos=split.photos[..., middle].contiguous(), labels=split.labels[..., middle].contiguous())


def robustness(net: nn.Module, split: Split) -> dict[str, float]:
    """mIoU (0-1, f32) by condition; "as taken" is the split itself, "portrait" its middle held upright."""
    splits = {"as taken": split, "portrait": portrait(split)}
    found = {name: validate_semantic(net, each, half=False).miou for name, each in splits.items()}
    for name, condition in CONDITIONS.items():
        found[name] = validate_semantic(net, under(split, condition), half=False).miou
    return {name: round(miou, 4) for name, miou in found.items()}
