"""Label maps: logits are upsampled before the largest is taken, as transformers does it for SegFormer, in tiles."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import SegformerImageProcessor

from shared.models.postprocess import semantic
from shared.models.postprocess.semantic import label_map
from shared.models.postprocess.upsample import Grid


def smooth(channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    coarse = torch.randn(1, channels, 5, 5, generator=torch.Generator().manual_seed(seed))
    return 3 * functional.interpolate(coarse, size=(height, width), mode="bicubic")[0]


@pytest.mark.parametrize("kernel", ["without torch", "tiles"])
@pytest.mark.parametrize("size", [(64, 96), (1, 1), (7, 513), (200, 133)])
def test_labels_and_confidence_are_transformers(
    size: tuple[int, int], kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel == "tiles":
        monkeypatch.setattr(semantic, "_plain", lambda grid: False)
    logits = smooth(150, 16, 24)
    output = label_map([Grid(logits)], size, 150)
    theirs = SegformerImageProcessor().post_process_semantic_segmentation(
        SimpleNamespace(logits=logits[None]), target_sizes=[size]
    )[0]
    upsampled = functional.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
    two_best = upsampled.topk(2, dim=0).values
    sure = ((two_best[0] - two_best[1]) > 1e-4).numpy()
    assert np.array_equal(output.labels[sure], theirs.numpy()[sure])
    assert np.mean(output.labels == theirs.numpy()) > 0.999
    expected = upsampled.softmax(dim=0).amax(dim=0)
    np.testing.assert_allclose(output.confidence.astype(np.float32), expected.numpy(), atol=1e-3)


def test_argmax_before_upsampling_would_be_ragged() -> None:
    """The trap: on the coarse grid a boundary is a staircase of whole cells."""
    down, across = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    tilt = down + 0.5 * across - 12
    logits = torch.stack([tilt, -tilt])
    fine = label_map([Grid(logits)], (160, 160), 2).labels
    early = np.asarray(logits.argmax(dim=0).numpy()).repeat(10, axis=0).repeat(10, axis=1)
    row, column = np.mgrid[0:160, 0:160]
    truth = ((row + 0.5) / 10 - 0.5 + 0.5 * ((column + 0.5) / 10 - 0.5) - 12 < 0).astype(int)
    inner = (slice(5, -5), slice(5, -5))
    assert np.mean(fine[inner] != truth[inner]) < 0.001
    assert np.mean(early[inner] != truth[inner]) > 0.01


def test_temperature_changes_the_confidence_and_no_label() -> None:
    logits = smooth(10, 8, 8)
    plain = label_map([Grid(logits)], (64, 64), 10)
    calm = label_map([Grid(logits)], (64, 64), 10, temperature=4.0)
    assert np.array_equal(plain.labels, calm.labels)
    assert calm.confidence.mean() < plain.confidence.mean()
    expected = (functional.interpolate(logits[None], size=(64, 64), mode="bilinear")[0] / 4).softmax(dim=0).amax(dim=0)
    np.testing.assert_allclose(calm.confidence.astype(np.float32), expected.numpy(), atol=1e-3)


def test_both_kernels_divide_by_the_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid(smooth(10, 8, 8))
    quick = label_map([grid], (64, 64), 10, temperature=2.5)
    monkeypatch.setattr(semantic, "_plain", lambda grid: False)
    tiled = label_map([grid], (64, 64), 10, temperature=2.5)
    assert np.mean(quick.labels == tiled.labels) > 0.999
    np.testing.assert_allclose(quick.confidence.astype(np.float32), tiled.confidence.astype(np.float32), atol=1e-3)


def test_several_views_average_their_probabilities() -> None:
    views = [Grid(smooth(6, 8, 8)), Grid(smooth(6, 12, 12, seed=1), mirrored=True), Grid(smooth(6, 4, 4, seed=2))]
    size = (50, 60)
    output = label_map(views, size, 6)
    total = torch.zeros(6, *size)
    for view in views:
        upsampled = functional.interpolate(view.logits[None], size=size, mode="bilinear", align_corners=False)[0]
        total += (upsampled.flip(-1) if view.mirrored else upsampled).softmax(dim=0) / len(views)
    assert np.mean(output.labels == total.argmax(dim=0).numpy()) > 0.999
    np.testing.assert_allclose(output.confidence.astype(np.float32), total.amax(dim=0).numpy(), atol=1e-3)


def test_scores_of_ones_own_replace_the_softmax() -> None:
    grid = Grid(smooth(4, 8, 8))
    weights = torch.rand(4, 3, generator=torch.Generator().manual_seed(3))
    output = label_map([grid], (30, 40), 3, scores=[lambda tile: tile.sigmoid() @ weights / 4])
    upsampled = functional.interpolate(grid.logits[None], size=(30, 40), mode="bilinear", align_corners=False)[0]
    expected = torch.einsum("qhw,qc->chw", upsampled.sigmoid(), weights) / 4
    assert np.array_equal(output.labels, expected.argmax(dim=0).numpy())


@pytest.mark.parametrize(("classes", "dtype"), [(255, np.uint8), (256, np.uint16)])
def test_labels_leave_room_for_void(classes: int, dtype: type) -> None:
    output = label_map([Grid(smooth(3, 2, 2))], (4, 4), classes)
    assert output.labels.dtype == dtype


def test_a_large_photo_that_was_padded_is_looked_at_at_its_borders(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, size = Grid(smooth(10, 16, 24), (0.7, 0.9)), (320, 500)
    quick = label_map([grid], size, 10, temperature=1.4)
    monkeypatch.setattr(semantic, "PADDED_TO", 0)
    slow = label_map([grid], size, 10, temperature=1.4)
    assert slow.sampled is None
    assert np.mean(quick.labels == slow.labels) > 0.9999
    assert np.array_equal(quick.confidence, slow.confidence)
    assert quick.sampled is not None
    sample = quick.sampled()
    assert sample.labels.shape == (32, 48)
    assert sample.confidence.mean() == pytest.approx(slow.confidence.mean(), abs=0.01)
    assert label_map([Grid(grid.logits, grid.extent, mirrored=True)], size, 10).sampled is None
