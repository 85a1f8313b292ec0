"""The prompt stage: a decoder trained on the embeddings of the frozen dense network, against simulated users."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from shared.models.networks.street import STRIDE, StreetNet
from shared.models.networks.street_prompt import PromptDecoder, PromptOutput
from shared.models.training.ahead import Ahead
from shared.models.training.augment import FULL_RESOLUTION, Recipe, Sampler
from shared.models.training.data import Split
from shared.models.training.loop import Budget, TimedLoop
from shared.models.training.precision import mixed
from shared.models.training.prompts import Interaction, Mask, draw_interactions, in_parallel
from shared.models.training.validate_prompts import answer, embed, stack_prompts, validate_prompts
from shared.models.training.warm_start import bundled_half, unfold

PROMPT_BUDGET = Budget(minutes=28.0, rate=1.5e-3, weight_decay=0.01, average=0.995)
GPU_PROMPT_BUDGET = replace(PROMPT_BUDGET, minutes=3.0, rate=2.5e-3, measure_every=1.0)
"""For batches four times as large."""
CROPS = Recipe(
    sizes=((224, 320), (224, 320), (304, 232)), zoom=(0.6, 1.8), seek_rare=0.3, paste=0.3, weather=0.06, rotate=3.0
)
FULL = replace(FULL_RESOLUTION, sizes=((360, 480), (360, 480), (480, 360)), zoom=(0.8, 1.4), paste=0.2, weather=0.06)


@dataclass(frozen=True)
class PromptRecipe:
    """Photos a step and objects a photo, early and from `full_from` on, and how a simulated user goes on."""

    crops: Recipe = field(default_factory=lambda: CROPS)
    photos: int = 6
    full: Recipe = field(default_factory=lambda: FULL)
    full_photos: int = 3
    full_from: float = 0.6
    objects: int = 4
    long_talk: float = 0.6
    """Probability of three to five rounds rather than two."""
    forget: float = 0.25
    """Probability that a user does not send the earlier mask along."""
    amend: float = 0.5
    """Probability that a user of a large component wants something else from the first correction on."""

    def on(self, device: torch.device) -> PromptRecipe:
        """The same with batches that fill `device`."""
        if device.type != "cuda":
            return self
        return replace(self, photos=4 * self.photos, full_photos=4 * self.full_photos)


class Drawn(NamedTuple):
    """One step's photos and users: embeddings [b,80,h/4,w/4], masks wanted at first and later [n,2,h/2,w/2] in 0-1, and
    who wants them, those of a photo together.
    """

    embedding: Tensor
    wanted: Tensor
    users: list[Interaction]


def mask_loss(out: PromptOutput, wanted: Tensor, ambiguous: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross entropy, Dice, and the error of the predicted IoU; `wanted` [n,1,h/2,w/2] in 0-1.

    Where `ambiguous` bool [n] (one click so far) the best candidate counts, with a fifth of the mean; else their mean.
    """
    masks = F.interpolate(out.masks.float(), size=wanted.shape[-2:], mode="bilinear", align_corners=False)
    target = wanted.expand_as(masks)
    area = wanted.flatten(1).sum(1, keepdim=True)
    cross = F.binary_cross_entropy_with_logits(masks, target, reduction="none").flatten(2).mean(2)
    probability = masks.sigmoid().flatten(2)
    overlap = (probability * target.flatten(2)).sum(2)
    dice = 1 - (2 * overlap + 10) / (probability.sum(2) + area + 10)
    each = 2 * cross + dice
    chosen = torch.where(ambiguous, each.amin(1) + 0.2 * each.mean(1), each.mean(1))
    with torch.no_grad():
        hit, truth = masks > 0, target > 0.5
        iou = (hit & truth).flatten(2).sum(2) / (hit | truth).flatten(2).sum(2).clamp_min(1)
    score = F.mse_loss(out.iou.float(), iou)
    return chosen.mean() + score, {"mask": chosen.mean().detach(), "score": score.detach()}


class PromptLoop(TimedLoop[PromptDecoder]):
    """Trains a decoder; `start` is a bundled file to begin from."""

    name = "prompt"

    def __init__(
        self,
        dense: StreetNet,
        train: Split,
        val: Split | None,
        out: Path,
        budget: Budget = PROMPT_BUDGET,
        recipe: PromptRecipe | None = None,
        resume: bool = False,
        start: Path | None = None,
    ) -> None:
        device = train.photos.device
        self.recipe, self.val, self.progress = recipe or PromptRecipe().on(device), val, 0.0
        self.sampler = Sampler(train)
        self.dense = dense.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
        decoder = PromptDecoder().to(device).to(memory_format=torch.channels_last)
        self.random = np.random.default_rng(torch.initial_seed())
        if start is not None:
            embedding, _, users = self._draw()
            unfold(decoder, bundled_half(start, "decoder"), lambda: decoder(embedding, stack_prompts(users).to(device)))
        super().__init__(decoder, out, budget, resume)
        self.random, self.talk = np.random.default_rng((torch.initial_seed(), self.steps)).spawn(2)
        self.batches = Ahead(self._draw, device)

    def _draw(self) -> Drawn:
        """Augmented photos as the frozen network sees them, and `objects` users of each."""
        recipe, full = self.recipe, self.progress >= self.recipe.full_from
        users: list[Interaction] = []
        while not users:
            photos = recipe.full_photos if full else recipe.photos
            batch = self.sampler.batch(photos, recipe.full if full else recipe.crops)
            users = draw_interactions(batch, recipe.objects, self.random, recipe.amend)
        device = batch.pixels.device
        owners = torch.tensor([user.owner for user in users[:: recipe.objects]], dtype=torch.long)
        masks = [(user.wanted, user.wanted if user.later is None else user.later) for user in users]
        wanted = torch.from_numpy(np.stack([np.stack(pair) for pair in masks])).to(device).float()
        embedding = embed(self.dense, batch.pixels[owners.to(device)])
        return Drawn(embedding, F.avg_pool2d(wanted, STRIDE // 2), users)

    def losses(self, progress: float) -> dict[str, Tensor]:
        """One batch of users: their first prompt and a later correction, both backwards."""
        self.progress, recipe = progress, self.recipe
        embedding, wanted, users = self.batches.next()
        rounds = 2 if self.talk.random() >= recipe.long_talk else int(self.talk.integers(3, 6))
        parts: dict[str, Tensor] = {}
        for index in range(rounds):
            learn = index in (0, rounds - 1)
            prompts = stack_prompts(users).to(self.device)
            with torch.set_grad_enabled(learn), mixed(self.device):
                out: PromptOutput = self.net(embedding, prompts)
            if learn:
                ambiguous = torch.tensor([len(u.points) == 1 and u.box is None for u in users], device=self.device)
                total, parts_now = mask_loss(out, wanted[:, min(index, 1), None], ambiguous)
                torch.autograd.backward(total)
                parts |= {f"{name}_{'first' if index == 0 else 'later'}": value for name, value in parts_now.items()}
            if index < rounds - 1:
                self._correct(users, out)
        return parts

    def _correct(self, users: list[Interaction], out: PromptOutput) -> None:
        forget = self.talk.random(len(users)) < self.recipe.forget

        def corrected(user: Interaction, mask: Mask, logits: npt.NDArray[np.float32], forgotten: bool) -> None:
            user.change_mind()
            user.correct(mask)
            user.logits = None if forgotten else logits

        masks, logits, _ = zip(*answer(out, users), strict=True)
        in_parallel(corrected, users, masks, logits, forget)

    def measure(self) -> dict[str, Any]:
        """Click scores of the average on every fourth photo of val."""
        return {} if self.val is None else {"val": validate_prompts(self.dense, self.average.net, self.val, every=4)}

    def close(self) -> None:
        """Draw no more."""
        self.batches.close()
