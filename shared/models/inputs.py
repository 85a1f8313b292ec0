"""An image's pixels into the canvas that the network takes: resized, perhaps mirrored, padded; still uint8 RGB."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from shared.catalog.card import Interpolation, Preprocess
from shared.models.geometry import Placement
from shared.types import UInt8Array


def arrange(pixels: UInt8Array, placement: Placement, preprocess: Preprocess, mirrored: bool = False) -> UInt8Array:
    """HxWx3 uint8 to the canvas's size; padding is zero here and zeroed again after normalisation."""
    fitted = resized(pixels, placement.valid, preprocess.interpolation, preprocess.antialias)
    if mirrored:
        fitted = fitted[:, ::-1]
    if placement.valid == placement.canvas:
        return np.ascontiguousarray(fitted)
    canvas = np.zeros((*placement.canvas, 3), dtype=np.uint8)
    canvas[: placement.valid.height, : placement.valid.width] = fitted
    return canvas


def resized(
    pixels: UInt8Array, size: tuple[int, int], interpolation: Interpolation, antialias: bool = True
) -> UInt8Array:
    """HxWx3 uint8 at `size` (height, width), rounded to whole grey levels, as torchvision's and transformers' image
    processors do it."""
    if pixels.shape[:2] == size:
        return pixels
    # Strides that torch knows as channels last: it then resizes pixels as they lie, several times faster.
    source = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())[None].permute(0, 3, 1, 2)
    if interpolation == "area":
        averaged = functional.interpolate(source.float(), size=size, mode="area")
        scaled = averaged.round_().to(torch.uint8)
    else:
        scaled = functional.interpolate(source, size=size, mode=interpolation, antialias=antialias)
    result: UInt8Array = scaled[0].permute(1, 2, 0).numpy()
    return result
