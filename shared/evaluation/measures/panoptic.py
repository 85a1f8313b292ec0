"""Panoptic: id maps with their segments, PQ, SQ and RQ over all photos."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from shared.client import Panoptic
from shared.evaluation.confusion import mean
from shared.evaluation.dataset import Dataset, EvaluationError, Sample
from shared.evaluation.gallery import photo
from shared.evaluation.measures.measure import Asking, Figures, Judged, Pictures, by_class, check_size
from shared.evaluation.panoptic_quality import Matches, Quality, match
from shared.evaluation.served import Served
from shared.imaging.compose import overlay_regions
from shared.labels import LabelSpace
from shared.types import Int32Array, Region, Task

COLUMNS = ("PQ", "SQ", "RQ")


class PanopticMeasure(Asking):
    """Implements `measure.Measure`."""

    task: Task = "panoptic"
    score_name = "PQ"

    def __init__(self, served: Served, dataset: Dataset, model: str | None) -> None:
        super().__init__(served, dataset, model)
        self._counts = Matches.none(len(self._space.labels))

    def judge(self, sample: Sample) -> Judged[Matches]:
        """See `Measure`."""
        truth = sample.truth()
        if truth.ids is None:
            raise EvaluationError("the data set has no segments for it")
        answer, seconds = self._asked(lambda client: client.panoptic(sample.image, model=self._model))
        check_size((answer.height, answer.width), truth.size)
        ids, labels = self._translated(answer)
        counts = match(truth.ids, truth.segments, ids, labels, len(self._space.labels))
        true_labels = {segment.id: segment.label_id for segment in truth.segments}
        draw = partial(_draw, sample, (truth.ids, true_labels), (ids, labels), self._space)
        return Judged(counts, mean(Quality.of(counts).pq), draw, (seconds,))

    def add(self, record: Matches) -> None:
        """See `Measure`."""
        self._counts += record

    def figures(self) -> Figures:
        """See `Measure`. Means are over the classes that occur in the truth or in an answer."""
        quality = Quality.of(self._counts)
        things = np.array([label.isthing for label in self._space.labels])
        headline = {
            "PQ": mean(quality.pq),
            "SQ": mean(quality.sq),
            "RQ": mean(quality.rq),
            "PQ things": mean(quality.pq[things]),
            "PQ stuff": mean(quality.pq[~things]),
        }
        classes = by_class(self._space, quality.pq, quality.sq, quality.rq)
        return Figures({self._prefix + name: value for name, value in headline.items()}, COLUMNS, classes)

    def _translated(self, answer: Panoptic) -> tuple[Int32Array, dict[int, int]]:
        """The answer's ids and their classes in the data set's space: segments of one stuff class become one, and those
        of classes that the data set does not have become void."""
        table = self._served.table(answer.label_space)
        ids = np.zeros((answer.height, answer.width), np.int32)
        labels: dict[int, int] = {}
        stuff: dict[int, int] = {}
        for segment in answer.segments:
            label_id = int(table[segment.label_id])
            if label_id == self._space.void:
                continue
            number = segment.id if label_id in self._space.things else stuff.setdefault(label_id, segment.id)
            labels[number] = label_id
            ids[segment.mask] = number
        return ids, labels


def _draw(
    sample: Sample,
    truth: tuple[Int32Array, Mapping[int, int]],
    answer: tuple[Int32Array, Mapping[int, int]],
    space: LabelSpace,
) -> Pictures:
    pixels = photo(sample.image)
    return (
        overlay_regions(pixels, _regions(*truth, space), colors=_colors(*truth, space)),
        overlay_regions(pixels, _regions(*answer, space), colors=_colors(*answer, space)),
    )


def _shown(ids: Int32Array, labels: Mapping[int, int], space: LabelSpace) -> list[int]:
    """The ids that occur, things first: these lie on top."""
    present = [int(value) for value in np.unique(ids) if value]
    return sorted(present, key=lambda number: labels[number] not in space.things)


def _regions(ids: Int32Array, labels: Mapping[int, int], space: LabelSpace) -> list[tuple[Region, str]]:
    found = []
    for number in _shown(ids, labels, space):
        label = space.labels[labels[number]]
        found.append((Region.from_mask(ids == number), label.name if label.isthing else ""))
    return found


def _colors(ids: Int32Array, labels: Mapping[int, int], space: LabelSpace) -> list[tuple[int, int, int]]:
    return [space.labels[labels[number]].color for number in _shown(ids, labels, space)]
