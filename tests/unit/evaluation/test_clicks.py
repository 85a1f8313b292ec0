"""Simulated users: where they click first and next, when they are content, and what void means to them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from shared.evaluation.clicks import SimulatedUser, innermost
from shared.types import BoolArray, Region
from tests.unit.evaluation.scenes import random_scene


def rectangle(top: int, bottom: int, left: int, right: int, size: tuple[int, int] = (40, 60)) -> BoolArray:
    mask = np.zeros(size, np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def user_of(mask: BoolArray, void: BoolArray | None = None) -> SimulatedUser:
    user = SimulatedUser(Region.from_mask(mask), void)
    user.begin()
    return user


@pytest.mark.parametrize("seed", range(10))
def test_the_innermost_point_is_the_farthest_from_the_border(seed: int) -> None:
    mask: BoolArray = random_scene(np.random.default_rng(seed), 3).labels == 1
    exact = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column, depth = innermost(mask)
    assert depth == pytest.approx(float(exact.max()), rel=1e-5)
    if mask.any():
        assert exact[row, column] == pytest.approx(float(exact.max()), rel=1e-5)


def test_the_first_click_is_the_middle_of_the_object_in_the_images_own_pixels() -> None:
    user = user_of(rectangle(10, 21, 30, 51))
    (x, y, label), *_ = user.clicks
    assert (y, label) == (15.5, 1)
    assert 35 < x < 46
    assert user.prompt().points.tolist() == [[x, y]]
    assert user.prompt().mask is None


def test_the_next_click_goes_where_the_larger_circle_is_wrong() -> None:
    wanted, answer = rectangle(5, 25, 5, 25), rectangle(5, 25, 15, 29)
    user = user_of(wanted)
    assert user.iou(answer) == pytest.approx(200 / 480)
    assert user.correct(answer)
    x, y, label = user.clicks[-1]
    assert label == 1
    assert 5 < x < 15
    assert 5 < y < 25
    assert user.correct(wanted | rectangle(28, 40, 30, 60))
    x, y, label = user.clicks[-1]
    assert label == 0
    assert (30 < x < 60, 28 < y < 40) == (True, True)
    assert user.prompt().labels.tolist() == [1, 1, 0]


def test_the_same_click_whether_the_error_is_seen_alone_or_in_the_whole_image() -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        wanted = random_scene(random, 2).labels == 1
        answer = random_scene(random, 2).labels == 1
        if not wanted.any():
            continue
        user = user_of(wanted)
        if not user.correct(answer):
            continue
        x, y, label = user.clicks[-1]
        error = (wanted & ~answer) if label else (answer & ~wanted)
        depth = distance_transform_edt(np.pad(error, 1))[1:-1, 1:-1]
        other = distance_transform_edt(np.pad((answer & ~wanted) if label else (wanted & ~answer), 1))
        assert depth[int(y), int(x)] == pytest.approx(depth.max(), rel=1e-5)
        assert depth.max() >= other.max() - 1e-9


def test_a_right_answer_gets_no_click() -> None:
    mask = rectangle(3, 9, 3, 9)
    user = user_of(mask)
    assert not user.correct(mask)
    assert user.iou(mask) == 1.0
    assert len(user.clicks) == 1


def test_an_empty_answer_is_corrected_too() -> None:
    user = user_of(rectangle(3, 9, 3, 9))
    nothing = np.zeros((40, 60), np.bool_)
    assert user.iou(nothing) == 0.0
    assert user.correct(nothing)
    assert user.clicks[0] == user.clicks[1]


def test_void_is_neither_wanted_nor_wrong() -> None:
    wanted, void = rectangle(0, 10, 0, 10), rectangle(0, 10, 10, 30)
    user = user_of(wanted, void)
    assert user.iou(rectangle(0, 10, 0, 30)) == 1.0
    assert not user.correct(rectangle(0, 10, 0, 30))
    assert user.iou(rectangle(0, 20, 0, 30)) == pytest.approx(100 / 400)


def test_logits_go_with_the_next_prompt() -> None:
    user = user_of(rectangle(3, 9, 3, 9))
    user.logits = np.full((4, 6), 0.5, np.float16)
    mask = user.prompt().mask
    assert mask is not None
    assert mask.shape == (4, 6)
    assert mask.dtype == np.float32
    assert mask[0, 0] == 0.5
