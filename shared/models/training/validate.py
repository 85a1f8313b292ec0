"""Semantic figures of a network on a split: confusion matrix, IoU per class, pixel accuracy, and the best
temperature.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.models.networks.street import CLASSES, StreetNet, normalise
from shared.models.training.data import VOID, Split
from shared.models.training.precision import mixed


@dataclass(frozen=True)
class SemanticScores:
    """Fractions of one: mean IoU over the classes present, IoU by class name (nan when absent), pixel accuracy."""

    miou: float
    iou: dict[str, float]
    pixel_accuracy: float


def confusion(predicted: Tensor, labels: Tensor) -> Tensor:
    """Counts int64 [11,11], rows the truth, columns the prediction; void is left out."""
    valid = labels != VOID
    index = labels[valid].long() * VOID + predicted[valid].long()
    return torch.bincount(index, minlength=VOID * VOID).view(VOID, VOID)


def scores(matrix: Tensor) -> SemanticScores:
    """IoU and accuracy of a confusion matrix."""
    counts = matrix.double().cpu()
    hit = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - hit
    iou = torch.where(counts.sum(1) > 0, hit / union.clamp_min(1), torch.nan)
    by_class = dict(zip(CLASSES, iou.tolist(), strict=True))
    return SemanticScores(float(iou.nanmean()), by_class, float(hit.sum() / counts.sum().clamp_min(1)))


@torch.no_grad()
def predict_logits(net: nn.Module, photos: Tensor, half: bool = True) -> Tensor:
    """Semantic logits f32 [n,11,h,w] at full resolution of photos uint8 [n,3,h,w], computed in bf16 where
    the device does that, or (not `half`) in f32.
    """
    pixels = normalise(photos.float()).contiguous(memory_format=torch.channels_last)
    with mixed(photos.device, half):
        out = net(pixels)
    return F.interpolate(out.logits.float(), size=photos.shape[-2:], mode="bilinear", align_corners=False)


@torch.no_grad()
def validate_semantic(net: nn.Module, split: Split, batch: int = 4, half: bool = True) -> SemanticScores:
    """Scores of `net` on every photo of `split` at its full size."""
    matrix = torch.zeros(VOID, VOID, dtype=torch.long)
    for start in range(0, len(split.photos), batch):
        predicted = predict_logits(net, split.photos[start : start + batch], half).argmax(1)
        matrix += confusion(predicted, split.labels[start : start + batch]).cpu()
    return scores(matrix)


@torch.no_grad()
def best_temperature(net: nn.Module, split: Split, batch: int = 4, stride: int = 5) -> float:
    """The temperature in 0.3-3 that minimises the cross entropy on every `stride`-th pixel (Guo et al. 2017)."""
    candidates = torch.logspace(-0.5, 0.5, 41)
    totals = torch.zeros(len(candidates), dtype=torch.double)
    for start in range(0, len(split.photos), batch):
        logits = predict_logits(net, split.photos[start : start + batch])[..., ::stride, ::stride]
        labels = split.labels[start : start + batch, ::stride, ::stride].long()
        for i, temperature in enumerate(candidates.tolist()):
            totals[i] += F.cross_entropy(logits / temperature, labels, ignore_index=VOID, reduction="sum").cpu()
    return float(candidates[int(totals.argmin())])


def calibrate(net: StreetNet, split: Split) -> float:
    """Divide the semantic logits of `net` by the temperature that suits `split`, in place; return it."""
    temperature = best_temperature(net, split)
    net.heads.cool(temperature)
    return temperature
