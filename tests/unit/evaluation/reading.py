"""A truth in, what a person would say of it out: class names by block, objects by box."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from shared.evaluation.dataset import Dataset, Truth
from shared.labels import LabelSpace
from tests.unit.evaluation.layouts import grid

VOID = 255
CAMVID = grid("aabb", "rrcc", "rrvv", a=0, b=1, r=3, c=8, v=11)


def names(labels: Any, space: LabelSpace) -> list[list[str]]:
    """The class name of each 4x4 block of a 12x16 label map."""
    corners = np.asarray(labels)[::4, ::4]
    np.testing.assert_array_equal(np.kron(corners, np.ones((4, 4))), labels)
    return [["-" if value == space.void else space.labels[value].name for value in row] for row in corners]


def objects(truth: Truth, space: LabelSpace) -> list[tuple[str, tuple[int, int, int, int], bool]]:
    """(class, box in blocks, crowd) of each object."""
    found = truth.objects or ()
    scaled = [tuple(side // 4 for side in each.region.box) for each in found]
    return [
        (space.labels[each.label_id].name, (box[0], box[1], box[2], box[3]), each.iscrowd)
        for each, box in zip(found, scaled, strict=True)
    ]


def only(dataset: Dataset) -> Truth:
    """The truth of a data set's one sample, whose photo must be there."""
    (sample,) = dataset.samples
    assert sample.image.is_file()
    return sample.truth()


def instances_json(**changes: Any) -> dict[str, Any]:
    crowd = np.zeros((12, 16), np.uint8)
    crowd[8:, 8:] = 1
    counts = coco_mask.encode(np.asfortranarray(crowd))["counts"].decode()
    common = {"image_id": 42, "area": 1, "bbox": [0, 0, 1, 1]}
    return {
        "images": [{"id": 42, "file_name": "000000000042.jpg", "height": 12, "width": 16}],
        "categories": [{"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}],
        "annotations": [
            {**common, "id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [[0, 0, 8, 0, 8, 8, 0, 8]]},
            {**common, "id": 2, "category_id": 90, "iscrowd": 0, "segmentation": [[4, 4, 16, 4, 16, 8, 4, 8]]},
            {**common, "id": 3, "category_id": 1, "iscrowd": 1, "segmentation": {"size": [12, 16], "counts": counts}},
        ],
        **changes,
    }
