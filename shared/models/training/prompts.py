"""Simulated users of the promptable task: clicks, boxes and earlier masks on connected components of every class.

After SAM (Kirillov et al. 2023): one click or a jittered box first, then clicks where the answer is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from shared.models.networks.street import STRIDE
from shared.models.postprocess.street_prompts import Box, clicked_pieces, corrected, render_prompts
from shared.models.training.amend import amended
from shared.models.training.augment import Batch
from shared.models.training.data import innermost

Mask = npt.NDArray[np.bool_]
Answer = TypeVar("Answer")

LARGE = 600
"""Pixels of the components that half of the users want."""


@dataclass
class Interaction:
    """One simulated user: the mask wanted (bool h x w, network pixels), what was said so far, the logits answered
    last.
    """

    wanted: Mask
    owner: int
    points: list[tuple[float, float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    box: Box | None = None
    logits: npt.NDArray[np.float32] | None = None
    later: Mask | None = None
    """What turns out to be wanted once the first answer is seen, if something else."""

    def change_mind(self) -> None:
        """From now on want `later`."""
        if self.later is not None:
            self.wanted = self.later

    def render(self) -> npt.NDArray[np.float32]:
        """The prompt maps of what was said so far."""
        height, width = self.wanted.shape
        points = np.array(self.points, np.float32).reshape(-1, 2)
        size = (-(-height // STRIDE), -(-width // STRIDE))
        return render_prompts(points, np.array(self.labels, np.int32), self.box, self.logits, *size, 1.0)

    def clicked(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """An answer's logits [h,w] as the service would give them, [1,h,w]."""
        points = np.array(self.points, np.float32).reshape(-1, 2)
        labels = np.array(self.labels, np.int32)
        return clicked_pieces(corrected(logits[None], self.logits, points, labels), points, labels, self.box)

    def click(self, at: tuple[int, int], label: int) -> None:
        """Add a click on pixel (row, column)."""
        self.points.append((at[1] + 0.5, at[0] + 0.5))
        self.labels.append(label)

    def correct(self, answer: Mask) -> None:
        """Click the innermost pixel of the larger error: missed (positive) or too much (negative)."""
        missed, extra = self.wanted & ~answer, answer & ~self.wanted
        depths = [_depth(missed), _depth(extra)]
        if max(depths) > 0:
            which = int(depths[1] > depths[0])
            self.click(innermost((missed, extra)[which]), 1 - which)


def _depth(mask: Mask) -> float:
    return float(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3).max()) if mask.any() else 0.0


def largest_piece(mask: Mask) -> Mask:
    """The largest 8-connected piece of a mask."""
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    piece: Mask = numbers == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return piece


def jitter_box(mask: Mask, random: np.random.Generator, amount: float = 0.08) -> Box:
    """The mask's tight box, each side moved by up to `amount` of the box's size."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x0, y0, x1, y1 = float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
    dx, dy = (x1 - x0) * amount, (y1 - y0) * amount
    move = random.uniform(-1, 1, 4) * (dx, dy, dx, dy)
    return x0 + move[0], y0 + move[1], max(x0 + move[0] + 1, x1 + move[2]), max(y0 + move[1] + 1, y1 + move[3])


def draw_interactions(batch: Batch, objects: int, random: np.random.Generator, amend: float = 0.0) -> list[Interaction]:
    """`objects` components a photo, half by size and half by class, each with its first prompt; `amend` of the
    large ones are later wanted otherwise.

    A photo with fewer gives some twice (with other prompts); one with none gives none.
    """
    labels, numbers = batch.labels.cpu().numpy(), batch.numbers.cpu().numpy()
    owners, chosen = [], []
    for owner in range(len(labels)):
        counts = np.bincount((numbers[owner].astype(np.int32) * 16 + labels[owner].astype(np.int32)).ravel())
        keys = np.flatnonzero(counts >= 80)
        keys = keys[keys >= 16]
        if not len(keys):
            continue
        classes = keys % 16
        large = counts[keys] >= LARGE
        even = 1.0 / np.bincount(classes)[classes]
        weights = even / even.sum() + (large / large.sum() if large.any() else 0)
        weights = weights / weights.sum()
        whole = len(keys) >= objects and np.count_nonzero(weights) >= objects
        owners += [owner] * objects
        chosen += random.choice(keys, objects, replace=not whole, p=weights).tolist()

    def begin(owner: int, key: int, own: np.random.Generator) -> Interaction:
        mask = largest_piece((numbers[owner] == key // 16) & (labels[owner] == key % 16))
        user = _first_prompt(Interaction(mask, owner), own)
        if own.random() < amend and np.count_nonzero(mask) >= LARGE:
            user.later = amended(mask, own, user.points)
        return user

    return in_parallel(begin, owners, chosen, random.spawn(len(owners)))


def in_parallel(function: Callable[..., Answer], *arguments: Iterable[Any]) -> list[Answer]:
    """`function` of each tuple of arguments, in order, on as many threads as there are cores: OpenCV and numpy compute
    beside one another.
    """
    return list(_threads().map(function, *arguments))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), thread_name_prefix="users")


def cores() -> int:
    """Those that this process may use, where the system says so (Linux does), else all of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _first_prompt(interaction: Interaction, random: np.random.Generator) -> Interaction:
    """A box (15 %), a box and a click (15 %), or a click: half the clicks innermost, half anywhere inside."""
    kind = random.random()
    if kind < 0.3:
        interaction.box = jitter_box(interaction.wanted, random)
    if kind >= 0.15:
        if random.random() < 0.5:
            interaction.click(innermost(interaction.wanted), 1)
        else:
            rows, columns = np.nonzero(interaction.wanted)
            pick = int(random.integers(len(rows)))
            interaction.click((int(rows[pick]), int(columns[pick])), 1)
    return interaction
