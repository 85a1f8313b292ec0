"""What each step of the recipe gave: a training's checkpoints in, mIoU on val with and without each step out.

Measured on the validation split, in float32, from the same run: only what can be taken away after training is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared.models.adapters.street_frame import Bucket
from shared.models.networks.street import DenseOutput, StreetNet
from shared.models.training.data import Split
from shared.models.training.loop import load_checkpoint
from shared.models.training.served import AsServed
from shared.models.training.validate import validate_semantic


class Mirrored(nn.Module):
    """A network whose class logits are the logarithm of its mean probabilities over an image and its mirror image."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> DenseOutput:
        """Normalised RGB [n,3,h,w] to raw heads; all but the class logits are the image's own."""
        plain: DenseOutput = self.net(x)
        mirrored: DenseOutput = self.net(x.flip(3))
        mean = (plain.logits.float().softmax(1) + mirrored.logits.float().softmax(1).flip(3)) / 2
        return plain._replace(logits=mean.clamp_min(1e-9).log())


class Coarse(nn.Module):
    """A network whose labels are those at 1/4, before the detail head refines them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> DenseOutput:
        """Normalised RGB [n,3,h,w] to raw heads; `logits` [n,11,h/4,w/4]."""
        out: DenseOutput = self.net(x)
        return out._replace(logits=out.coarse)


def tricks(checkpoints: Path, val: Split, buckets: Sequence[Bucket]) -> list[dict[str, Any]]:
    """Rows of what was added, one upon the other (but for the fourth, which takes something away from the third), with
    the mIoU and pixel accuracy (0-1) that it reached. `buckets` are those in which it is served.
    """
    state, final = load_checkpoint(checkpoints / "dense.pt"), load_checkpoint(checkpoints / "dense_final.pt")
    stages: list[tuple[str, dict[str, Tensor]]] = [
        ("last step's weights", state["net"]),
        ("moving average of the weights", state["average"]),
        ("class offsets and temperature", final["net"]),
    ]
    rows = []
    for what, weights in stages:
        net = StreetNet()
        net.load_state_dict(weights)
        rows.append(_row(what, net.eval(), val))
    rows.append(_row("without the detail head: labels at 1/4", Coarse(net), val))
    rows.append(_row("shown in the buckets in which it is served", AsServed(net, buckets), val))
    rows.append(_row("mirror image averaged (tta)", AsServed(Mirrored(net), buckets), val))
    return rows


def learning_curve(checkpoints: Path) -> list[dict[str, Any]]:
    """Minutes, steps and the average's mIoU on val, as measured while the dense stage trained."""
    curve = load_checkpoint(checkpoints / "dense.pt")["curve"]
    return [
        {"minutes": row["minutes"], "steps": row["steps"], "miou": round(row["val"]["miou"], 4)}
        for row in curve
        if "val" in row
    ]


@torch.no_grad()
def _row(what: str, net: nn.Module, val: Split) -> dict[str, Any]:
    found = validate_semantic(net, val, half=False)
    return {"what": what, "miou": round(found.miou, 4), "pixel_accuracy": round(found.pixel_accuracy, 4)}
