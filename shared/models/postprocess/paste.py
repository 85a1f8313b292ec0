"""A detector's small mask inside its box to a region of the image; only the box's pixels are ever computed.

The geometry is torchvision's `paste_masks_in_image` (Mask R-CNN, He et al. 2017): one cell of zeros around the mask,
the box grown to match, whole pixels by truncation, bilinear, then the threshold.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from shared.types import BoolArray, Region

Box = tuple[float, float, float, float]


def paste(
    probabilities: Tensor, box: tuple[float, float, float, float], size: tuple[int, int], lowest: float
) -> Region:
    """The pixels of an image of `size` (H, W) where a square mask [m,m] of probabilities 0 to 1, stretched over `box`
    (xyxy pixels), is above `lowest`."""
    cells = int(probabilities.shape[-1])
    x0, y0, x1, y1 = _grown(box, (cells + 2) / cells)
    width, height = max(x1 - x0 + 1, 1), max(y1 - y0 + 1, 1)
    ringed = functional.pad(probabilities[None, None], (1, 1, 1, 1))
    values = functional.interpolate(ringed, size=(height, width), mode="bilinear", align_corners=False)[0, 0]
    top, left = max(y0, 0), max(x0, 0)
    bottom, right = min(y1 + 1, size[0]), min(x1 + 1, size[1])
    if bottom <= top or right <= left:
        return Region(size, 0, 0, np.zeros((0, 0), dtype=np.bool_))
    inside: BoolArray = (values[top - y0 : bottom - y0, left - x0 : right - x0] > lowest).numpy(force=True)
    return Region.from_mask(inside, left, top, size)


def _grown(box: Box, factor: float) -> tuple[int, int, int, int]:
    """The box `factor` times as large about its centre, truncated to whole pixels."""
    corners = torch.tensor(box, dtype=torch.float32).view(2, 2)
    centre, half = corners.mean(dim=0), (corners[1] - corners[0]) * 0.5 * factor
    x0, y0, x1, y1 = torch.cat([centre - half, centre + half]).to(torch.int64).tolist()
    return x0, y0, x1, y1
