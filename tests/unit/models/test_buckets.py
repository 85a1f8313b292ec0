"""Buckets chosen from a sample of sizes: every shape fits, each one more wastes less, few come near the best few."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalog.catalog import find_card
from shared.models.buckets import choose_buckets, main, padded, shapes_of, waste
from shared.models.geometry import Size

SHAPES = st.dictionaries(
    st.builds(Size, st.integers(1, 30), st.integers(1, 30)), st.integers(1, 9), min_size=1, max_size=12
)


@given(SHAPES, st.integers(1, 6))
def test_every_shape_fits_and_one_more_bucket_wastes_less(shapes: dict[Size, int], count: int) -> None:
    buckets = choose_buckets(shapes, count)
    assert 1 <= len(buckets) <= count
    wastes = [waste(shapes, buckets[: number + 1]) for number in range(len(buckets))]
    assert all(later < earlier for earlier, later in pairwise(wastes))
    assert wastes[-1] >= 0
    if count >= len(shapes) + 1:
        assert wastes[-1] == 0


@given(SHAPES)
def test_two_buckets_are_the_best_pair_with_the_largest(shapes: dict[Size, int]) -> None:
    buckets = choose_buckets(shapes, 2)
    best = min(padded(shapes, [buckets[0], shape]) for shape in shapes)
    assert padded(shapes, buckets) == best


def test_greedy_choice_is_near_the_best_on_photos() -> None:
    """Usual aspect ratios at a short side of 512, most of them 3:2 and 4:3, a fifth upright."""
    ratios = {1.5: 30, 4 / 3: 40, 16 / 9: 20, 1.0: 5, 2.0: 2}
    preprocess = find_card("segformer-b0-ade").preprocess
    sizes = [(512, round(512 * ratio)) for ratio, times in ratios.items() for _ in range(times)]
    sizes += [(width, height) for height, width in sizes[::5]]
    shapes = shapes_of(preprocess, sizes)
    buckets = choose_buckets(shapes, 5)
    best = min(padded(shapes, [buckets[0], *four]) for four in combinations(shapes, 4))
    assert padded(shapes, buckets) <= 1.05 * best
    assert waste(shapes, buckets) < 0.15 < waste(shapes, buckets[:1])


def test_what_fits_nowhere_is_said() -> None:
    with pytest.raises(ValueError, match="no bucket holds 5x9"):
        padded({Size(5, 9): 1}, [Size(9, 5)])
    with pytest.raises(ValueError, match="at least one"):
        choose_buckets({}, 3)


def test_the_command_reads_headers_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segformer-b0-ade", "--data", str(tmp_path)]) == 1
    for number, (height, width) in enumerate([(60, 80), (60, 80), (80, 60)]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((height, width, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    assert main(["segformer-b0-ade", "--data", str(tmp_path), "--count", "3"]) == 0
    printed = capsys.readouterr().out
    assert "3 pictures, 2 shapes" in printed
    assert "512x704" in printed or "512x683" in printed or "512x672" in printed
