"""Instance: objects with scores, mask AP over all photos by pycocotools."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from shared.evaluation.average_precision import MAX_DETECTIONS, FoundMask, TrueMask, average_precision
from shared.evaluation.dataset import Dataset, EvaluationError, Sample, TrueObject, Truth
from shared.evaluation.gallery import photo
from shared.evaluation.measures.measure import Asking, Figures, Judged, Pictures, check_size
from shared.evaluation.served import Served
from shared.imaging.compose import overlay_regions
from shared.imaging.rle import encode
from shared.labels import LabelSpace
from shared.types import Region, Task

SHOWN_SCORE = 0.5
"""Objects from this score on are drawn, and ranked photo against photo."""
COLUMNS = ("AP", "AP50")


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object of an answer, in the data set's space."""

    label_id: int
    score: float
    region: Region


ImageObjects = tuple[tuple[TrueMask, ...], tuple[FoundMask, ...]]


class InstanceMeasure(Asking):
    """Implements `measure.Measure`."""

    task: Task = "instance"
    score_name = "F1 at IoU 0.5"

    def __init__(self, served: Served, dataset: Dataset, model: str | None) -> None:
        super().__init__(served, dataset, model)
        self._images: list[ImageObjects] = []

    def judge(self, sample: Sample) -> Judged[ImageObjects]:
        """See `Measure`. Objects of every score are asked for, as AP wants them."""
        truth = sample.truth()
        if truth.objects is None:
            raise EvaluationError("the data set has no objects for it")
        options: dict[str, Any] = {"model": self._model, "score_threshold": 0.0, "max_instances": MAX_DETECTIONS}
        answer, seconds = self._asked(lambda client: client.instance(sample.image, **options))
        check_size((answer.height, answer.width), truth.size)
        table = self._served.table(answer.label_space)
        found = [
            FoundObject(int(table[each.label_id]), each.score, without_void(each.mask, truth))
            for each in answer.instances
        ]
        known = [each for each in found if each.label_id != self._space.void and not each.region.empty]
        true_masks = tuple(TrueMask(each.label_id, encode(each.region), each.iscrowd) for each in truth.objects)
        found_masks = tuple(FoundMask(each.label_id, encode(each.region), each.score) for each in known)
        score = _f1(truth.objects, known)
        return Judged((true_masks, found_masks), score, partial(_draw, sample, truth, known, self._space), (seconds,))

    def add(self, record: ImageObjects) -> None:
        """See `Measure`."""
        self._images.append(record)

    def figures(self) -> Figures:
        """See `Measure`. Classes are the things that occur in the truth."""
        occurring = {mask.label_id for masks, _ in self._images for mask in masks if not mask.iscrowd}
        found = average_precision(self._images, sorted(self._space.things))
        headline = {
            "AP": found.ap,
            "AP50": found.ap50,
            "AP75": found.ap75,
            "AP small": found.small,
            "AP medium": found.medium,
            "AP large": found.large,
            "AR": found.recall,
        }
        classes = {self._space.labels[index].name: found.by_class[index] for index in sorted(occurring)}
        return Figures({self._prefix + name: value for name, value in headline.items()}, COLUMNS, classes)


def without_void(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], truth: Truth) -> Region:
    """An HxW mask without the pixels that count neither for nor against it."""
    return Region.from_mask(mask if truth.void is None else mask & ~truth.void)


def _f1(truths: tuple[TrueObject, ...], found: list[FoundObject]) -> float:
    """F1 of one photo's objects at IoU .5 and score .5, matched greedily by score; nan where there is no object."""
    shown = [each for each in found if each.score >= SHOWN_SCORE]
    wanted = [each for each in truths if not each.iscrowd]
    if not shown and not wanted:
        return math.nan
    free, hits = list(wanted), 0
    for each in sorted(shown, key=lambda item: -item.score):
        match = next((t for t in free if t.label_id == each.label_id and _iou(t.region, each.region) >= 0.5), None)
        if match is not None:
            free.remove(match)
            hits += 1
    return 2 * hits / (len(shown) + len(wanted))


def _iou(one: Region, other: Region) -> float:
    x0, y0 = max(one.x0, other.x0), max(one.y0, other.y0)
    x1, y1 = min(one.box[2], other.box[2]), min(one.box[3], other.box[3])
    if x0 >= x1 or y0 >= y1:
        return 0.0
    first = one.bits[y0 - one.y0 : y1 - one.y0, x0 - one.x0 : x1 - one.x0]
    second = other.bits[y0 - other.y0 : y1 - other.y0, x0 - other.x0 : x1 - other.x0]
    common = int(np.count_nonzero(first & second))
    return common / (one.area + other.area - common)


def _draw(sample: Sample, truth: Truth, found: list[FoundObject], space: LabelSpace) -> Pictures:
    pixels = photo(sample.image)
    true = [(each.region, space.labels[each.label_id].name) for each in truth.objects or ()]
    shown = [each for each in found if each.score >= SHOWN_SCORE]
    answered = [(each.region, f"{space.labels[each.label_id].name} {each.score:.2f}") for each in shown]
    return overlay_regions(pixels, true), overlay_regions(pixels, answered)
