"""Centre grouping on small drawn cases with known answers."""

from __future__ import annotations

import numpy as np

from shared.models.postprocess.centre_grouping import group_instances
from shared.types import Float32Array, UInt8Array


def scene(
    boxes: list[tuple[int, int, int, int]], label: int = 8, size: tuple[int, int] = (64, 96), peaks: bool = True
) -> tuple[UInt8Array, Float32Array, Float32Array, Float32Array]:
    """Labels, confidence, centres and offsets as a perfect network gives them for boxes (y0, x0, y1, x1) of one
    class.
    """
    height, width = size
    labels = np.zeros(size, np.uint8)
    centres = np.zeros((3, height // 4, width // 4), np.float32)
    offsets = np.zeros((2, height // 4, width // 4), np.float32)
    rows = np.arange(height // 4)[:, None] * 4 + 1.5
    columns = np.arange(width // 4)[None] * 4 + 1.5
    for y0, x0, y1, x1 in boxes:
        labels[y0:y1, x0:x1] = label
        y, x = (y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2
        inside = (slice(y0 // 4, -(-y1 // 4)), slice(x0 // 4, -(-x1 // 4)))
        offsets[0][inside] = np.broadcast_to(y - rows, offsets[0].shape)[inside]
        offsets[1][inside] = np.broadcast_to(x - columns, offsets[1].shape)[inside]
        if peaks:
            centres[label - 8, int(y / 4), int(x / 4)] = 0.81
    return labels, np.ones(size, np.float32), centres, offsets


def test_touching_cars_are_told_apart_by_their_centres() -> None:
    labels, confidence, centres, offsets = scene([(16, 8, 40, 40), (16, 40, 40, 80)])
    found = group_instances(labels, confidence, centres, offsets)
    assert {instance.region.box for instance in found} == {(8, 16, 40, 40), (40, 16, 80, 40)}
    assert sum(instance.region.area for instance in found) == np.count_nonzero(labels)


def test_each_component_is_an_instance() -> None:
    labels, confidence, centres, offsets = scene([(0, 0, 16, 16), (32, 32, 56, 56)], label=9, peaks=False)
    found = group_instances(labels, confidence * 0.5, centres, offsets)
    assert [(i.label_id, i.region.area) for i in found] == [(9, 256), (9, 576)] or [
        (i.label_id, i.region.area) for i in found
    ] == [(9, 576), (9, 256)]
    assert all(abs(instance.score - 0.25) < 1e-6 for instance in found)


def test_a_weak_second_peak_does_not_cut() -> None:
    labels, confidence, centres, offsets = scene([(16, 8, 40, 40), (16, 40, 40, 80)])
    centres[centres > 0] = (0.8, 0.2)
    assert [i.region.box for i in group_instances(labels, confidence, centres, offsets)] == [(8, 16, 80, 40)]
    assert len(group_instances(labels, confidence, centres, offsets, peak_threshold=0.1)) == 2


def test_a_peak_of_another_object_takes_nothing() -> None:
    labels, confidence, centres, offsets = scene([(8, 0, 24, 16), (8, 176, 24, 192)], size=(32, 192))
    centres[0, :, 24:] = 0
    found = group_instances(labels, confidence, centres, offsets)
    assert sorted(instance.region.box for instance in found) == [(0, 8, 16, 24), (176, 8, 192, 24)]


def test_specks_and_other_classes_are_left_out() -> None:
    labels, confidence, centres, offsets = scene([(0, 0, 8, 7)], label=10)
    labels[40:60, 40:60] = 3
    assert group_instances(labels, confidence, centres, offsets) == []


def test_a_plateau_is_one_peak_and_the_surest_come_first() -> None:
    labels, confidence, centres, offsets = scene([(0, 0, 16, 16), (32, 32, 56, 56)])
    centres[0, 1:3, 1:3] = 0.5
    confidence[:20] = 0.5
    found = group_instances(labels, confidence, centres, offsets, max_instances=5)
    assert [instance.region.area for instance in found] == [576, 256]
    assert [round(instance.score, 6) for instance in found] == [1.0, 0.25]
    assert len(group_instances(labels, confidence, centres, offsets, max_instances=1)) == 1


def test_padding_of_the_maps_is_cut_away() -> None:
    labels, confidence, centres, offsets = scene([(16, 8, 40, 40)])
    padded = np.pad(centres, ((0, 0), (0, 4), (0, 9)), constant_values=1.0)
    found = group_instances(labels, confidence, padded, np.pad(offsets, ((0, 0), (0, 4), (0, 9))))
    assert [instance.region.box for instance in found] == [(8, 16, 40, 40)]
