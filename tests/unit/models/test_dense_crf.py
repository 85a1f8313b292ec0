"""The dense CRF: equal to the reference's numbers, near the exact sums, and borders that follow the image's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from shared.catalog.card import DenseCrf
from shared.models.postprocess.dense_crf import MOST_VALUES, mean_field, refined, refined_labels, working_size
from shared.models.postprocess.permutohedral import lattice
from shared.models.postprocess.upsample import Grid
from shared.types import UInt8Array
from tests.unit.models.record_dense_crf import CRFS, RECORDED, scene


@pytest.mark.parametrize("name", CRFS)
def test_marginals_are_those_of_pydensecrf(name: str) -> None:
    probabilities, pixels = scene()
    with np.load(RECORDED) as recorded:
        theirs = recorded[name]
    ours = refined(torch.from_numpy(probabilities), pixels, CRFS[name]).numpy()
    assert np.abs(theirs - probabilities).max() > 0.1, "the CRF must change something"
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_the_lattice_blurs_nearly_as_the_gaussian_does(dimensions: int) -> None:
    draw = torch.Generator().manual_seed(dimensions)
    features = 3 * torch.rand(600, dimensions, generator=draw)
    values = torch.stack([features.sum(1).sin(), features[:, 0], torch.ones(600)], 1)
    exact = (-0.5 * torch.cdist(features, features).square()).exp() @ values
    found = lattice(features).filter(values)
    near, wanted = found[:, :2] / found[:, 2:], exact[:, :2] / exact[:, 2:]
    assert (near - wanted).abs().mean() < 0.1 * values[:, :2].std()


def test_near_points_share_and_far_ones_have_nothing_in_common() -> None:
    features = torch.tensor([[0.0, 0.0], [0.3, 0.1], [500.0, -900.0]])
    kernel = lattice(features).filter(torch.eye(3))
    torch.testing.assert_close(kernel, kernel.T, atol=0.02, rtol=0)
    assert (kernel.diagonal() > 0.1).all()
    assert kernel[0, 1] > 0.1
    assert kernel[2, :2].tolist() == [0.0, 0.0]


def test_points_too_far_apart_to_number_do_not_disturb_each_other() -> None:
    near = 3 * torch.rand(200, 5, generator=torch.Generator().manual_seed(0))
    values = torch.rand(400, 2, generator=torch.Generator().manual_seed(1))
    together = lattice(torch.cat([near, near + 1e5])).filter(values)
    torch.testing.assert_close(together[:200], lattice(near).filter(values[:200]))


def test_mean_field_without_kernels_is_the_softmax() -> None:
    unary = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mean_field(unary, [], 10), (-unary).softmax(1))


def two_halves(height: int = 48, width: int = 64, border: int = 29) -> tuple[UInt8Array, np.ndarray]:
    """A picture of two colours with a little noise, and which side each pixel is on."""
    right = np.zeros((height, width), dtype=bool)
    right[:, border:] = True
    noise = np.random.default_rng(1).integers(-3, 4, (height, width, 3))
    pixels = np.where(right[..., None], (200, 60, 40), (40, 90, 180)) + noise
    return pixels.astype(np.uint8), right


def coarse_logits(right: np.ndarray, off: int = 3) -> Tensor:
    """What a network with stride 8 says of these halves whose border it puts `off` pixels too far left: [2,h/8,w/8]."""
    side = torch.from_numpy(np.roll(right, -off, 1)).float()[None, None]
    low = functional.avg_pool2d(side, 8)[0, 0]
    return torch.stack([-3 * (low - 0.5), 3 * (low - 0.5)])


def test_borders_follow_the_image() -> None:
    pixels, right = two_halves()
    grid = Grid(coarse_logits(right))
    plain = refined_labels([grid], pixels, pixels.size // 3, DenseCrf(smoothness=0, appearance=0))
    sharp = refined_labels([grid], pixels, pixels.size // 3, DenseCrf())
    assert np.mean(plain.labels[:, 8:-8] != right[:, 8:-8]) > 0.03
    assert np.array_equal(sharp.labels[:, 8:-8], right[:, 8:-8])
    assert sharp.labels.dtype == np.uint8
    assert sharp.confidence.shape == right.shape
    assert sharp.confidence.astype(np.float32).mean() > plain.confidence.astype(np.float32).mean()


def test_an_image_larger_than_what_the_network_saw_is_refined_at_that_size() -> None:
    small, right = two_halves()
    large = small.repeat(4, 0).repeat(4, 1)
    found = refined_labels([Grid(coarse_logits(right))], large, small.size // 3, DenseCrf())
    assert found.labels.shape == large.shape[:2]
    assert np.mean(found.labels[:, 32:-32] == right.repeat(4, 0).repeat(4, 1)[:, 32:-32]) > 0.99


@pytest.mark.parametrize(
    ("image", "seen", "classes", "wanted"),
    [
        ((375, 500), 375 * 500, 21, (375, 500)),
        ((100, 100), 512 * 512, 21, (100, 100)),
        ((3000, 4000), 375 * 500, 21, (375, 500)),
        ((1, 60_000), 500, 21, (1, 500)),
        ((60_000, 1), 500, 21, (500, 1)),
    ],
)
def test_working_sizes(image: tuple[int, int], seen: int, classes: int, wanted: tuple[int, int]) -> None:
    assert working_size(image, seen, classes) == wanted


def test_no_image_is_refined_on_more_values_than_allowed() -> None:
    size = working_size((8000, 6000), 8000 * 6000, 150)
    assert 0.99 * MOST_VALUES < math.prod(size) * 150 <= MOST_VALUES
    assert size[0] / size[1] == pytest.approx(8 / 6, rel=0.01)


def test_classes_that_are_nowhere_likely_cost_nothing_and_change_nothing() -> None:
    probabilities, pixels = scene()
    few = torch.from_numpy(probabilities)
    many = torch.cat([few * (1 - 5e-4), torch.full((*few.shape[:2], 1), 5e-4)], 2)
    found = refined(many, pixels, DenseCrf())
    assert not found[..., -1].any()
    torch.testing.assert_close(found[..., :-1], refined(few, pixels, DenseCrf()), atol=2e-3, rtol=0)
