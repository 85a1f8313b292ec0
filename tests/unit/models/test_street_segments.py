"""Instances found at the network's resolution, onto the image: crops around them give what the whole plane gives."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from shared.models.postprocess.street_segments import REACH, onto_image
from shared.types import Instance, Int32Array, Region, SemanticOutput, UInt8Array

CAR, PEDESTRIAN = 8, 9
SIZE = (63, 84)


def drawn(seed: int) -> list[Instance]:
    """Ellipses anywhere, at the edges too, disjoint."""
    random = np.random.default_rng(seed)
    taken = np.zeros(SIZE, dtype=np.uint8)
    found = []
    for number in range(int(random.integers(1, 7))):
        plane = np.zeros(SIZE, dtype=np.uint8)
        centre = int(random.integers(0, SIZE[1])), int(random.integers(0, SIZE[0]))
        cv2.ellipse(plane, centre, (int(random.integers(1, 14)), int(random.integers(1, 9))), 0, 0, 360, 1, -1)
        mask = (plane == 1) & (taken == 0)
        taken |= plane
        if mask.any():
            label = (CAR, PEDESTRIAN)[number % 2]
            found.append(Instance(label, 0.9 - number / 10, Region.from_mask(mask, 0, 0, SIZE)))
    return found


def whole(instances: list[Instance], labels: UInt8Array) -> list[Int32Array]:
    """The rows and columns of each instance's pixels, its nearest pixel looked for in the whole plane."""
    found = []
    height, width = labels.shape
    rows, columns = (
        (2 * np.arange(pixels) + 1) * cells // (2 * pixels) for pixels, cells in ((height, SIZE[0]), (width, SIZE[1]))
    )
    for each in instances:
        owners = np.zeros(SIZE, dtype=np.int32)
        for number, other in enumerate(instances, start=1):
            if other.label_id == each.label_id:
                owners[other.region.full()] = number
        free = (owners == 0).astype(np.uint8)
        distance, nearest = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
        of_pixel = np.zeros(int(nearest.max()) + 1, dtype=np.int32)
        of_pixel[nearest[free == 0]] = owners[free == 0]
        grown = np.where(distance <= REACH, of_pixel[nearest], 0)
        shown = grown[np.ix_(rows, columns)] == instances.index(each) + 1
        found.append(np.argwhere(shown & (labels == each.label_id)).astype(np.int32))
    return [pixels for pixels in found if len(pixels)]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("size", [SIZE, (45, 60), (189, 252)])
def test_crops_around_the_instances_give_what_the_whole_plane_gives(seed: int, size: tuple[int, int]) -> None:
    instances = drawn(seed)
    random = np.random.default_rng(100 + seed)
    coarse = random.choice(np.array([0, CAR, PEDESTRIAN], dtype=np.uint8), (9, 12))
    labels: UInt8Array = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    semantic = SemanticOutput(labels, np.ones(size, dtype=np.float16))
    found = [np.argwhere(each.region.full()) for each in onto_image(instances, semantic)]
    expected = whole(instances, labels)
    assert len(found) == len(expected)
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
