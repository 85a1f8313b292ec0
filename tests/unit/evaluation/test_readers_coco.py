"""COCO, instance and panoptic, from the folders that its authors publish."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.evaluation.readers import open_dataset
from tests.data import SHARED
from tests.unit.evaluation.layouts import PHOTO, grid, rgb, write, write_text
from tests.unit.evaluation.reading import instances_json, names, objects, only

PANOPTIC = {
    "images": [{"id": 42, "file_name": "000000000042.jpg", "height": 12, "width": 16}],
    "categories": [{"id": 1, "name": "person", "isthing": 1}, {"id": 187, "name": "sky-other-merged", "isthing": 0}],
    "annotations": [
        {
            "image_id": 42,
            "file_name": "000000000042.png",
            "segments_info": [
                {"id": 70000, "category_id": 187, "iscrowd": 0},
                {"id": 3, "category_id": 1, "iscrowd": 0},
                {"id": 600, "category_id": 1, "iscrowd": 1},
            ],
        }
    ],
}


def test_coco_instances(tmp_path: Path) -> None:
    write(tmp_path / "val2017/000000000042.jpg", PHOTO)
    write_text(tmp_path / "annotations/instances_val2017.json", json.dumps(instances_json()))
    dataset = open_dataset(tmp_path)
    assert (dataset.name, dataset.split, dataset.space.name) == ("coco", "val2017", "coco")
    assert dataset.tasks == ("instance", "promptable")
    assert objects(only(dataset), dataset.space) == [
        ("person", (0, 0, 2, 2), False),
        ("toothbrush", (1, 1, 4, 2), False),
        ("person", (2, 2, 4, 3), True),
    ]


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("with_instances", [True, False])
def test_coco_panoptic(with_instances: bool, beside: bool, tmp_path: Path) -> None:
    write(tmp_path / "val2017/000000000042.jpg", PHOTO)
    pictures = tmp_path / ("panoptic_val2017" if beside else "annotations/panoptic_val2017")
    ids = grid("ssss", "pps.", "ppcc", s=70000, p=3, c=600)
    write(pictures / "000000000042.png", rgb(ids))
    write_text(tmp_path / "annotations/panoptic_val2017.json", json.dumps(PANOPTIC))
    if with_instances:
        write_text(tmp_path / "annotations/instances_val2017.json", json.dumps(instances_json()))
    dataset = open_dataset(tmp_path, split="val")
    assert (dataset.space.name, len(dataset.tasks)) == ("coco_panoptic", 4)
    truth = only(dataset)
    sky, person = "sky-other-merged", "person"
    assert names(truth.labels, dataset.space) == [
        [sky] * 4,
        [person, person, sky, "-"],
        [person] * 4,
    ]
    np.testing.assert_array_equal(truth.ids, ids)
    assert [(each.id, each.iscrowd) for each in truth.segments] == [(70000, False), (3, False), (600, True)]
    boxes = objects(truth, dataset.space)
    assert len(boxes) == (3 if with_instances else 2)
    assert ("toothbrush", (1, 1, 4, 2), False) in boxes or not with_instances


def test_the_two_real_photos_of_coco_panoptic(tmp_path: Path) -> None:
    source = SHARED / "coco_panoptic"
    if not source.is_dir():
        pytest.skip("COCO's examples are not on this machine")
    (tmp_path / "annotations").mkdir()
    shutil.copy(source / "panoptic_examples.json", tmp_path / "annotations/panoptic_val2017.json")
    (tmp_path / "annotations/panoptic_val2017").symlink_to(source / "panoptic_examples")
    (tmp_path / "val2017").symlink_to(source / "input_images")
    dataset = open_dataset(tmp_path)
    assert len(dataset.samples) == 2
    annotations = json.loads((source / "panoptic_examples.json").read_text())["annotations"]
    for sample, annotation in zip(dataset.samples, annotations, strict=True):
        truth = sample.truth()
        with Image.open(sample.image) as photo:
            assert photo.size == (truth.size[1], truth.size[0])
        assert truth.ids is not None
        areas = {each.id: int((truth.ids == each.id).sum()) for each in truth.segments}
        assert areas == {each["id"]: each["area"] for each in annotation["segments_info"]}
