"""Runs read off where logits cross zero are those of the mask that torch resizes, and so is its stability."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from shared.models.postprocess import prompt_masks
from shared.models.postprocess.prompt_masks import cropped, padded, region_of, stretched
from shared.types import Float32Array, Runs

FRAMES = {
    "enlarged": stretched((24, 32), (480, 640)),
    "unevenly": stretched((24, 32), (101, 517)),
    "cropped": cropped((24, 32), (20, 32), (300, 480)),
    "shrunk": stretched((24, 32), (9, 13)),
    "as it is": stretched((24, 32), (24, 32)),
    "one row": stretched((24, 32), (1, 300)),
    "of one row": stretched((1, 32), (77, 300)),
}


def logits(height: int, width: int, smooth: float, seed: int) -> Float32Array:
    """Blobs, or noise where `smooth` is small, of which a third is above zero."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    blurred = np.asarray(cv2.GaussianBlur(noise, (0, 0), smooth)).reshape(height, width)
    found: Float32Array = (4 * (blurred - np.quantile(blurred, 0.67)) / blurred.std()).astype(np.float32)
    return found


@pytest.fixture(autouse=True)
def _of_images_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_masks, "LARGE_PIXELS", 0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("smooth", [0.1, 2.0])
@pytest.mark.parametrize("name", FRAMES)
def test_the_mask_and_its_stability_are_those_of_torch(name: str, smooth: float, seed: int) -> None:
    frame = FRAMES[name]
    low = logits(frame.rows.weights.shape[1], frame.columns.weights.shape[1], smooth, seed)
    region, stability = region_of(low, frame)
    assert region.empty or isinstance(region.held, Runs)
    seen = torch.from_numpy(low[:20] if name == "cropped" else low)[None, None]
    wanted = functional.interpolate(seen, size=frame.size, mode="bilinear", align_corners=False)[0, 0].numpy()
    np.testing.assert_array_equal(region.full(), wanted > 0)
    within = np.count_nonzero(wanted > -1)
    assert stability == pytest.approx(np.count_nonzero(wanted > 1) / within if within else 0)
    if not region.empty:
        rows, columns = np.nonzero(wanted > 0)
        assert region.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize(("value", "area"), [(-2.0, 0), (-0.5, 0), (0.0, 0), (0.5, 480 * 640), (2.0, 480 * 640)])
def test_all_or_nothing(value: float, area: int) -> None:
    region, stability = region_of(np.full((24, 32), value, np.float32), FRAMES["enlarged"])
    assert region.area == area
    assert stability == (1.0 if value > 1 else 0.0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("smooth", [0.1, 2.0])
@pytest.mark.parametrize(
    ("low", "canvas", "valid", "size"),
    [
        ((16, 16), (64, 64), (48, 64), (300, 400)),
        ((16, 16), (64, 64), (64, 37), (500, 289)),
        ((20, 27), (80, 112), (80, 107), (97, 130)),
        ((32, 32), (24, 24), (18, 24), (90, 120)),
    ],
    ids=str,
)
def test_logits_that_are_resized_twice_are_those_of_torch(
    low: tuple[int, int],
    canvas: tuple[int, int],
    valid: tuple[int, int],
    size: tuple[int, int],
    smooth: float,
    seed: int,
) -> None:
    values = logits(*low, smooth, seed)
    frame = padded(low, canvas, valid, size)
    region, stability = region_of(values, frame)
    assert region.empty or isinstance(region.held, Runs)
    seen = functional.interpolate(torch.from_numpy(values)[None, None], size=canvas, mode="bilinear")
    seen = seen[..., : valid[0], : valid[1]]
    np.testing.assert_allclose(frame.as_seen(values), seen[0, 0].numpy(), atol=1e-5)
    wanted = functional.interpolate(seen, size=size, mode="bilinear")[0, 0].numpy()
    clear = np.abs(wanted) > 1e-4
    np.testing.assert_array_equal(region.full()[clear], (wanted > 0)[clear])
    within = np.count_nonzero(wanted > -1)
    assert stability == pytest.approx(np.count_nonzero(wanted > 1) / within if within else 0, abs=1e-3)
