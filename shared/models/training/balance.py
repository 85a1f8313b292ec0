"""Class offsets that undo what rare-class losses overdo: logits of the training photos in, one number a class out.

Class weights, hard-example mining and Lovasz push a network towards rare classes further than the IoU wants. The
offsets are found on the training split only, so that the validation split stays a fair judge of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared.models.networks.street import StreetNet
from shared.models.training.data import VOID, Split
from shared.models.training.validate import confusion, predict_logits, scores

STEPS = (1.0, 0.5, 0.25)
"""How far an offset is moved at a time, in logits."""


@torch.no_grad()
def sampled_logits(net: nn.Module, split: Split, every: int, stride: int) -> tuple[Tensor, Tensor]:
    """Logits f32 [m,11] and labels int64 [m] at every `stride`-th row and column of every `every`-th photo, void left
    out.
    """
    logits, labels = [], []
    for image in range(0, len(split.photos), every):
        found = predict_logits(net, split.photos[image : image + 1])
        first = image % stride
        logits.append(found[0, :, first::stride, first::stride].flatten(1).T.cpu())
        labels.append(split.labels[image, first::stride, first::stride].flatten().long().cpu())
    joined = torch.cat(labels)
    return torch.cat(logits)[joined != VOID], joined[joined != VOID]


def best_offsets(logits: Tensor, labels: Tensor) -> Tensor:
    """Offsets f32 [11] with the highest mIoU of `logits` [m,11] on `labels` [m], by coordinate ascent from zero."""
    offsets = torch.zeros(logits.shape[1])

    def miou(candidate: Tensor) -> float:
        return scores(confusion((logits + candidate).argmax(1), labels)).miou

    best = miou(offsets)
    for step in STEPS:
        for label in [*range(len(offsets))] * 2:
            for move in (-step, step):
                candidate = offsets.clone()
                candidate[label] += move
                if (found := miou(candidate)) > best:
                    best, offsets = found, candidate
    return offsets - offsets.mean()


@torch.no_grad()
def balance(net: StreetNet, split: Split, every: int = 3, stride: int = 5) -> list[float]:
    """Add the offsets that suit `split` to the semantic logits of `net`, in place, by its last bias; return them."""
    offsets = best_offsets(*sampled_logits(net, split, every, stride))
    net.heads.shift(offsets)
    return [round(float(offset), 4) for offset in offsets]
