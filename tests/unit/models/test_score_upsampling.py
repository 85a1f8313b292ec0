"""Labels of a large image from scores found where the network saw it: those of resizing the scores of every class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from shared.models.postprocess import score_upsampling
from shared.models.postprocess.semantic import label_map
from shared.models.postprocess.upsample import TILE_VALUES, Grid, axes, values_at

SIZES = [((12, 17), (31, 55)), ((12, 17), (120, 170)), ((9, 9), (9, 40)), ((7, 5), (100, 4)), ((1, 1), (8, 9))]


def smooth(channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    coarse = torch.randn(1, channels, 4, 4, generator=torch.Generator().manual_seed(seed))
    return 4 * functional.interpolate(coarse, size=(height, width), mode="bicubic")[0]


def slow(scores: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """All classes' scores [c,h,w] at every pixel, then the largest."""
    best, labels = functional.interpolate(scores[None], size=size, mode="bilinear")[0].max(dim=0)
    return labels, best


@pytest.mark.parametrize(("seen", "size"), SIZES, ids=str)
@pytest.mark.parametrize("cells_at_once", [2**19, 64])
def test_equal_to_resizing_every_score(
    seen: tuple[int, int], size: tuple[int, int], cells_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TILE_VALUES, "cpu", cells_at_once)
    scores = smooth(6, *seen).softmax(dim=0)
    best, labels = scores.max(dim=0)
    found, certain = score_upsampling.enlarged(labels, best, lambda y, x: scores[:, y, x].T, size)
    expected, sure = slow(scores, size)
    assert np.mean((found == expected).numpy()) > 0.999
    assert (certain.float() - sure).abs().max() < 2e-3


@pytest.mark.parametrize("mirrored", [False, True])
def test_single_positions_have_the_values_of_tiles(mirrored: bool) -> None:
    grid, size = Grid(smooth(5, 10, 14), (0.9, 0.7), mirrored), (33, 47)
    down, across = axes(grid, size)
    cells = grid.logits.permute(1, 2, 0)
    band = torch.lerp(cells[down.low], cells[down.high], down.weight[:, None, None])
    whole = torch.lerp(band[:, across.low], band[:, across.high], across.weight[None, :, None])
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    torch.testing.assert_close(values_at(grid, size)(y.flatten(), x.flatten()).view(*size, 5), whole)


def sigmoid_times(weights: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda tile: tile.sigmoid() @ weights


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("classes", [5, 300])
def test_an_image_larger_than_what_was_seen_of_it(views: int, classes: int) -> None:
    seen, size = (40, 52), (200, 260)
    weights = torch.rand(8, classes, generator=torch.Generator().manual_seed(1)) / 8
    grids = [Grid(smooth(8, 20, 26, seed), mirrored=seed == 1) for seed in range(views)]
    output = label_map(grids, size, classes, scores=[sigmoid_times(weights)] * views, seen=seen)
    each = [functional.interpolate(grid.logits[None], size=seen, mode="bilinear")[0] for grid in grids]
    turned = [values.flip(-1) if grid.mirrored else values for grid, values in zip(grids, each, strict=True)]
    scores = sum((values.sigmoid().permute(1, 2, 0) @ weights for values in turned), torch.zeros(())) / views
    expected, sure = slow(scores.permute(2, 0, 1), size)
    assert output.labels.dtype == (np.uint8 if classes < 256 else np.uint16)
    assert np.mean(output.labels == expected.numpy()) > 0.999
    assert np.abs(output.confidence.astype(np.float32) - sure.numpy()).max() < 2e-3
    if classes < 256:
        assert output.sampled is not None
        some = output.sampled()
        assert some.labels.shape == some.confidence.shape == seen


def test_an_image_that_is_not_larger_is_scored_at_its_own_pixels() -> None:
    weights = torch.rand(4, 3, generator=torch.Generator().manual_seed(2)) / 4
    grid = Grid(smooth(4, 10, 10))
    own = label_map([grid], (30, 30), 3, scores=[sigmoid_times(weights)])
    same = label_map([grid], (30, 30), 3, scores=[sigmoid_times(weights)], seen=(30, 30))
    np.testing.assert_array_equal(own.labels, same.labels)
    np.testing.assert_array_equal(own.confidence, same.confidence)
    assert same.sampled is None
