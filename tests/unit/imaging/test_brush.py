"""Brush strokes hold exactly the mask, however long its runs are."""

from __future__ import annotations

import numpy as np
import pytest

from shared.imaging.brush import brush_rle
from tests.unit.brush import decode_brush

RANDOM = np.random.default_rng(7)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (48, 64), (1, 40_000)])
def test_a_mask_comes_back(size: tuple[int, int], share: float) -> None:
    mask = RANDOM.random(size) < share
    assert np.array_equal(decode_brush(brush_rle(mask).tolist(), size), mask)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 64, 65, 16_383, 16_384, 16_385, 32_768, 32_769, 99_999])
def test_every_length_of_run_comes_back(length: int) -> None:
    mask = np.zeros((1, 100_000), np.bool_)
    mask[0, :length] = True
    assert np.array_equal(decode_brush(brush_rle(mask).tolist(), mask.shape), mask)


def test_the_bits_are_those_of_the_published_encoder() -> None:
    """One row of 3 clear and 2 set pixels by hand: 12 values 0 (4 bits of length), 8 values 255 (3 bits)."""
    text = f"{20:032b}" + "00111" + "0010001101111111" + "101101100000000" + "10011111111111"
    wanted = [int(text[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(text), 8)]
    assert brush_rle(np.array([[False, False, False, True, True]])).tolist() == wanted
