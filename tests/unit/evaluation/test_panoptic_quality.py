"""Panoptic quality against the reference's arithmetic, written anew on whole masks, and against torchmetrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torchmetrics.detection import PanopticQuality

from shared.evaluation.dataset import TrueSegment
from shared.evaluation.panoptic_quality import Matches, Quality, match
from shared.types import BoolArray, Int32Array
from tests.unit.evaluation.scenes import Scene, disturbed, random_scene

CLASSES = 5


def pairs(seed: int, images: int = 6) -> list[tuple[Scene, Scene]]:
    """(truth, answer) pairs."""
    random = np.random.default_rng(seed)
    scenes = [random_scene(random, CLASSES) for _ in range(images)]
    return [(scene, disturbed(scene, random, CLASSES)) for scene in scenes]


def segments(scene: Scene, crowds: Sequence[int] = ()) -> tuple[TrueSegment, ...]:
    return tuple(TrueSegment(number, label, number in crowds) for number, label in scene.classes.items())


def by_masks(truth: Scene, answer: Scene, crowds: Sequence[int]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """[classes, 4] (summed IoU, matches, false alarms, misses) from the definition: every pair of masks is compared."""
    counts = np.zeros((CLASSES, 4))
    true, found = truth.masks(), answer.masks()
    void: BoolArray = truth.ids == 0
    hit_true, hit_found = set(), set()
    for t, true_mask in true.items():
        for f, found_mask in found.items():
            if t in crowds or truth.classes[t] != answer.classes[f]:
                continue
            union = (true_mask | (found_mask & ~void)).sum()
            iou = (true_mask & found_mask).sum() / union
            if iou > 0.5:
                counts[truth.classes[t], :2] += (iou, 1)
                hit_true.add(t)
                hit_found.add(f)
    for t in true.keys() - hit_true - set(crowds):
        counts[truth.classes[t], 3] += 1
    for f in found.keys() - hit_found:
        excused = void.copy()
        for crowd in crowds:
            if truth.classes[crowd] == answer.classes[f]:
                excused |= truth.ids == crowd
        if (found[f] & excused).sum() / found[f].sum() <= 0.5:
            counts[answer.classes[f], 2] += 1
    return counts


@pytest.mark.parametrize("with_crowds", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_counts_follow_from_the_definition(seed: int, with_crowds: bool) -> None:
    total, expected = Matches.none(CLASSES), np.zeros((CLASSES, 4))
    for truth, answer in pairs(seed):
        crowds = [number for number in truth.classes if with_crowds and number % 3 == 0]
        total += match(truth.ids, segments(truth, crowds), answer.ids, answer.classes, CLASSES)
        expected += by_masks(truth, answer, crowds)
    assert expected[:, 1].sum() > 5
    assert (expected[:, 2:].sum(0) > 0).all()
    np.testing.assert_allclose(np.stack([total.iou, total.matched, total.wrong, total.missed], 1), expected, rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_figures_are_those_of_torchmetrics(seed: int) -> None:
    """On answers without void: where an answer is void torchmetrics, unlike the reference, excuses what it missed."""
    things, stuff = {0, 1, 2}, {3, 4}
    reference = PanopticQuality(
        things, stuff, allow_unknown_preds_category=True, return_sq_and_rq=True, return_per_class=True
    )
    total = Matches.none(CLASSES)
    for truth, answer in pairs(seed):
        answer.ids[answer.ids == 0] = 1000
        answer.classes[1000] = 4
        merged = [fused(scene, stuff) for scene in (truth, answer)]
        total += match(merged[0].ids, segments(merged[0]), merged[1].ids, merged[1].classes, CLASSES)
        reference.update(*(colored(scene, stuff) for scene in reversed(merged)))
    quality, expected = Quality.of(total), reference.compute().numpy().reshape(CLASSES, 3)
    np.testing.assert_allclose(np.stack([quality.pq, quality.sq, quality.rq], 1), expected, rtol=1e-6)


def fused(scene: Scene, stuff: set[int]) -> Scene:
    """One segment for each stuff class, as torchmetrics sees stuff."""
    ids, classes, first = scene.ids.copy(), {}, dict[int, int]()
    for number, label in scene.classes.items():
        kept = first.setdefault(label, number) if label in stuff else number
        ids[scene.ids == number], classes[kept] = kept, label
    return Scene(scene.labels, ids, classes)


def colored(scene: Scene, stuff: set[int]) -> torch.Tensor:
    """(class, id) of each pixel; void is class 99."""
    picture = np.zeros((1, *scene.ids.shape, 2), np.int64)
    picture[..., 0] = 99
    for number, label in scene.classes.items():
        picture[0][scene.ids == number] = (label, 0 if label in stuff else number)
    return torch.from_numpy(picture)


def test_a_perfect_answer_and_none() -> None:
    (truth, _), *_ = pairs(1)
    perfect = Quality.of(match(truth.ids, segments(truth), truth.ids, truth.classes, CLASSES))
    assert set(perfect.pq[~np.isnan(perfect.pq)]) == {1.0}
    nothing = Quality.of(match(truth.ids, segments(truth), np.zeros_like(truth.ids), {}, CLASSES))
    assert set(nothing.pq[~np.isnan(nothing.pq)]) == set(nothing.sq[~np.isnan(nothing.sq)]) == {0.0}
    assert np.isnan(Quality.of(Matches.none(2)).pq).all()


def test_maps_that_do_not_fit_are_refused() -> None:
    ids: Int32Array = np.ones((4, 4), np.int32)
    with pytest.raises(ValueError, match="no segment describes"):
        match(ids, (TrueSegment(1, 0),), ids, {}, CLASSES)
    with pytest.raises(ValueError, match="no segment describes"):
        match(ids, (), ids, {1: 0}, CLASSES)
    with pytest.raises(ValueError, match="truth is"):
        match(ids, (TrueSegment(1, 0),), ids[:2], {1: 0}, CLASSES)
