"""The dense stage: encoder, semantic, centre and offset heads on augmented crops, then at full resolution."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from shared.models.networks.street import StreetConfig, StreetNet, normalise
from shared.models.training.augment import FULL_RESOLUTION, Recipe, Sampler
from shared.models.training.data import Split, class_weights
from shared.models.training.loop import Budget, TimedLoop
from shared.models.training.losses import dense_loss
from shared.models.training.precision import mixed
from shared.models.training.validate import validate_semantic
from shared.models.training.warm_start import bundled_half, unfold

DENSE_BUDGET = Budget(minutes=75.0, rate=2e-3, measure_every=15.0)


@dataclass(frozen=True)
class DenseRecipe:
    """Augmentation and photos a step, early and from `full_from` on; Lovasz joins at `lovasz_from` with this weight."""

    crops: Recipe = field(default_factory=Recipe)
    crop_batch: int = 8
    full: Recipe = FULL_RESOLUTION
    full_batch: int = 4
    full_from: float = 0.7
    lovasz_from: float = 0.35
    lovasz: float = 0.6


class DenseLoop(TimedLoop[StreetNet]):
    """Trains on `train`, measures semantic scores on `val`; `start` is a bundled file to begin from."""

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
    ) -> None:
        net = StreetNet(StreetConfig()).to(train.photos.device).to(memory_format=torch.channels_last)
        if start is not None:
            some = normalise(train.photos[:: max(1, len(train.photos) // 8)].float())
            unfold(net, bundled_half(start, "dense"), lambda: net(some))
        super().__init__(net, out, budget, resume)
        self.recipe, self.val = recipe or DenseRecipe(), val
        self.sampler = Sampler(train)
        self.weights = class_weights(train.labels).to(self.device)

    def losses(self, progress: float) -> dict[str, float]:
        """One batch forwards and backwards."""
        recipe = self.recipe
        if progress < recipe.full_from:
            batch = self.sampler.batch(recipe.crop_batch, recipe.crops)
        else:
            batch = self.sampler.batch(recipe.full_batch, recipe.full)
        pixels = normalise(batch.pixels).contiguous(memory_format=torch.channels_last)
        with mixed(self.device):
            out, auxiliary = self.net.forward_train(pixels)
        lovasz = recipe.lovasz if progress >= recipe.lovasz_from else 0.0
        total, parts = dense_loss(out, auxiliary, batch.labels, batch.numbers, self.weights, lovasz)
        torch.autograd.backward(total)
        return parts

    def measure(self) -> dict[str, Any]:
        """Semantic scores of the average on val."""
        return {} if self.val is None else {"val": asdict(validate_semantic(self.average.net, self.val))}
