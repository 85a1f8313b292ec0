"""Batches drawn from a split and augmented on its device: geometry, copy-paste of rare objects, light, weather,
padding.

A crop may reach past its photo: what lies outside is void and filled with a plain colour, as letterboxing does when
serving.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from shared.models.networks.street import PIXEL_MEAN
from shared.models.training.data import VOID, Components, Split

RARE = (2, 6, 7, 9, 10)
"""Classes that crops seek and that are pasted into other photos: pole, sign, fence, pedestrian, bicyclist."""

PASTED = 10_000
"""Added to the component numbers of pasted objects, so that they stay apart from the photo's own."""


MIXED = 40_000
"""Added to the component numbers of another sample's rectangle."""


@dataclass(frozen=True)
class Recipe:
    """How strongly a phase augments: crop sizes (h, w) drawn uniformly, the zoom's range, and probabilities."""

    sizes: tuple[tuple[int, int], ...] = ((224, 320), (224, 320), (224, 320), (256, 272), (304, 232))
    zoom: tuple[float, float] = (0.5, 2.0)
    seek_rare: float = 0.5
    paste: float = 0.6
    weather: float = 0.12
    rotate: float = 5.0
    """Degrees either way."""
    stretch: float = 1.1
    """Largest change of the aspect ratio."""
    loose: float = 0.05
    """Probability that a crop may reach past a photo larger than itself."""
    cutmix: float = 0.3
    """Probability that a rectangle of a sample is another sample's (Yun et al. 2019; French et al. 2020)."""


FULL_RESOLUTION = Recipe(
    sizes=((360, 480), (360, 480), (360, 480), (480, 360), (424, 424)),
    zoom=(0.7, 1.5),
    seek_rare=0.1,
    paste=0.2,
    rotate=3.0,
    cutmix=0.15,
)


@dataclass(frozen=True)
class Batch:
    """Pixels float [n,3,h,w] in 0-255, labels int64 [n,h,w] (11 = void), component numbers int64 [n,h,w] (0 = none)."""

    pixels: Tensor
    labels: Tensor
    numbers: Tensor


def uniform(n: int, low: float, high: float) -> Tensor:
    """n numbers between low and high."""
    return low + (high - low) * torch.rand(n)


def log_uniform(n: int, low: float, high: float) -> Tensor:
    """n numbers between low and high, uniform in the logarithm."""
    return uniform(n, torch.tensor(low).log().item(), torch.tensor(high).log().item()).exp()


class Sampler:
    """Draws augmented batches from a split."""

    def __init__(self, split: Split) -> None:
        self.split = split
        table = split.components
        big_enough = table.area >= 60
        pools = [torch.nonzero(big_enough & (table.label == c)).flatten() for c in RARE]
        pools = [pool for pool in pools if len(pool)]
        self.rare = table.select(torch.cat(pools) if pools else torch.zeros(0, dtype=torch.long))
        self._sizes = torch.tensor([len(pool) for pool in pools])

    def batch(self, n: int, recipe: Recipe) -> Batch:
        """n samples of one size."""
        height, width = recipe.sizes[int(torch.randint(len(recipe.sizes), ()))]
        zoom = log_uniform(n, *recipe.zoom)
        images, centres = self._choose(recipe, height, width, zoom)
        stretch = log_uniform(n, 1 / recipe.stretch, recipe.stretch)
        angle = uniform(n, -recipe.rotate, recipe.rotate).deg2rad()
        flip = (torch.rand(n) < 0.5).float() * 2 - 1
        grid = self._grid(height, width, centres, zoom, stretch, angle, flip)
        pixels, labels, numbers = self._warp(images, grid)
        if len(self.rare):
            pixels, labels, numbers = self._paste(pixels, labels, numbers, zoom, recipe.paste)
        pixels, labels, numbers = cutmix(pixels, labels, numbers, recipe.cutmix)
        pixels = letterbox(photometric(pixels / 255.0, recipe.weather) * 255.0, labels < 0)
        return Batch(pixels, torch.where(labels < 0, VOID, labels), numbers)

    def _rare_objects(self, n: int) -> Components:
        """n components, the class drawn evenly first."""
        kinds = torch.randint(len(self._sizes), (n,))
        within = (torch.rand(n) * self._sizes[kinds]).long()
        return self.rare.select((self._sizes.cumsum(0) - self._sizes)[kinds] + within)

    def _choose(self, recipe: Recipe, height: int, width: int, zoom: Tensor) -> tuple[Tensor, Tensor]:
        """Photo indices [n] and the crop's centre (row, column) [n,2] in each photo's pixels."""
        n = len(zoom)
        rows, columns = self.split.photos.shape[-2:]
        images = torch.randint(len(self.split.photos), (n,))
        size = torch.tensor([rows, columns], dtype=torch.float32)
        view = torch.stack([height / zoom, width / zoom], 1)
        centres = torch.rand(n, 2) * size
        if len(self.rare):
            objects = self._rare_objects(n)
            sought = torch.rand(n) < recipe.seek_rare
            images = torch.where(sought, objects.image, images)
            near = objects.centre + (torch.rand(n, 2) - 0.5) * view * 0.8
            centres = torch.where(sought[:, None], near, centres)
        inside_low = torch.minimum(view / 2, size / 2)
        inside = torch.minimum(torch.maximum(centres, inside_low), size - inside_low)
        loose = torch.rand(n, 1) < recipe.loose
        return images, torch.where(loose, centres, inside)

    def _grid(
        self, height: int, width: int, centres: Tensor, zoom: Tensor, stretch: Tensor, angle: Tensor, flip: Tensor
    ) -> Tensor:
        """Sampling grid [n,h,w,2] in grid_sample's normalised (x, y), align_corners=False."""
        device = self.split.photos.device
        rows, columns = self.split.photos.shape[-2:]
        v = torch.arange(height, device=device, dtype=torch.float32).view(1, -1, 1) + 0.5 - height / 2
        u = torch.arange(width, device=device, dtype=torch.float32).view(1, 1, -1) + 0.5 - width / 2
        cy, cx, z, s, a, f = (
            t.to(device).view(-1, 1, 1) for t in (centres[:, 0], centres[:, 1], zoom, stretch, angle, flip)
        )
        x, y = f * u / (z * s), v / z
        across = cx + a.cos() * x - a.sin() * y
        down = cy + a.sin() * x + a.cos() * y
        return torch.stack([2 * across / columns - 1, 2 * down / rows - 1], -1)

    def _warp(self, images: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels float [n,3,h,w], labels int64 (-1 outside the photo) and component numbers int64 [n,h,w]."""
        at = images.to(self.split.photos.device)
        pixels = F.grid_sample(self.split.photos[at].float(), grid, padding_mode="border", align_corners=False)
        planes = torch.stack([self.split.labels[at].float() + 1, self.split.numbers[at].float()], 1)
        planes = F.grid_sample(planes, grid, mode="nearest", padding_mode="zeros", align_corners=False).round().long()
        return pixels, planes[:, 0] - 1, planes[:, 1]

    def _paste(
        self, pixels: Tensor, labels: Tensor, numbers: Tensor, zoom: Tensor, probability: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Paste one rare object of another photo onto some samples, near the height in the scene it had."""
        n, _, height, width = pixels.shape
        chosen = torch.nonzero(torch.rand(n) < probability).flatten()
        if not len(chosen):
            return pixels, labels, numbers
        objects = self._rare_objects(len(chosen))
        scale = zoom[chosen] * log_uniform(len(chosen), 0.7, 1.6)
        row = height * (
            0.5 + (objects.centre[:, 0] / self.split.photos.shape[-2] - 0.5) * 0.8
        ) + height * 0.1 * torch.randn(len(chosen))
        column = width * torch.rand(len(chosen))
        flip = (torch.rand(len(chosen)) < 0.5).float() * 2 - 1
        # The grid is centred on the crop: shift its centre so that the object lands at (row, column).
        shift = torch.stack([(height / 2 - row) / scale, flip * (width / 2 - column) / scale], 1)
        one, zero = torch.ones(len(chosen)), torch.zeros(len(chosen))
        grid = self._grid(height, width, objects.centre + shift, scale, one, zero, flip)
        donor, donor_labels, donor_numbers = self._warp(objects.image, grid)
        device = pixels.device
        mask = (donor_numbers == objects.number.to(device).view(-1, 1, 1)) & (donor_labels >= 0)
        alpha = F.avg_pool2d(mask[:, None].float(), 3, 1, 1) * mask[:, None]
        at = chosen.to(device)
        pixels, labels, numbers = pixels.clone(), labels.clone(), numbers.clone()
        pixels[at] = pixels[at] + alpha * (donor - pixels[at])
        labels[at] = torch.where(mask, donor_labels, labels[at])
        numbers[at] = torch.where(mask, donor_numbers + PASTED, numbers[at])
        return pixels, labels, numbers


def cutmix(pixels: Tensor, labels: Tensor, numbers: Tensor, probability: float) -> tuple[Tensor, Tensor, Tensor]:
    """Samples whose rectangle of a quarter to six tenths of each side may be the sample's before them."""
    n, height, width = labels.shape
    sides = uniform(2 * n, 0.25, 0.6).view(2, n) * torch.tensor([[height], [width]])
    starts = torch.rand(2, n) * (torch.tensor([[height], [width]]) - sides)
    sides = sides * (torch.rand(n) < probability)
    device = labels.device
    inside = []
    for size, start, side in zip((height, width), starts.to(device), sides.to(device), strict=True):
        at = torch.arange(size, device=device)
        inside.append((at >= start[:, None]) & (at < (start + side)[:, None]))
    mask = inside[0][:, :, None] & inside[1][:, None, :]
    other = numbers.roll(1, 0)
    return (
        torch.where(mask[:, None], pixels.roll(1, 0), pixels),
        torch.where(mask, labels.roll(1, 0), labels),
        torch.where(mask, torch.where(other > 0, other + MIXED, 0), numbers),
    )


def photometric(x: Tensor, weather: float) -> Tensor:
    """Colour, gamma, contrast, blur, lost resolution, noise, and now and then night or haze with rain; [n,3,h,w] in
    0-1.
    """
    n, device = len(x), x.device

    def per_sample(values: Tensor) -> Tensor:
        return values.to(device).view(-1, 1, 1, 1)

    x = _soften(x, torch.rand(n) < 0.2)
    night, haze = torch.rand(n) < weather, torch.rand(n) < weather
    gamma = log_uniform(n, 0.65, 1.5) * torch.where(night, uniform(n, 1.0, 1.8), 1.0)
    gain = log_uniform(n, 0.55, 1.4) * torch.where(night, uniform(n, 0.4, 0.9), 1.0)
    x = x.clamp(1e-3, 1).pow(per_sample(gamma)) * per_sample(gain)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * per_sample(uniform(n, 0.3, 1.5))
    level = x.mean((1, 2, 3), keepdim=True)
    x = level + (x - level) * per_sample(log_uniform(n, 0.7, 1.4)) + per_sample(uniform(n, -0.08, 0.08))
    x = x * (1 + 0.1 * torch.randn(n, 3, 1, 1, device=device).clamp(-2, 2))
    x = _haze_and_rain(x, haze)
    sigma = torch.where(torch.rand(n) < 0.4, 0.04 * torch.rand(n), torch.zeros(n)) + night * 0.04 * torch.rand(n)
    if bool((sigma > 0).any()):
        at = torch.nonzero(sigma > 0).flatten().to(device)
        x[at] = x[at] + torch.randn_like(x[at]) * per_sample(sigma)[at]
    return x.clamp(0, 1)


def _soften(x: Tensor, chosen: Tensor) -> Tensor:
    """Blur the chosen samples, or halve their resolution and bring it back."""
    at = torch.nonzero(chosen).flatten().to(x.device)
    if not len(at):
        return x
    part = x[at]
    if float(torch.rand(())) < 0.5:
        small = F.interpolate(part, scale_factor=float(uniform(1, 0.35, 0.8)), mode="bilinear", antialias=True)
        part = F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False)
    else:
        radius = int(torch.randint(1, 3, ()))
        part = F.avg_pool2d(part, 2 * radius + 1, 1, radius, count_include_pad=False)
    x = x.clone()
    x[at] = part
    return x


def _haze_and_rain(x: Tensor, chosen: Tensor) -> Tensor:
    """Blend the chosen samples towards grey and add slanted bright streaks."""
    at = torch.nonzero(chosen).flatten().to(x.device)
    if not len(at):
        return x
    n, _, height, width = x[at].shape
    amount = uniform(n, 0.05, 0.45).to(x.device).view(-1, 1, 1, 1)
    drops = (torch.rand(n, 1, height, width, device=x.device) < 0.004).float()
    length = int(torch.randint(7, 16, ()))
    slant = float(uniform(1, -0.4, 0.4))
    streaks = drops
    for row in range(1, length):  # a convolution's kernel would have another size for each draw
        streaks = torch.maximum(streaks, drops.roll((row, round(slant * row)), (2, 3)))
    x = x.clone()
    x[at] = x[at] * (1 - amount) + 0.7 * amount + streaks * 0.25 * torch.rand(n, 1, 1, 1, device=x.device)
    return x


def letterbox(pixels: Tensor, outside: Tensor) -> Tensor:
    """Fill what lies outside the photo [n,h,w] with the mean colour, black, or any colour."""
    n, device = len(pixels), pixels.device
    colour = torch.tensor(PIXEL_MEAN, device=device).repeat(n, 1)
    kind = torch.rand(n, device=device)
    colour[kind < 0.3] = 0.0
    odd = kind > 0.85
    colour[odd] = torch.rand(int(odd.sum()), 3, device=device) * 255
    return torch.where(outside[:, None], colour.view(n, 3, 1, 1), pixels)
