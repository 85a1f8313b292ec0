"""Two id maps with their segments in, panoptic quality PQ = SQ x RQ out (Kirillov et al. 2019).

A true and a found segment of one class match where their IoU is above one half; void pixels belong to no union, and a
found segment that lies mostly on void or on a crowd of its class is not held against the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.evaluation.dataset import TrueSegment
from shared.types import Int32Array

Float64Array = NDArray[np.float64]
SHIFT = 32
"""A pair of ids is one number: the true one in the upper bits."""


@dataclass(slots=True)
class Matches:
    """Counts by class, float64 [classes]: the summed IoU of the matches, matches, false alarms, misses."""

    iou: Float64Array
    matched: Float64Array
    wrong: Float64Array
    missed: Float64Array

    @classmethod
    def none(cls, classes: int) -> Matches:
        """No segment seen yet."""
        return cls(*(np.zeros(classes) for _ in range(4)))

    def __iadd__(self, other: Matches) -> Matches:
        self.iou += other.iou
        self.matched += other.matched
        self.wrong += other.wrong
        self.missed += other.missed
        return self


@dataclass(frozen=True, slots=True)
class Quality:
    """PQ, SQ and RQ by class, nan for classes that neither occur nor were found."""

    pq: Float64Array
    sq: Float64Array
    rq: Float64Array

    @classmethod
    def of(cls, counts: Matches) -> Quality:
        """From the counts of all images. SQ of a class without a match is 0, as in the reference."""
        seen = counts.matched + counts.wrong + counts.missed > 0
        weight = counts.matched + (counts.wrong + counts.missed) / 2
        pq = np.divide(counts.iou, weight, out=np.full(len(seen), np.nan), where=seen)
        rq = np.divide(counts.matched, weight, out=np.full(len(seen), np.nan), where=seen)
        sq = np.divide(counts.iou, np.maximum(counts.matched, 1), out=np.full(len(seen), np.nan), where=seen)
        return cls(pq, sq, rq)


def match(
    true_ids: Int32Array,
    true_segments: tuple[TrueSegment, ...],
    found_ids: Int32Array,
    found_labels: Mapping[int, int],
    classes: int,
) -> Matches:
    """The counts of one image. Ids are HxW, 0 = void; `found_labels` gives the class of each found id.

    Raises `ValueError` for maps of unequal shapes and for ids that no segment describes.
    """
    if true_ids.shape != found_ids.shape:
        raise ValueError(f"truth is {true_ids.shape}, the answer {found_ids.shape}")
    truths = {segment.id: segment for segment in true_segments}
    shared = _overlaps(true_ids, found_ids)
    true_areas, found_areas = _areas(shared, 0), _areas(shared, 1)
    if not true_areas.keys() - {0} <= truths.keys() or not found_areas.keys() - {0} <= found_labels.keys():
        raise ValueError("an id map has ids that no segment describes")
    counts, matched = Matches.none(classes), set[tuple[int, int]]()
    for (true_id, found_id), common in shared.items():
        if not true_id or not found_id or truths[true_id].iscrowd:
            continue
        label = truths[true_id].label_id
        union = true_areas[true_id] + found_areas[found_id] - common - shared.get((0, found_id), 0)
        if label == found_labels[found_id] and common / union > 0.5:
            counts.iou[label] += common / union
            counts.matched[label] += 1
            matched.add((true_id, found_id))
    _count_misses(counts, truths, true_areas, {true_id for true_id, _ in matched})
    _count_false_alarms(counts, truths, shared, found_areas, found_labels, {found_id for _, found_id in matched})
    return counts


def _count_misses(
    counts: Matches, truths: Mapping[int, TrueSegment], areas: Mapping[int, int], matched: set[int]
) -> None:
    for segment in truths.values():
        if segment.id in areas and segment.id not in matched and not segment.iscrowd:
            counts.missed[segment.label_id] += 1


def _count_false_alarms(
    counts: Matches,
    truths: Mapping[int, TrueSegment],
    shared: Mapping[tuple[int, int], int],
    areas: Mapping[int, int],
    labels: Mapping[int, int],
    matched: set[int],
) -> None:
    crowds = [segment for segment in truths.values() if segment.iscrowd]
    for found_id in areas.keys() - matched - {0}:
        label = labels[found_id]
        excused = [0, *(crowd.id for crowd in crowds if crowd.label_id == label)]
        if sum(shared.get((true_id, found_id), 0) for true_id in excused) / areas[found_id] <= 0.5:
            counts.wrong[label] += 1


def _overlaps(true_ids: Int32Array, found_ids: Int32Array) -> dict[tuple[int, int], int]:
    """Pixels by (true id, found id)."""
    pairs, pixels = np.unique((true_ids.astype(np.int64) << SHIFT) + found_ids, return_counts=True)
    low = (1 << SHIFT) - 1
    return {(int(pair) >> SHIFT, int(pair) & low): int(count) for pair, count in zip(pairs, pixels, strict=True)}


def _areas(shared: Mapping[tuple[int, int], int], side: int) -> dict[int, int]:
    areas: dict[int, int] = {}
    for pair, count in shared.items():
        areas[pair[side]] = areas.get(pair[side], 0) + count
    return areas
