"""Masks pasted inside their boxes are torchvision's full-size ones, to the pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from shared.models.postprocess.paste import paste

SIZE = (60, 90)


@pytest.mark.parametrize("seed", range(8))
def test_every_box_is_pasted_as_torchvision_pastes_it(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(2, 2, generator=generator).sort(dim=0).values * torch.tensor([SIZE[1], SIZE[0]])
    box = corners.flatten()
    mask = torch.rand(28, 28, generator=generator)
    expected = paste_masks_in_image(mask[None, None], box[None], SIZE)[0, 0] > 0.5
    x0, y0, x1, y1 = box.tolist()
    region = paste(mask, (x0, y0, x1, y1), SIZE, 0.5)
    assert region.size == SIZE
    assert np.array_equal(region.full(), expected.numpy())


@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 90.0, 60.0), (10.2, 10.7, 10.3, 10.9), (-5.0, -5.0, 3.0, 3.0), (88.0, 58.0, 95.0, 70.0)]
)
def test_boxes_at_the_border_and_tiny_ones(box: tuple[float, float, float, float]) -> None:
    mask = torch.full((28, 28), 0.9)
    expected = paste_masks_in_image(mask[None, None], torch.tensor([box]), SIZE)[0, 0] > 0.5
    assert np.array_equal(paste(mask, box, SIZE, 0.5).full(), expected.numpy())


def test_a_mask_that_is_nowhere_sure_is_empty() -> None:
    region = paste(torch.full((28, 28), 0.4), (10.0, 10.0, 30.0, 30.0), SIZE, 0.5)
    assert region.area == 0
    assert region.bits.size == 0
    outside = paste(torch.full((28, 28), 0.9), (200.0, 200.0, 210.0, 210.0), SIZE, 0.5)
    assert outside.bits.size == 0
