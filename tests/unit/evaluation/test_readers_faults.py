"""What is wrong with a folder, told so that it can be put right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.evaluation.dataset import EvaluationError
from shared.evaluation.readers import open_dataset
from tests.unit.evaluation.layouts import PHOTO, u8, write, write_text
from tests.unit.evaluation.reading import CAMVID, instances_json, only


def test_a_folder_that_is_no_data_set_is_told_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"is laid out as no data set(.|\n)*camvid(.|\n)*voc: JPEGImages"):
        open_dataset(tmp_path)
    with pytest.raises(EvaluationError, match="is no folder"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(EvaluationError, match="cityscapes: leftImg8bit and gtFine are not there"):
        open_dataset(tmp_path, "cityscapes")


def test_a_split_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    write(tmp_path / "val/images/a.png", PHOTO)
    write(tmp_path / "val/labels/a.png", u8(CAMVID))
    with pytest.raises(EvaluationError, match="the split test is not there, only val"):
        open_dataset(tmp_path, "camvid", "test")


def test_missing_and_broken_truth_is_named(tmp_path: Path) -> None:
    write(tmp_path / "images/a.png", PHOTO)
    (tmp_path / "labels").mkdir()
    with pytest.raises(EvaluationError, match=r"labels/a\.png is not there"):
        open_dataset(tmp_path)
    (tmp_path / "labels/a.png").write_bytes(b"no png")
    with pytest.raises(EvaluationError, match=r"the truth .*a\.png cannot be read"):
        only(open_dataset(tmp_path))
    write(tmp_path / "labels/a.png", PHOTO)
    with pytest.raises(EvaluationError, match=r"does not hold ids of this kind"):
        only(open_dataset(tmp_path))


def test_categories_that_are_not_cocos_are_named(tmp_path: Path) -> None:
    write(tmp_path / "val2017/000000000042.jpg", PHOTO)
    strange = instances_json(categories=[{"id": 1, "name": "crack"}])
    write_text(tmp_path / "annotations/instances_val2017.json", json.dumps(strange))
    with pytest.raises(EvaluationError, match="not COCO's own: crack"):
        open_dataset(tmp_path)


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(EvaluationError, match="has no images"):
        open_dataset(tmp_path)


def test_a_limit_is_spread_over_all(tmp_path: Path) -> None:
    for index in range(10):
        write(tmp_path / f"images/{index}.png", PHOTO)
        write(tmp_path / f"labels/{index}.png", u8(CAMVID))
    dataset = open_dataset(tmp_path)
    assert [sample.name for sample in dataset.spread(4)] == ["0", "2", "5", "7"]
    assert dataset.spread(None) == dataset.spread(10) == dataset.spread(99) == dataset.samples
