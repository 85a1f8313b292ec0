"""Promptable figures: IoU of the best-rated mask after one and more simulated clicks on a split's large components."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from shared.models.networks.street import CLASSES, StreetNet, normalise
from shared.models.networks.street_prompt import PromptDecoder, PromptOutput
from shared.models.training.data import Split, innermost
from shared.models.training.precision import mixed
from shared.models.training.prompts import Interaction, Mask, in_parallel

MIN_AREA = 1000
"""Pixels of the components that the published click figures are about."""


@torch.no_grad()
def embed(dense: StreetNet, pixels: Tensor, half: bool = True) -> Tensor:
    """Embedding [n,80,h/4,w/4] of pixels float [n,3,h,w] in 0-255, rounded to float16 as the cache rounds it."""
    network_input = normalise(pixels).contiguous(memory_format=torch.channels_last)
    with mixed(pixels.device, half):
        embedding = dense.embed(network_input)
    rounded: Tensor = embedding.half().float()
    return rounded


def stack_prompts(users: list[Interaction]) -> Tensor:
    """The prompt maps float32 [n,6,h,w] of users with masks of one size."""
    return torch.from_numpy(np.stack(in_parallel(Interaction.render, users)))


@torch.no_grad()
def answer(out: PromptOutput, users: list[Interaction]) -> list[tuple[Mask, npt.NDArray[np.float32], float]]:
    """For each user the best-rated candidate: its mask at full size, its logits (float16-rounded), its predicted
    IoU.
    """
    best = out.iou.float().argmax(1)
    rows = torch.arange(len(best), device=best.device)
    chosen = out.masks[rows, best].float().cpu().numpy()
    logits = torch.from_numpy(np.concatenate(in_parallel(Interaction.clicked, users, chosen))).to(best.device)
    full = F.interpolate(logits[:, None], size=users[0].wanted.shape, mode="bilinear", align_corners=False)[:, 0] > 0
    masks, low = full.cpu().numpy(), logits.half().float().cpu().numpy()
    ratings = out.iou[rows, best].float().tolist()
    return list(zip(masks, low, ratings, strict=True))


@torch.no_grad()
def validate_prompts(
    dense: StreetNet,
    decoder: PromptDecoder,
    split: Split,
    every: int = 1,
    clicks: tuple[int, ...] = (1, 3),
    min_area: int = MIN_AREA,
    half: bool = True,
) -> dict[str, Any]:
    """Mean IoU over components of `min_area` pixels and more on every `every`-th photo, and by class after one click.

    The first click is the component's innermost point; each later one is the innermost point of the larger error.
    """
    found: dict[int, list[float]] = defaultdict(list)
    by_class: dict[str, list[float]] = defaultdict(list)
    rating_error: list[float] = []
    table = split.components
    for image in range(0, len(split.photos), every):
        rows = torch.nonzero((table.image == image) & (table.area >= min_area)).flatten().tolist()
        for row, count, iou, rating in _clicked(dense, decoder, split, rows, max(clicks), half) if rows else ():
            found[count].append(iou)
            if count == 1:
                by_class[CLASSES[int(table.label[row])]].append(iou)
                rating_error.append(abs(rating - iou))
    result: dict[str, Any] = {f"iou_{count}": float(np.mean(found[count])) for count in clicks if found[count]}
    result["objects"] = len(found[1])
    result["by_class"] = {name: float(np.mean(values)) for name, values in by_class.items()}
    result["rating_error"] = float(np.mean(rating_error)) if rating_error else float("nan")
    return result


def _clicked(
    dense: StreetNet, decoder: PromptDecoder, split: Split, rows: list[int], clicks: int, half: bool
) -> Iterator[tuple[int, int, float, float]]:
    """Users of one image's components `rows` click so often: (row, clicks so far, IoU, the IoU that was predicted)."""
    image = int(split.components.image[rows[0]])
    numbers = split.numbers[image].cpu().numpy()
    users = [Interaction(numbers == int(split.components.number[row]), 0) for row in rows]
    for user in users:
        user.click(innermost(user.wanted), 1)
    embedding = embed(dense, split.photos[image : image + 1].float(), half)
    for count in range(1, clicks + 1):
        with mixed(embedding.device, half):
            out: PromptOutput = decoder(embedding, stack_prompts(users).to(embedding.device))
        for row, user, (mask, logits, rating) in zip(rows, users, answer(out, users), strict=True):
            iou = float((mask & user.wanted).sum() / max(1, (mask | user.wanted).sum()))
            yield row, count, iou, rating
            user.correct(mask)
            user.logits = logits
