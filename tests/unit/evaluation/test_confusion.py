"""The figures of a confusion matrix against torchmetrics on random label maps, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_f1_score,
    multiclass_jaccard_index,
    multiclass_precision,
    multiclass_recall,
)

from shared.evaluation.confusion import ConfusionFigures, confusion, mean
from shared.types import UInt8Array
from tests.unit.evaluation.scenes import VOID, disturbed, random_scene

CLASSES = 7


def random_maps(seed: int, images: int = 5) -> list[tuple[UInt8Array, UInt8Array]]:
    """(truth, prediction) pairs; both have void."""
    random = np.random.default_rng(seed)
    scenes = [random_scene(random, CLASSES - 1) for _ in range(images)]
    return [(scene.labels, disturbed(scene, random, CLASSES - 1).labels) for scene in scenes]


@pytest.mark.parametrize("seed", range(8))
def test_figures_are_those_of_torchmetrics(seed: int) -> None:
    maps = random_maps(seed)
    matrix = sum(confusion(truth, predicted, CLASSES) for truth, predicted in maps)
    found = ConfusionFigures.of(np.asarray(matrix))
    truth = torch.from_numpy(np.concatenate([pair[0].ravel() for pair in maps]).astype(np.int64))
    predicted = torch.from_numpy(np.concatenate([pair[1].ravel() for pair in maps]).astype(np.int64))
    predicted[predicted == VOID] = CLASSES  # void is a class of its own that is never true
    seen = ~np.isnan(found.iou)
    for name, reference in (
        ("iou", multiclass_jaccard_index),
        ("dice", multiclass_f1_score),
        ("precision", multiclass_precision),
        ("recall", multiclass_recall),
    ):
        expected = reference(predicted, truth, CLASSES + 1, average="none", ignore_index=VOID).numpy()[:CLASSES]
        np.testing.assert_allclose(getattr(found, name)[seen], expected[seen], rtol=1e-6, err_msg=name)
    overall = multiclass_accuracy(predicted, truth, CLASSES + 1, average="micro", ignore_index=VOID)
    assert found.pixel_accuracy == pytest.approx(float(overall), rel=1e-6)


def test_a_class_that_neither_occurs_nor_is_predicted_has_no_figures_and_no_part_in_the_mean() -> None:
    truth, predicted = np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 1, 1, 1]], np.uint8)
    found = ConfusionFigures.of(confusion(truth, predicted, 4))
    np.testing.assert_allclose(found.iou, [1 / 2, 2 / 3, np.nan, np.nan])
    assert mean(found.iou) == pytest.approx(7 / 12)
    assert found.pixels.tolist() == [2, 2, 0, 0]


def test_it_is_the_data_sets_mean_and_not_that_of_its_images() -> None:
    """SYSTEMS.md: averaged by image .75, over the data set .989."""
    common = np.zeros((100, 100), np.uint8)
    rare_true, rare_found = common.copy(), common.copy()
    rare_true[:1, :2], rare_found[:1, :1] = 1, 1
    total = confusion(common, common, 2) * 45 + confusion(rare_true, rare_found, 2)
    assert ConfusionFigures.of(total).iou[0] > 0.9999
    assert mean(ConfusionFigures.of(total).iou) == pytest.approx(0.75, abs=1e-3)
    only_rare = ConfusionFigures.of(confusion(rare_true, rare_found, 2))
    assert ConfusionFigures.of(total).iou[1] == only_rare.iou[1] == 0.5


def test_void_truth_is_left_out_and_void_predictions_are_misses_of_no_other_class() -> None:
    truth = np.array([[0, 0, VOID, VOID, 1]], np.uint8)
    predicted = np.array([[0, VOID, 0, 1, 1]], np.uint8)
    matrix = confusion(truth, predicted, 2)
    assert matrix.tolist() == [[1, 0, 1], [0, 1, 0]]
    found = ConfusionFigures.of(matrix)
    assert found.iou.tolist() == [0.5, 1.0]
    assert found.precision.tolist() == [1.0, 1.0]
    assert found.pixel_accuracy == pytest.approx(2 / 3)


def test_counts_of_a_large_data_set_do_not_overflow() -> None:
    matrix = confusion(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), 1)
    assert matrix.dtype == np.int64
    assert ConfusionFigures.of(matrix * 2**40).iou[0] == 1.0


def test_16_bit_labels_and_nothing_at_all() -> None:
    labels = np.array([[300, 65535]], np.uint16)
    assert confusion(labels, labels, 301)[300, 300] == 1
    empty = ConfusionFigures.of(np.zeros((3, 4), np.int64))
    assert np.isnan(empty.iou).all()
    assert np.isnan(empty.pixel_accuracy)
    assert np.isnan(mean(empty.iou))


def test_maps_of_unequal_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="truth is"):
        confusion(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2)
