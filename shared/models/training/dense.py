"""The dense stage: encoder, semantic, centre and offset heads on augmented crops, then at full resolution; with or
without a teacher's opinion of every pixel.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from shared.models.networks.street import StreetConfig, StreetNet, normalise
from shared.models.training.ahead import Ahead
from shared.models.training.augment import FULL_RESOLUTION, Recipe, Sampler
from shared.models.training.data import Split, class_weights
from shared.models.training.loop import Budget, TimedLoop
from shared.models.training.losses import InstanceTargets, Terms, dense_loss, instance_targets
from shared.models.training.precision import mixed
from shared.models.training.validate import validate_semantic
from shared.models.training.warm_start import bundled_half, unfold

DENSE_BUDGET = Budget(minutes=75.0, rate=2e-3, measure_every=15.0)
GPU_BUDGET = Budget(minutes=12.0, rate=4e-3, weight_decay=0.05, measure_every=2.0, save_every=4.0)
"""For batches 24 times as large."""


@dataclass(frozen=True)
class DenseRecipe:
    """Augmentation and photos a step, early and from `full_from` on; Lovasz joins at `lovasz_from` with this weight.

    Class weights fade from the square root of the median frequency to none, and hard-example mining with them, between
    `even_from` and `full_from`: what is learnt last is the true mixture of classes.
    """

    crops: Recipe = field(default_factory=Recipe)
    crop_batch: int = 8
    full: Recipe = FULL_RESOLUTION
    full_batch: int = 4
    full_from: float = 0.7
    lovasz_from: float = 0.35
    lovasz: float = 0.6
    even_from: float = 0.4

    def on(self, device: torch.device) -> DenseRecipe:
        """The same with batches that fill `device`."""
        if device.type != "cuda":
            return self
        return replace(self, crop_batch=24 * self.crop_batch, full_batch=24 * self.full_batch)

    def unevenness(self, progress: float) -> float:
        """How much of the class weights and of the mining is left at `progress` 0-1."""
        if progress < self.even_from:
            return 1.0
        return max(0.0, (self.full_from - progress) / (self.full_from - self.even_from))


class Drawn(NamedTuple):
    """One step's inputs: normalised pixels [n,3,h,w], labels int64 [n,h,w], instance targets."""

    pixels: Tensor
    labels: Tensor
    targets: InstanceTargets


class DenseLoop(TimedLoop[StreetNet]):
    """Trains on `train`, measures semantic scores on `val`; `start` is a bundled file to begin from, `teacher` a
    network that answers as this one should.
    """

    name = "dense"

    def __init__(
        self,
        train: Split,
        val: Split | None,
        out: Path,
        budget: Budget = DENSE_BUDGET,
        recipe: DenseRecipe | None = None,
        resume: bool = False,
        start: Path | None = None,
        config: StreetConfig | None = None,
        teacher: StreetNet | None = None,
    ) -> None:
        net = StreetNet(config).to(train.photos.device).to(memory_format=torch.channels_last)
        if start is not None:
            some = normalise(train.photos[:: max(1, len(train.photos) // 8)].float())
            unfold(net, bundled_half(start, "dense"), lambda: net(some))
        super().__init__(net, out, budget, resume)
        self.recipe, self.val, self.progress = recipe or DenseRecipe().on(self.device), val, 0.0
        self.sampler = Sampler(train)
        self.weights = class_weights(train.labels).to(self.device)
        self.batches = Ahead(self._draw, self.device)
        self.teacher = teacher

    def _draw(self) -> Drawn:
        recipe = self.recipe
        if self.progress < recipe.full_from:
            batch = self.sampler.batch(recipe.crop_batch, recipe.crops)
        else:
            batch = self.sampler.batch(recipe.full_batch, recipe.full)
        pixels = normalise(batch.pixels).contiguous(memory_format=torch.channels_last)
        return Drawn(pixels, batch.labels, instance_targets(batch.labels, batch.numbers))

    def losses(self, progress: float) -> dict[str, Tensor]:
        """One batch forwards and backwards."""
        self.progress, recipe = progress, self.recipe
        pixels, labels, targets = self.batches.next()
        opinion: Tensor | None = None
        with mixed(self.device):
            if self.teacher is not None:
                with torch.no_grad():
                    opinion = self.teacher(pixels).logits
            out, auxiliary = self.net.forward_train(pixels)
        uneven = recipe.unevenness(progress)
        lovasz = recipe.lovasz if progress >= recipe.lovasz_from else 0.0
        terms = Terms(lovasz, keep=0.3 + 0.7 * (1 - uneven), teacher=opinion)
        total, parts = dense_loss(out, auxiliary, labels, targets, self.weights.pow(uneven), terms)
        torch.autograd.backward(total)
        return parts

    def measure(self) -> dict[str, Any]:
        """Semantic scores of the average on val."""
        return {} if self.val is None else {"val": asdict(validate_semantic(self.average.net, self.val))}

    def close(self) -> None:
        """Draw no more."""
        self.batches.close()
