"""What bilinear resizing takes of each input is what torch and OpenCV take, of the whole side and of a part of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from shared.imaging.resizing import AS_OPENCV, AS_TORCH, Kind, bilinear, taps
from shared.types import Float32Array

SIDES = [(1, 1), (1, 7), (7, 1), (2, 3), (252, 360), (336, 1080), (500, 260), (90, 90), (60, 2001)]


def whole(inputs: int, outputs: int, kind: type[Kind]) -> Float32Array:
    """The matrix [outputs, inputs]."""
    seen, weights = bilinear(inputs, outputs, kind)
    return np.pad(weights, ((0, 0), (seen.start, inputs - seen.stop)))


@pytest.mark.parametrize(("inputs", "outputs"), SIDES)
def test_weights_are_those_of_torch(inputs: int, outputs: int) -> None:
    each = torch.eye(inputs)[None]
    expected = torch.nn.functional.interpolate(each, size=outputs, mode="linear")[0].T
    # torch rounds once where NumPy rounds twice.
    np.testing.assert_allclose(whole(inputs, outputs, AS_TORCH), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs"), SIDES)
def test_weights_are_those_of_opencv(inputs: int, outputs: int) -> None:
    expected = cv2.resize(np.eye(inputs, dtype=np.float32), (inputs, outputs), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(whole(inputs, outputs, AS_OPENCV), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", [AS_TORCH, AS_OPENCV])
@pytest.mark.parametrize(("inputs", "outputs"), SIDES)
def test_a_part_is_cut_from_the_whole(inputs: int, outputs: int, kind: type[Kind]) -> None:
    matrix = whole(inputs, outputs, kind)
    for part in (slice(0, 1), slice(outputs - 1, outputs), slice(outputs // 3, outputs // 2 + 1)):
        seen, weights = bilinear(inputs, outputs, kind, part)
        np.testing.assert_array_equal(weights, matrix[part, seen])
        assert np.count_nonzero(weights) == np.count_nonzero(matrix[part]), "what is not seen has no weight"
        low, weight = taps(inputs, outputs, kind, part)
        np.testing.assert_array_equal(low, taps(inputs, outputs, kind)[0][part])
        np.testing.assert_array_equal(weight, taps(inputs, outputs, kind)[1][part])
