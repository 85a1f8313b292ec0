"""Semantic: label maps in the data set's space, one confusion matrix over all photos."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from shared.evaluation.confusion import ConfusionFigures, Int64Array, confusion, mean
from shared.evaluation.dataset import Dataset, EvaluationError, Sample
from shared.evaluation.gallery import photo
from shared.evaluation.measures.measure import Asking, Figures, Judged, Pictures, by_class, check_size
from shared.evaluation.served import Served
from shared.imaging.compose import overlay_labels
from shared.labels import LabelSpace, apply_table
from shared.types import LabelArray, Task

COLUMNS = ("IoU", "Dice", "precision", "recall")


class SemanticMeasure(Asking):
    """Implements `measure.Measure`."""

    task: Task = "semantic"
    score_name = "mIoU"

    def __init__(
        self, served: Served, dataset: Dataset, model: str | None, label_space: str, switches: Sequence[str]
    ) -> None:
        super().__init__(served, dataset, model)
        self._label_space = label_space
        self._options: dict[str, Any] = dict.fromkeys(switches, True)
        classes = len(self._space.labels)
        self._matrix: Int64Array = np.zeros((classes, classes + 1), np.int64)

    def judge(self, sample: Sample) -> Judged[Int64Array]:
        """See `Measure`. The score is the mean IoU of the classes in this photo."""
        truth = sample.truth().labels
        if truth is None:
            raise EvaluationError("the data set has no label map for it")
        model, options = self._model, self._options
        answer, seconds = self._asked(lambda client: client.semantic(sample.image, model=model, **options))
        check_size((answer.height, answer.width), (truth.shape[0], truth.shape[1]))
        labels = apply_table(answer.label_map(), self._served.table(answer.label_space), self._space)
        matrix = confusion(truth, labels, len(self._space.labels))
        score = mean(ConfusionFigures.of(matrix).iou)
        return Judged(matrix, score, partial(_draw, sample, truth, labels, self._space), (seconds,))

    def add(self, record: Int64Array) -> None:
        """See `Measure`."""
        self._matrix += record

    def figures(self) -> Figures:
        """See `Measure`. Means are over the classes that occur in the truth or in an answer."""
        found = ConfusionFigures.of(self._matrix)
        headline = {
            "mIoU": mean(found.iou),
            "pixel accuracy": found.pixel_accuracy,
            "Dice": mean(found.dice),
            "precision": mean(found.precision),
            "recall": mean(found.recall),
        }
        notes: tuple[str, ...] = ()
        lacking = self._served.lacking(self._label_space)
        if lacking:
            known = [label.id for label in self._space.labels if label.name not in lacking]
            headline["mIoU of the classes that the model has"] = mean(found.iou[known])
            notes = (f"Classes that the model does not have, counted with IoU 0: {', '.join(lacking)}.",)
        classes = by_class(self._space, found.iou, found.dice, found.precision, found.recall)
        return Figures(headline, COLUMNS, classes, notes)


def _draw(sample: Sample, truth: LabelArray, labels: LabelArray, space: LabelSpace) -> Pictures:
    pixels, palette = photo(sample.image), space.palette()
    return overlay_labels(pixels, truth, palette), overlay_labels(pixels, labels, palette)
