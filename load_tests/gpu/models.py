"""The networks of the bench, as cards of their own: built-in ones with random weights, since no hub need be in reach.

Each card has the one bucket that the bench's picture falls into, so that every pass is a recorded one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from shared.catalog.card import Card, FileWeights, RandomWeights
from shared.catalog.catalog import find_card
from shared.models.weights import TRANSFORMERS, load_network
from shared.types import Role, Task

WIDTH, HEIGHT = 640, 480
"""Of the pictures that are sent."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A network and how it is served. `max_batch`: largest that is tried by itself; half of it is served, since two
    batches are under way. `replicas`: processes that share the GPU; the lighter the network, the more of them it takes
    to keep the GPU at work."""

    card: str
    max_batch: int
    replicas: int
    task: Task = "semantic"
    preprocess: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the bench's card."""
        return f"{self.card}-bench"

    def served_batch(self, limit: int) -> int:
        """Largest batch behind the platform."""
        return max(1, min(self.max_batch // 2, limit))

    @property
    def role(self) -> Role:
        """What of the network is measured by itself: of a promptable one the encoder."""
        return "encoder" if self.task == "promptable" else "semantic"


SUBJECTS = (
    Subject("segformer-b0-ade", 64, 5, preprocess={"buckets": ((512, 672),)}),
    Subject("segformer-b5-ade", 32, 2, preprocess={"buckets": ((640, 864),)}),
    Subject("mask2former-swin-tiny-coco-panoptic", 16, 2, preprocess={"buckets": ((800, 1088),)}),
    Subject("eomt-large-ade-semantic", 32, 2),
    Subject("sam2.1-hiera-small", 16, 3, "promptable"),
    Subject("street", 64, 5, preprocess={"dense_buckets": ((504, 672),)}),
)


def write_card(subject: Subject, folder: Path, tiny: bool = False) -> Card:
    """The subject's card in `folder`, with its weights beside it unless the project bundles them. `tiny`: the small
    network of the card's tests instead."""
    folder.mkdir(parents=True, exist_ok=True)
    card = find_card(subject.card)
    if tiny and card.tiny:
        card = card.shrunk()
    elif subject.preprocess:
        preprocess = card.preprocess.model_copy(update=dict(subject.preprocess))
        card = card.model_copy(update={"preprocess": preprocess})
    card = card.model_copy(update={"name": subject.name, "tasks": (subject.task,), "default_for": ()})
    if not isinstance(find_card(subject.card).weights, FileWeights):
        path = folder / f"{subject.name}.safetensors"
        if not path.exists():
            lively(card.model_copy(update={"weights": RandomWeights()}), path)
        card = card.model_copy(update={"weights": FileWeights(path=str(path))})
    said = card.model_dump(mode="json", exclude={"figures", "checks", "training", "tiny"})
    (folder / f"{subject.name}.yaml").write_text(yaml.safe_dump(said, sort_keys=False), encoding="utf-8")
    return find_card(subject.name, (folder,))


def lively(card: Card, path: Path) -> None:
    """Write random weights under which signals neither die nor explode (He et al. 2015), as trained ones would not."""
    module = load_network(card, TRANSFORMERS).module
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5)
            elif name.endswith("bias"):
                nn.init.normal_(parameter, std=0.1)
        if isinstance(masked := getattr(module, "attn_mask_probs", None), Tensor):
            masked.zero_()  # EoMT's training ends without masks in its attention
    save_file({name: tensor.clone() for name, tensor in module.state_dict().items()}, path)
