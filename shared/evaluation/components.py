"""Label maps in, connected components as stand-ins for objects out (8 neighbours, 64 pixels and more).

They merge objects that touch, so figures on them are called CC-AP and CC-PQ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from shared.evaluation.dataset import TrueObject, TrueSegment, Truth, stuff_of
from shared.labels import LabelSpace
from shared.types import LabelArray, Region

MIN_PIXELS = 64
"""Smaller components are specks of the annotation and count as void."""


def components(labels: LabelArray, label_ids: Iterable[int]) -> Iterator[tuple[int, Region]]:
    """(label id, region) of each component of these classes, specks among them."""
    size = (int(labels.shape[0]), int(labels.shape[1]))
    for label_id in label_ids:
        plane = (labels == label_id).astype(np.uint8)
        count, numbers, boxes, _ = cv2.connectedComponentsWithStats(plane, connectivity=8)
        for number in range(1, count):
            x, y, width, height, _ = (int(value) for value in boxes[number])
            yield label_id, Region(size, x, y, numbers[y : y + height, x : x + width] == number)


def objects_of(labels: LabelArray, label_ids: Iterable[int]) -> tuple[TrueObject, ...]:
    """The components of these classes that are large enough."""
    found = components(labels, label_ids)
    return tuple(TrueObject(label_id, region) for label_id, region in found if region.area >= MIN_PIXELS)


def truth_by_components(labels: LabelArray, space: LabelSpace) -> Truth:
    """Truth for all tasks from a label map alone: a component of a thing is an object, a stuff class one segment."""
    ids, segments = stuff_of(labels, space)
    objects = objects_of(labels, sorted(space.things))
    for found in objects:
        segments.append(TrueSegment(len(segments) + 1, found.label_id))
        x0, y0, x1, y1 = found.region.box
        ids[y0:y1, x0:x1][found.region.bits] = len(segments)
    return Truth((labels.shape[0], labels.shape[1]), labels, ids, tuple(segments), objects, void=ids == 0)
