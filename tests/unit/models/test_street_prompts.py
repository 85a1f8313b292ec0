"""Prompt maps: where clicks, boxes and earlier masks land on the 1/4 grid."""

from __future__ import annotations

import numpy as np
import pytest

from shared.models.postprocess.street_prompts import MAPS, clicked_pieces, corrected, render_prompts
from shared.types import Float32Array, Int32Array

NO_POINTS = np.zeros((0, 2), np.float32)
NO_LABELS = np.zeros((0,), np.int32)


def points(*xy: tuple[float, float]) -> Float32Array:
    return np.array(xy, np.float32)


def labels(*values: int) -> Int32Array:
    return np.array(values, np.int32)


def test_a_click_peaks_in_its_own_cell_after_scaling() -> None:
    maps = render_prompts(points((100, 60), (20, 20)), labels(1, 0), None, None, 30, 40, scale=0.5)
    assert maps.shape == (MAPS, 30, 40)
    assert np.unravel_index(maps[0].argmax(), (30, 40)) in {(7, 12), (7, 11), (6, 12), (7, 13)}
    assert np.unravel_index(maps[3].argmax(), (30, 40)) == (2, 2)
    assert maps[2].min() > 0
    assert not maps[4].any()
    assert not maps[5].any()


def test_a_click_in_the_middle_of_a_cell_is_one_there() -> None:
    maps = render_prompts(points((4 * 5 + 2, 4 * 3 + 2)), labels(1), None, None, 10, 12, 1.0)
    assert maps[0, 3, 5] == pytest.approx(1.0)
    assert maps[0, 3, 6] == pytest.approx(maps[0, 2, 5])
    assert maps[2, 3, 6] == pytest.approx(np.exp(-1 / 8))


def test_clicks_on_the_far_border_are_kept() -> None:
    maps = render_prompts(points((48, 40)), labels(1), None, None, 10, 12, 1.0)
    assert maps[0, 9, 11] > 0.9


def test_a_box_is_covered_by_area() -> None:
    maps = render_prompts(NO_POINTS, NO_LABELS, (4, 8, 14, 20), None, 10, 12, 1.0)
    assert maps[4].sum() * 16 == pytest.approx((14 - 4) * (20 - 8))
    assert maps[4, 2, 3] == pytest.approx(0.5)
    assert not maps[:4].any()


def test_an_earlier_mask_is_squashed_and_resized() -> None:
    logits = np.full((20, 24), 50.0, np.float32)
    logits[:, 12:] = -50
    maps = render_prompts(NO_POINTS, NO_LABELS, None, logits, 10, 12, 1.0)
    assert maps[5, 0, 0] == pytest.approx(1)
    assert maps[5, 9, 11] == pytest.approx(-1)


def test_points_and_labels_must_match() -> None:
    with pytest.raises(ValueError, match="2 points but 1 labels"):
        render_prompts(points((1, 1), (2, 2)), labels(1), None, None, 10, 12, 1.0)


def pieces() -> np.ndarray:
    """One mask of two pieces, at the left and at the right, and one of none."""
    masks = np.full((2, 10, 20), -3.0, np.float32)
    masks[0, 2:6, 1:5] = 2.0
    masks[0, 4:9, 12:18] = 1.0
    return masks


def test_a_click_means_the_piece_that_it_touches() -> None:
    one = np.array([1], np.int32)
    found = clicked_pieces(pieces(), np.array([[10.0, 14.0]], np.float32), one)
    assert (found[0, 2:6, 1:5] == 2).all()
    assert (found[0, 4:9, 12:18] == -1).all()
    assert np.array_equal(found[1], pieces()[1])
    both = np.array([[10, 14], [60, 30]], np.float32)
    assert np.array_equal(clicked_pieces(pieces(), both, np.array([1, 1], np.int32)), pieces())
    assert np.array_equal(clicked_pieces(pieces(), both, np.array([1, 0], np.int32)), found)


def test_without_a_touching_click_or_with_a_box_the_mask_stays_whole() -> None:
    one = np.array([1], np.int32)
    for points, labels, box in (
        ([[40.0, 2.0]], one, None),
        ([[10.0, 14.0]], 0 * one, None),
        ([[10.0, 14.0]], one, (0.0, 0.0, 80.0, 40.0)),
        (np.zeros((0, 2)), one[:0], None),
    ):
        assert np.array_equal(clicked_pieces(pieces(), np.array(points, np.float32), labels, box), pieces())
    far = clicked_pieces(pieces(), np.array([[1e4, 1e4]], np.float32), one)
    assert np.array_equal(far, pieces())


def square(value: float = 2.0) -> Float32Array:
    """One mask [1,20,20] of 10 x 10 cells."""
    mask = np.full((1, 20, 20), -3.0, np.float32)
    mask[0, 5:15, 5:15] = value
    return mask


INSIDE, CORNER = (22.0, 22.0), (54.0, 54.0)
"""Clicks in the top left and the bottom right cells of the square, but one."""


def test_a_correction_changes_only_the_pieces_that_it_touches() -> None:
    answer = square()
    answer[0, 6:9, 6:9] = -1.0  # around another click
    answer[0, 12:15, 12:15] = -2.0
    answer[0, 0:2, 17:20] = 4.0
    found = corrected(answer, square()[0], points(INSIDE, CORNER), labels(1, 0))
    expected = square() > 0
    expected[0, 12:15, 12:15] = False
    assert np.array_equal(found > 0, expected)
    assert (found[0, 12:15, 12:15] == -2).all()
    assert (found[0, 6:9, 6:9] == 2).all()


def test_of_two_clicks_the_second_may_mean_another_thing_and_a_third_only_what_is_nearer_to_it() -> None:
    gone = np.full_like(square(), -4.0)
    assert not (corrected(gone, square()[0], points(INSIDE, CORNER), labels(1, 0)) > 0).any()
    found = corrected(gone, square()[0], points(INSIDE, (42, 22), CORNER), labels(1, 1, 0))
    assert (found[0, 5:9, 5:15] > 0).all()
    assert not (found[0, 11:15, 11:15] > 0).any()


def test_an_addition_stays_nearer_to_its_click_than_to_those_outside() -> None:
    everything = np.full_like(square(), 5.0)
    clicks = points(INSIDE, (78, 38), (2, 38))
    found = corrected(everything, square()[0], clicks, labels(1, 0, 1))
    assert (found[0, :, :5] > 0).all()
    assert np.array_equal(found[0, :, 15:], square()[0, :, 15:])


@pytest.mark.parametrize(
    ("earlier", "where", "kinds"),
    [
        (None, points(INSIDE, CORNER), labels(1, 0)),
        (square()[0], points(INSIDE, CORNER), labels(1, 1)),
        (square()[0], NO_POINTS, NO_LABELS),
    ],
)
def test_without_an_earlier_mask_that_contradicts_a_click_the_answer_stays(
    earlier: Float32Array | None, where: Float32Array, kinds: Int32Array
) -> None:
    answer = np.roll(square(), 4, axis=2)
    assert np.array_equal(corrected(answer, earlier, where, kinds), answer)
