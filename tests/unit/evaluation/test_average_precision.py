"""Mask AP against pycocotools used as its own documentation uses it: from files, with its summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from shared.evaluation.average_precision import FoundMask, TrueMask, average_precision
from shared.imaging.rle import encode
from shared.types import BoolArray, Region
from tests.unit.evaluation.scenes import disturbed, random_scene

CLASSES = 4
Objects = list[tuple[int, BoolArray, float, bool]]
"""(class, mask, score, crowd)."""


def random_objects(seed: int, images: int = 6) -> list[tuple[Objects, Objects]]:
    """True and found objects of each image, of all of COCO's sizes."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(images):
        truth = random_scene(random, CLASSES, (160, 200))
        answer = disturbed(truth, random, CLASSES)
        true: Objects = [(truth.classes[n], mask, 1.0, random.random() < 0.15) for n, mask in truth.masks().items()]
        masks: Objects = [
            (answer.classes[n], mask, float(random.random()), False) for n, mask in answer.masks().items()
        ]
        found.append((true, masks))
    return found


def rle_text(mask: BoolArray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def from_files(images: list[tuple[Objects, Objects]], folder: Path) -> COCOeval:
    """The reference, evaluated."""
    truth: dict[str, Any] = {
        "images": [{"id": 10 + i, "height": 160, "width": 200} for i in range(len(images))],
        "annotations": [],
    }
    truth["categories"] = [{"id": label + 100, "name": str(label)} for label in range(CLASSES)]
    results = []
    for index, (true, found) in enumerate(images):
        for label, mask, _, crowd in true:
            entry = {"image_id": 10 + index, "category_id": label + 100, "segmentation": rle_text(mask)}
            entry |= {"area": int(mask.sum()), "iscrowd": int(crowd), "id": len(truth["annotations"]) + 1}
            truth["annotations"].append({**entry, "bbox": list(coco_mask.toBbox(entry["segmentation"]))})
        for label, mask, score, _ in found:
            results.append(
                {"image_id": 10 + index, "category_id": label + 100, "segmentation": rle_text(mask), "score": score}
            )
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "results.json").write_text(json.dumps(results))
    coco = COCO(str(folder / "truth.json"))
    evaluation = COCOeval(coco, coco.loadRes(str(folder / "results.json")), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def as_masks(images: list[tuple[Objects, Objects]]) -> list[tuple[list[TrueMask], list[FoundMask]]]:
    return [
        (
            [TrueMask(label, encode(Region.from_mask(mask)), crowd) for label, mask, _, crowd in true],
            [FoundMask(label, encode(Region.from_mask(mask)), score) for label, mask, score, _ in found],
        )
        for true, found in images
    ]


@pytest.mark.parametrize("seed", range(4))
def test_every_figure_is_that_of_pycocotools(seed: int, tmp_path: Path) -> None:
    images = random_objects(seed)
    reference = from_files(images, tmp_path)
    found = average_precision(as_masks(images), range(CLASSES))
    stats = [found.ap, found.ap50, found.ap75, found.small, found.medium, found.large]
    assert stats == [float(value) for value in reference.stats[:6]]
    assert found.recall == reference.stats[8]
    assert 0.05 < found.ap < 0.95
    for label, (ap, ap50) in found.by_class.items():
        precision = reference.eval["precision"][:, :, label, 0, -1]
        assert (ap, ap50) == (precision.mean(), precision[0].mean())


def test_a_class_without_truth_has_no_figure_and_no_part_in_the_mean() -> None:
    square = np.zeros((40, 40), np.bool_)
    square[5:25, 5:25] = True
    rle = encode(Region.from_mask(square))
    found = average_precision([([TrueMask(2, rle)], [FoundMask(2, rle, 0.9), FoundMask(5, rle, 0.8)])], [2, 5])
    assert (found.ap, found.small, *found.by_class[2]) == pytest.approx((1, 1, 1, 1))
    assert np.isnan(found.by_class[5]).all()
    assert np.isnan(found.large)


def test_nothing_found_is_zero_and_nothing_to_find_is_no_figure(capsys: pytest.CaptureFixture[str]) -> None:
    rle = encode(Region.from_mask(np.ones((8, 8), np.bool_)))
    assert average_precision([([TrueMask(0, rle)], [])], [0]).ap == 0.0
    assert np.isnan(average_precision([([], [FoundMask(0, rle, 0.5)])], [0]).ap)
    assert capsys.readouterr().out == ""
