"""A wider `street` network, trained as the bundled one is and never served: its opinion of every pixel, void and
pasted ones included, is what the bundled one learns beside the labels.
"""

from __future__ import annotations

from pathlib import Path

import torch

from shared.models.networks.street import StreetConfig, StreetNet
from shared.models.training.dense import DenseLoop
from shared.models.training.loop import Budget, load_checkpoint

TEACHER_BUDGET = Budget(minutes=7.0, rate=3e-3, measure_every=2.0, average=0.999, weight_decay=0.05)

TEACHER = StreetConfig(
    stem=48, widths=(80, 160, 256, 384), depths=(3, 4, 8, 5), pyramid=(64, 128, 192), context=256, detail=32
)
"""Four times the bundled network's parameters."""


class TeacherLoop(DenseLoop):
    """The dense stage for a network of `TEACHER`'s widths."""

    name = "teacher"


def load_teacher(out: Path, device: torch.device) -> StreetNet:
    """The average that `TeacherLoop` left in `out`, frozen; raises FileNotFoundError when it never ran there."""
    net = StreetNet(TEACHER).to(device).to(memory_format=torch.channels_last)
    net.load_state_dict(load_checkpoint(out / f"{TeacherLoop.name}.pt", device)["average"])
    return net.eval().requires_grad_(False)
