"""Labels at the image's size are those of logits resized whole, whichever way they are found; without torch and equal
to torch."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from shared.imaging.resizing import AS_TORCH, taps
from shared.imaging.summary import summarise, summarise_output
from shared.models.postprocess.label_upsampling import labels_at, labels_by_borders
from shared.types import Float32Array, UInt8Array

CLASSES, HEIGHT, WIDTH = 11, 90, 120
SIZES = [(360, 480), (90, 120), (50, 700), (1, 1), (721, 1283), (13, 9000), (1000, 333)]


def noise() -> Float32Array:
    """Neighbours that have nothing in common: every place must be looked at."""
    return np.random.default_rng(0).normal(0, 3, (CLASSES, HEIGHT, WIDTH)).astype(np.float32)


def smooth() -> Float32Array:
    """Large areas of one class, as photos have them, with the borders anywhere between."""
    blurred = cv2.GaussianBlur(noise().transpose(1, 2, 0), (0, 0), 6).transpose(2, 0, 1)
    return np.ascontiguousarray(20 * blurred, dtype=np.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("logits", [noise(), smooth()], ids=["noise", "smooth"])
@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_labels_equal_resizing_and_argmax_in_torch(
    size: tuple[int, int], logits: Float32Array, temperature: float
) -> None:
    torch = pytest.importorskip("torch")
    full = torch.nn.functional.interpolate(torch.from_numpy(logits)[None], size=size, mode="bilinear")[0]
    output = labels_at(logits, size, temperature)
    assert np.array_equal(labels_at(logits, size, temperature, alone=True).labels, output.labels)
    best = full.topk(2, dim=0).values
    clear = (best[0] - best[1] > 1e-3).numpy()
    assert output.labels.shape == size
    assert np.array_equal(output.labels[clear], full.argmax(0).numpy()[clear])
    wanted = (full / temperature).softmax(0).amax(0).numpy()
    np.testing.assert_allclose(output.confidence, wanted, atol=2e-3)


def every_pixel(logits: Float32Array, size: tuple[int, int], extent: tuple[float, float] = (1.0, 1.0)) -> UInt8Array:
    """All classes between the four logits around every pixel, the first largest of them."""
    sides = zip(logits.shape[1:], size, extent, strict=True)
    (top, down), (left, across) = (taps(low, high, AS_TORCH, extent=part) for low, high, part in sides)
    bottom, right = np.minimum(top + 1, logits.shape[1] - 1), np.minimum(left + 1, logits.shape[2] - 1)
    tall = (logits[:, bottom] - logits[:, top]) * down[:, None] + logits[:, top]
    wide = (tall[:, :, right] - tall[:, :, left]) * across + tall[:, :, left]
    largest: UInt8Array = wide.argmax(axis=0).astype(np.uint8)
    return largest


@pytest.mark.parametrize("size", [(1000, 1400), (721, 1283), (13, 9000), (2500, 60), (252, 344)])
@pytest.mark.parametrize("step", [0.0, 1.0, 8.0], ids=["any", "whole numbers", "ties"])
def test_labels_of_large_images_equal_looking_at_every_pixel(size: tuple[int, int], step: float) -> None:
    logits: Float32Array = smooth()
    if step:
        logits = np.round(logits / np.float32(step)) * np.float32(step)
    output = labels_at(logits, size)
    assert output.sampled is not None
    assert np.array_equal(output.labels, every_pixel(logits, size))


@pytest.mark.parametrize("size", [(1000, 1400), (721, 1283), (13, 9000), (2500, 60)])
@pytest.mark.parametrize("extent", [(1.0, 0.75), (0.61, 1.0), (0.93, 0.875)])
def test_labels_of_padded_logits_equal_looking_at_every_pixel(
    size: tuple[int, int], extent: tuple[float, float]
) -> None:
    labels = labels_by_borders(smooth(), size, extent)
    assert labels is not None
    assert np.array_equal(labels, every_pixel(smooth(), size, extent))
    assert labels_by_borders(noise(), size, extent) is None


def test_a_sample_is_enough_for_means_and_areas_are_exact() -> None:
    output = labels_at(smooth(), (1000, 1400))
    assert output.sampled is not None
    assert output.sampled().labels.size == 4 * HEIGHT * WIDTH
    exact, quick = summarise(output.labels, output.confidence), summarise_output(output, output.labels)
    assert list(exact) == list(quick)
    for label, (area, mean) in exact.items():
        assert quick[label].area == area
        assert quick[label].mean == pytest.approx(mean, abs=0.01 if area > 2000 else 0.1)


def test_small_images_and_noise_are_known_whole() -> None:
    assert labels_at(smooth(), (180, 240)).sampled is None
    assert labels_at(noise(), (1000, 1400)).sampled is None


def test_confidence_and_sample_are_found_once() -> None:
    output = labels_at(smooth(), (1000, 1400))
    assert output.confidence is output.confidence
    assert output.sampled is not None
    assert output.sampled() is output.sampled()
