"""Exponential moving average of a network's weights and buffers: what is validated and exported."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Net = TypeVar("Net", bound=nn.Module)


class Average(Generic[Net]):
    """Keeps `net`, a frozen copy whose floats follow the trained network with a decay that warms up to `decay`."""

    def __init__(self, model: Net, decay: float = 0.998) -> None:
        self.net: Net = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards `model` by one step."""
        self.steps += 1
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        mine, theirs, counts, counted = [], [], [], []
        for own, new in zip(self.net.state_dict().values(), model.state_dict().values(), strict=True):
            if own.is_floating_point():
                mine.append(own)
                theirs.append(new.detach())
            else:
                counts.append(own)
                counted.append(new)
        torch._foreach_lerp_(mine, theirs, weight)
        if counts:
            torch._foreach_copy_(counts, counted)
