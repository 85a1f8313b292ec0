"""The windowed upsampling of mask logits against torch's own, step by step."""

from __future__ import annotations

import numpy as np
import pytest

from shared.models.postprocess.prompt_masks import LogitFrame, candidates, padded, region_of, stretched
from shared.types import Float32Array

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def blob(shape: tuple[int, int], seed: int, reach: float = 0.3) -> Float32Array:
    """Smooth logits, positive around one place and below -1 far from it."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    centre = generator.uniform(0.2, 0.6, 2) * shape
    distance = np.hypot((y - centre[0]) / shape[0], (x - centre[1]) / shape[1])
    noise = generator.normal(0, 0.4, shape)
    logits: Float32Array = (12 * (reach - distance) / reach + noise).astype(np.float32)
    return logits


def by_torch(logits: Float32Array, sizes: list[tuple[int, int]], crop: tuple[int, int] | None) -> Float32Array:
    """Resize to each size in turn; crop after the first."""
    tensor = torch.from_numpy(logits)[None, None]
    for index, size in enumerate(sizes):
        tensor = functional.interpolate(tensor, size=size, mode="bilinear", align_corners=False)
        if index == 0 and crop is not None:
            tensor = tensor[..., : crop[0], : crop[1]]
    result: Float32Array = tensor[0, 0].numpy()
    return result


def assert_same(logits: Float32Array, frame: LogitFrame, expected: Float32Array) -> None:
    region, stability = region_of(logits, frame)
    clear = np.abs(expected) > 1e-4
    assert np.array_equal(region.full()[clear], (expected > 0)[clear])
    assert region.size == expected.shape
    union = np.count_nonzero(expected > -1)
    reference = np.count_nonzero(expected > 1) / union if union else 0.0
    assert stability == pytest.approx(reference, abs=2e-4)
    assert np.array_equal(region.bits, region.full()[region.y0 : region.box[3], region.x0 : region.box[2]])


@pytest.mark.parametrize("size", [(300, 600), (1024, 1024), (1300, 777), (40, 33)])
def test_padded_canvas_equals_torch(size: tuple[int, int]) -> None:
    scale = 1024 / max(size)
    valid = (int(size[0] * scale + 0.5), int(size[1] * scale + 0.5))
    frame = padded((256, 256), (1024, 1024), valid, size)
    for seed in range(4):
        logits = blob((256, 256), seed)
        assert_same(logits, frame, by_torch(logits, [(1024, 1024), size], valid))


@pytest.mark.parametrize("size", [(300, 600), (17, 1023), (64, 64)])
def test_stretched_equals_torch(size: tuple[int, int]) -> None:
    for seed in range(4):
        logits = blob((256, 256), seed)
        assert_same(logits, stretched((256, 256), size), by_torch(logits, [size], None))


def test_noise_equals_torch() -> None:
    logits = np.random.default_rng(5).normal(0, 2, (64, 48)).astype(np.float32)
    assert_same(logits, stretched((64, 48), (200, 90)), by_torch(logits, [(200, 90)], None))


def test_nothing_found() -> None:
    region, stability = region_of(np.full((16, 16), -5, dtype=np.float32), stretched((16, 16), (40, 40)))
    assert (region.area, stability, region.size, region.bits.shape) == (0, 0.0, (40, 40), (0, 0))


def test_logit_that_no_output_sees_is_no_mask() -> None:
    logits = np.full((64, 64), -5, dtype=np.float32)
    logits[1, 1] = 5
    expected = by_torch(logits, [(8, 8)], None)
    assert expected.max() < -1
    region, stability = region_of(logits, stretched((64, 64), (8, 8)))
    assert (region.area, stability) == (0, 0.0)


def test_candidates_best_first() -> None:
    logits = np.stack([blob((64, 64), seed) for seed in range(3)])
    logits[1] *= 1e6
    masks = candidates(logits, np.array([0.2, 0.9, 0.5], dtype=np.float32), stretched((64, 64), (90, 70)))
    assert [round(mask.predicted_iou, 1) for mask in masks] == [0.9, 0.5, 0.2]
    assert all(np.isfinite(mask.logits).all() and mask.logits.dtype == np.float16 for mask in masks)
    assert masks[2].region.area == region_of(logits[0], stretched((64, 64), (90, 70)))[0].area
