"""Objects with scores and true objects in, mask AP at IoU .50:.05:.95 out, as pycocotools computes it.

The reference (Lin et al. 2014): at most 100 objects an image, 101 recall levels, crowd regions ignored.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from shared.imaging.rle import Rle, area, box

MAX_DETECTIONS = 100
"""Objects of one image that are looked at, best score first."""


@dataclass(frozen=True, slots=True)
class TrueMask:
    """A true object of one image."""

    label_id: int
    rle: Rle
    iscrowd: bool = False


@dataclass(frozen=True, slots=True)
class FoundMask:
    """A found object of one image; score from 0 to 1."""

    label_id: int
    rle: Rle
    score: float


@dataclass(frozen=True, slots=True)
class PrecisionFigures:
    """Averages over the classes that occur in the truth, fractions of one, nan where there is nothing to average.

    `small`, `medium`, `large`: AP of objects below 32 x 32, below 96 x 96, and from there; `by_class`: (AP, AP at .5).
    """

    ap: float
    ap50: float
    ap75: float
    small: float
    medium: float
    large: float
    recall: float
    by_class: Mapping[int, tuple[float, float]]


def average_precision(
    images: Sequence[tuple[Sequence[TrueMask], Sequence[FoundMask]]], label_ids: Sequence[int]
) -> PrecisionFigures:
    """Figures over all images, each with its true and its found objects, for the classes `label_ids`."""
    with redirect_stdout(io.StringIO()):
        truth = _coco(images, label_ids)
        results = _results(images)
        found = truth.loadRes(results) if results else _coco([((), ())] * len(images), label_ids)
        evaluation = COCOeval(truth, found, "segm")
        evaluation.params.catIds = sorted(label_ids)
        evaluation.evaluate()
        evaluation.accumulate()
    return _figures(evaluation.eval["precision"], evaluation.eval["recall"], sorted(label_ids))


def _figures(precision: Any, recall: Any, label_ids: Sequence[int]) -> PrecisionFigures:
    """`precision` [IoU, recall level, class, size, detections], `recall` without the levels; -1 = nothing to find."""
    most = -1
    return PrecisionFigures(
        ap=_mean(precision[:, :, :, 0, most]),
        ap50=_mean(precision[0, :, :, 0, most]),
        ap75=_mean(precision[5, :, :, 0, most]),
        small=_mean(precision[:, :, :, 1, most]),
        medium=_mean(precision[:, :, :, 2, most]),
        large=_mean(precision[:, :, :, 3, most]),
        recall=_mean(recall[:, :, 0, most]),
        by_class={
            label_id: (_mean(precision[:, :, place, 0, most]), _mean(precision[0, :, place, 0, most]))
            for place, label_id in enumerate(label_ids)
        },
    )


def _mean(values: Any) -> float:
    known = np.asarray(values)[np.asarray(values) > -1]
    return float(known.mean()) if known.size else float("nan")


def _coco(images: Sequence[tuple[Sequence[TrueMask], Sequence[FoundMask]]], label_ids: Sequence[int]) -> Any:
    annotations: list[dict[str, Any]] = []
    for image_id, (masks, _) in enumerate(images, start=1):
        for mask in masks:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": mask.label_id,
                    "segmentation": mask.rle,
                    "area": area(mask.rle),
                    "bbox": _xywh(mask.rle),
                    "iscrowd": int(mask.iscrowd),
                }
            )
    coco = COCO()
    coco.dataset = {
        "images": [_image(image_id, [*image[0], *image[1]]) for image_id, image in enumerate(images, start=1)],
        "categories": [{"id": label_id} for label_id in label_ids],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _image(image_id: int, masks: Sequence[TrueMask | FoundMask]) -> dict[str, int]:
    height, width = masks[0].rle["size"] if masks else (1, 1)
    return {"id": image_id, "height": height, "width": width}


def _results(images: Sequence[tuple[Sequence[TrueMask], Sequence[FoundMask]]]) -> list[dict[str, Any]]:
    return [
        {"image_id": image_id, "category_id": mask.label_id, "segmentation": mask.rle, "score": mask.score}
        for image_id, (_, masks) in enumerate(images, start=1)
        for mask in masks
    ]


def _xywh(rle: Rle) -> list[int]:
    x0, y0, x1, y1 = box(rle)
    return [x0, y0, x1 - x0, y1 - y0]
