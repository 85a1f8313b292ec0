"""Logits on a coarse grid in, the best class of every pixel and its softmax probability out, in one pass on a GPU.

Triton. Each pixel reads the four cells around it class by class and keeps the largest value and the running sum of the
softmax (Milakov and Gimelshein 2018): full-size logits exist nowhere. Imported only where the logits are on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from shared.models.postprocess.upsample import Axis

BLOCK = 256
"""Pixels of one program."""


def labels_on(logits: Tensor, down: Axis, across: Axis, temperature: float) -> tuple[Tensor, Tensor]:
    """Labels int32 and the probability of each float16, both HxW, of logits [c,h,w] sampled at `down` x `across`."""
    classes, _, width = logits.shape
    size = (len(down.weight), len(across.weight))
    labels = torch.empty(size, dtype=torch.int32, device=logits.device)
    confidence = torch.empty(size, dtype=torch.float16, device=logits.device)
    cells = logits.permute(1, 2, 0).contiguous().float()
    axes = [each.contiguous() for axis in (down, across) for each in (axis.low, axis.high, axis.weight)]
    grid = (triton.cdiv(size[0] * size[1], BLOCK),)
    with torch.cuda.device_of(logits):  # Triton launches on the thread's device, whatever it is given
        _kernel[grid](cells, *axes, labels, confidence, width, *size, 1 / temperature, classes=classes, BLOCK=BLOCK)
    return labels, confidence


def _best_class(  # type: ignore[no-untyped-def]  # Triton compiles annotations too, and knows none but its own
    cells,
    top,
    bottom,
    down,
    left,
    right,
    across,
    labels,
    confidence,
    width,
    out_height,
    out_width,
    sharpness,
    classes: tl.constexpr,
    BLOCK: tl.constexpr,
):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < out_height * out_width
    row, column = at // out_width, at % out_width
    y0, y1 = tl.load(top + row, inside, 0), tl.load(bottom + row, inside, 0)
    x0, x1 = tl.load(left + column, inside, 0), tl.load(right + column, inside, 0)
    wy, wx = tl.load(down + row, inside, 0.0), tl.load(across + column, inside, 0.0)
    best = tl.full((BLOCK,), float("-inf"), tl.float32)
    label = tl.zeros((BLOCK,), tl.int32)
    total = tl.zeros((BLOCK,), tl.float32)
    for index in range(classes):
        a = tl.load(cells + (y0 * width + x0) * classes + index, inside, 0.0)
        b = tl.load(cells + (y1 * width + x0) * classes + index, inside, 0.0)
        c = tl.load(cells + (y0 * width + x1) * classes + index, inside, 0.0)
        d = tl.load(cells + (y1 * width + x1) * classes + index, inside, 0.0)
        near, far = a + wy * (b - a), c + wy * (d - c)
        value = near + wx * (far - near)
        highest = tl.maximum(best, value)
        total = total * tl.exp((best - highest) * sharpness) + tl.exp((value - highest) * sharpness)
        label = tl.where(value > best, index, label)
        best = highest
    tl.store(labels + at, label, inside)
    tl.store(confidence + at, (1 / total).to(tl.float16), inside)


_kernel: Any = triton.jit(_best_class)
