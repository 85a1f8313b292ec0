"""Instances found at the network's resolution onto the image, and semantic and instances together as panoptic.

The semantic labels at full size draw the outlines; instances only say whose pixel it is.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.imaging.summary import summarise_output
from shared.types import (
    IdArray,
    Instance,
    Int32Array,
    LabelArray,
    PanopticOutput,
    PanopticSegment,
    Region,
    SemanticOutput,
    UInt8Array,
)

IntArray = NDArray[np.int64]

REACH = 4.0
"""Pixels of the network by which an instance may grow to meet the outline at full size."""


def onto_image(instances: Sequence[Instance], semantic: SemanticOutput) -> list[Instance]:
    """Instances with masks of any resolution as the pixels of their class in `semantic`, disjoint within a class.

    One that has no pixel there is dropped; order and scores stay.
    """
    owners = {label: _owners(instances, label) for label in {each.label_id for each in instances}}
    found = (
        replace(each, region=_region(each, number, owners[each.label_id], semantic.labels))
        for number, each in enumerate(instances, start=1)
    )
    return [each for each in found if not each.region.empty]


def panoptic(
    semantic: SemanticOutput, instances: Sequence[Instance], things: Collection[int], lowest_stuff: float = 0.0
) -> PanopticOutput:
    """One segment for each class present that is no thing and has a mean confidence of at least `lowest_stuff`, one for
    each instance; what is left is void."""
    segments: list[PanopticSegment] = []
    table = np.zeros(256, dtype=np.int32)
    for label, (_, score) in summarise_output(semantic, semantic.labels).items():
        if label not in things and score >= lowest_stuff:
            table[label] = len(segments) + 1
            segments.append(PanopticSegment(len(segments) + 1, label, False, score))
    ids: IdArray = table[semantic.labels] if len(segments) + len(instances) > 255 else _small(table, semantic.labels)
    for each in instances:
        x0, y0, x1, y1 = each.region.box
        np.copyto(ids[y0:y1, x0:x1], len(segments) + 1, where=each.region.bits)
        segments.append(PanopticSegment(len(segments) + 1, each.label_id, True, each.score))
    return PanopticOutput(ids, tuple(segments))


def _small(table: Int32Array, labels: LabelArray) -> UInt8Array:
    """The table's value of each label, where all are below 256."""
    return np.asarray(cv2.LUT(labels, table.astype(np.uint8)), dtype=np.uint8)


def _owners(instances: Sequence[Instance], label: int) -> Int32Array:
    """At the instances' resolution: 1 + the place of the instance of this class that is nearest, 0 beyond REACH."""
    grown = np.zeros(instances[0].region.size, dtype=np.int32)
    boxes = [each.region.box for each in instances if each.label_id == label]
    margin = math.ceil(REACH)
    left, top = (max(0, min(box[side] for box in boxes) - margin) for side in (0, 1))
    right, bottom = (max(box[side] for box in boxes) + margin for side in (2, 3))
    owners = grown[top:bottom, left:right]
    for number, each in enumerate(instances, start=1):
        if each.label_id == label:
            x0, y0, x1, y1 = each.region.box
            owners[y0 - top : y1 - top, x0 - left : x1 - left][each.region.bits] = number
    free = (owners == 0).astype(np.uint8)
    distance, nearest = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    of_pixel = np.zeros(int(nearest.max()) + 1, dtype=np.int32)
    of_pixel[nearest[free == 0]] = owners[free == 0]
    owners[:] = np.where(distance <= REACH, of_pixel[nearest], 0)
    return grown


def _region(instance: Instance, number: int, owners: Int32Array, labels: LabelArray) -> Region:
    """The pixels of the instance's class that lie where `owners` says `number`."""
    size = (int(labels.shape[0]), int(labels.shape[1]))
    mine = (owners == number).view(np.uint8)
    x, y, width, height = cv2.boundingRect(mine)
    down, across = _shown(len(mine), size[0]), _shown(mine.shape[1], size[1])
    top, left = int(down[:y].sum()), int(across[:x].sum())
    shown = np.repeat(mine[y : y + height, x : x + width], across[x : x + width], axis=1)
    mask = np.repeat(shown, down[y : y + height], axis=0).view(np.bool_)
    mask &= labels[top : top + mask.shape[0], left : left + mask.shape[1]] == instance.label_id
    return Region.from_mask(mask, left, top, size)


@lru_cache(maxsize=64)
def _shown(cells: int, pixels: int) -> IntArray:
    """How many pixels of one side of the image lie in each of so many cells."""
    return np.bincount((np.arange(pixels) * 2 + 1) * cells // (2 * pixels), minlength=cells)
