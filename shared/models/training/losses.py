"""Losses of the dense stage: weighted OHEM cross entropy and Lovasz for semantic, focal centres and L1 offsets for
instances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from shared.models.networks.street import OFFSET_UNIT, STRIDE, THINGS, DenseOutput
from shared.models.training.data import MIN_INSTANCE, VOID


class InstanceTargets(NamedTuple):
    """At 1/4: Gaussian peaks [n,3,h,w] in 0-1, offsets (dy, dx) in pixels [n,2,h,w], and where they count bool
    [n,h,w].
    """

    centres: Tensor
    offsets: Tensor
    inside: Tensor


@dataclass(frozen=True)
class Terms:
    """What a step of the dense stage weighs: Lovasz's part (0 leaves it out), the share of pixels that mining keeps at
    least (1: all of them), and a teacher's logits [n,11,h/2,w/2] with their part.
    """

    lovasz: float = 0.0
    keep: float = 0.3
    teacher: Tensor | None = None
    distil: float = 2.0


def ohem_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor, keep: float = 0.3, easy: float = 0.8) -> Tensor:
    """Class-weighted cross entropy over pixels with probability under `easy`, at least the hardest `keep` of them.

    Online hard example mining (Shrivastava et al. 2016); logits f32 [n,11,h,w], labels int64 [n,h,w], void ignored.
    """
    loss = F.cross_entropy(logits, labels, ignore_index=VOID, reduction="none").flatten()
    flat = labels.flatten()
    with torch.no_grad():
        hard = loss.new_tensor(-math.log(easy))
        some = torch.where(flat != VOID, loss, torch.nan)[:: max(1, loss.numel() // 20_000)]
        threshold = torch.minimum(hard, torch.nanquantile(some, 1 - keep).nan_to_num(nan=math.inf))
        pixel_weights = torch.cat([weights, weights.new_zeros(1)])[flat] * (loss >= threshold)
    return (loss * pixel_weights).sum() / pixel_weights.sum().clamp_min(1.0)


def lovasz_softmax(logits: Tensor, labels: Tensor, pixels: int = 40_000) -> Tensor:
    """Lovasz extension of the Jaccard loss (Berman et al. 2018) over the classes present, on a random draw of
    pixels; void ones among them cost nothing.
    """
    flat = labels.flatten()
    chosen = torch.randint(flat.numel(), (pixels,), device=flat.device)
    scores = logits.permute(0, 2, 3, 1).reshape(-1, logits.shape[1])[chosen].softmax(1)
    target = flat[chosen]
    truth = (torch.arange(logits.shape[1], device=flat.device)[:, None] == target).float()
    errors, order = ((truth - scores.T).abs() * (target != VOID)).sort(descending=True)
    ordered = truth.gather(1, order)
    total = ordered.sum(1, keepdim=True)
    union = total + (1 - ordered).cumsum(1)
    jaccard = 1 - (total - ordered.cumsum(1)) / union.clamp_min(1)
    losses = (errors * torch.diff(jaccard, prepend=jaccard.new_zeros(len(jaccard), 1))).sum(1)
    present = (total[:, 0] > 0).float()
    return (losses * present).sum() / present.sum().clamp_min(1)


def instance_targets(labels: Tensor, numbers: Tensor) -> InstanceTargets:
    """Targets of the centre and offset heads from labels and component numbers int64 [n,h,w] of a batch."""
    n, height, width = labels.shape
    h4, w4 = -(-height // STRIDE), -(-width // STRIDE)
    device = labels.device
    peaks = torch.zeros(n * len(THINGS), h4 * w4, device=device)
    offsets = torch.zeros(n, 2, h4, w4, device=device)
    inside = torch.zeros(n, h4, w4, dtype=torch.bool, device=device)
    thing = (labels >= THINGS[0]) & (labels <= THINGS[-1]) & (numbers > 0)
    sample, row, column = torch.nonzero(thing, as_tuple=True)
    if len(sample):
        key = (sample << 32) | (numbers[thing] << 8) | (labels[thing] - THINGS[0])
        unique, inverse, area = torch.unique(key, return_inverse=True, return_counts=True)
        centre_y = torch.zeros(len(unique), device=device).index_add_(0, inverse, row.float()) / area
        centre_x = torch.zeros(len(unique), device=device).index_add_(0, inverse, column.float()) / area
        keep = area >= MIN_INSTANCE // 2
        peaks = _draw_peaks(peaks, unique[keep], centre_y[keep], centre_x[keep], area[keep], (h4, w4))
        index = torch.full((n, height, width), -1, dtype=torch.long, device=device)
        index[thing] = torch.where(keep[inverse], inverse, -1)
        cells = F.pad(index, (0, w4 * STRIDE - width, 0, h4 * STRIDE - height), value=-1)[:, 2::STRIDE, 2::STRIDE]
        inside = cells >= 0
        at = cells.clamp_min(0)
        grid_y = (torch.arange(h4, device=device) * STRIDE + 1.5).view(1, -1, 1)
        grid_x = (torch.arange(w4, device=device) * STRIDE + 1.5).view(1, 1, -1)
        offsets = torch.stack([centre_y[at] - grid_y, centre_x[at] - grid_x], 1)
    return InstanceTargets(peaks.view(n, len(THINGS), h4, w4), offsets, inside)


def _draw_peaks(peaks: Tensor, keys: Tensor, y: Tensor, x: Tensor, area: Tensor, size: tuple[int, int]) -> Tensor:
    """Gaussians of a width that grows with the instance, the larger value winning where two meet."""
    h4, w4 = size
    plane = (keys >> 32) * len(THINGS) + (keys & 255)
    sigma = (0.03 * area.float().sqrt()).clamp(0.8, 4.0)[:, None]
    cell_y = (y / STRIDE).floor().clamp(0, h4 - 1)[:, None]
    cell_x = (x / STRIDE).floor().clamp(0, w4 - 1)[:, None]
    along = torch.exp(-((torch.arange(h4, device=y.device) - cell_y) ** 2) / (2 * sigma**2))
    across = torch.exp(-((torch.arange(w4, device=y.device) - cell_x) ** 2) / (2 * sigma**2))
    drawn = (along[:, :, None] * across[:, None, :]).flatten(1)
    return peaks.scatter_reduce(0, plane[:, None].expand_as(drawn), drawn, "amax")


def centre_focal(logits: Tensor, peaks: Tensor) -> Tensor:
    """Penalty-reduced focal loss on heatmaps (CornerNet, Law and Deng 2018), per instance."""
    score = logits.float().sigmoid().clamp(1e-4, 1 - 1e-4)
    positive = peaks >= 0.999
    loss_positive = -((1 - score) ** 2) * score.log() * positive
    loss_negative = -(score**2) * (1 - score).log() * (1 - peaks) ** 4 * ~positive
    return (loss_positive.sum() + loss_negative.sum()) / positive.sum().clamp_min(1)


def offset_l1(offsets: Tensor, targets: InstanceTargets) -> Tensor:
    """Smooth L1 in units of 16 pixels over the cells of instances."""
    difference = F.smooth_l1_loss(offsets.float() / OFFSET_UNIT, targets.offsets / OFFSET_UNIT, reduction="none").sum(1)
    return (difference * targets.inside).sum() / targets.inside.sum().clamp_min(1)


def distilled(logits: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """Mean divergence of softened probabilities from a teacher's (Hinton et al. 2015), void pixels included; logits
    [n,11,h,w] of both.
    """
    wanted = (teacher.float() / temperature).log_softmax(1)
    found = (logits.float() / temperature).log_softmax(1)
    return (wanted.exp() * (wanted - found)).sum(1).mean() * temperature**2


def dense_loss(
    out: DenseOutput, auxiliary: Tensor, labels: Tensor, targets: InstanceTargets, weights: Tensor, terms: Terms
) -> tuple[Tensor, dict[str, Tensor]]:
    """The dense stage's sum and its parts, detached."""
    logits = F.interpolate(out.logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
    mined = ohem_cross_entropy(logits, labels, weights, terms.keep)
    parts = {"semantic": mined}
    small = labels[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    side = F.interpolate(auxiliary.float(), size=small.shape[-2:], mode="bilinear", align_corners=False)
    parts["auxiliary"] = 0.3 * F.cross_entropy(side, small, weight=weights, ignore_index=VOID)
    if terms.lovasz > 0:
        parts["lovasz"] = terms.lovasz * lovasz_softmax(logits, labels, max(40_000, 2_500 * len(labels)))
    parts["centres"] = 0.1 * centre_focal(out.centres, targets.centres)
    parts["offsets"] = 0.2 * offset_l1(out.offsets, targets)
    if terms.teacher is not None:
        parts["teacher"] = terms.distil * distilled(out.logits, terms.teacher)
    total = torch.stack(list(parts.values())).sum()
    return total, {name: value.detach() for name, value in parts.items()}
