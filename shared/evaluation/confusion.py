"""Label maps in, one int64 confusion matrix over the whole data set, IoU, Dice, precision, recall, accuracy out.

Averaging over images would be another figure: rare classes would count as often as they occur, not as many pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.types import LabelArray

Int64Array = NDArray[np.int64]
Float64Array = NDArray[np.float64]


def confusion(truth: LabelArray, predicted: LabelArray, classes: int) -> Int64Array:
    """Pixels of two HxW label maps by (true class, predicted class), int64 [classes, classes + 1].

    The last column counts pixels predicted as void or as anything beyond `classes`; pixels whose truth is void (any
    value from `classes` on) are left out. Raises `ValueError` for maps of unequal shapes.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth is {truth.shape}, the prediction {predicted.shape}")
    known = truth < classes
    codes = truth[known].astype(np.int64) * (classes + 1) + np.minimum(predicted[known], classes)
    return np.bincount(codes, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


@dataclass(frozen=True, slots=True)
class ConfusionFigures:
    """Figures of a confusion matrix, fractions of one: arrays by class, nan for classes that neither occur in the
    truth nor were predicted; a class that was never predicted has precision 0, one that never occurs recall 0."""

    iou: Float64Array
    dice: Float64Array
    precision: Float64Array
    recall: Float64Array
    pixel_accuracy: float
    pixels: Int64Array
    """True pixels by class."""

    @classmethod
    def of(cls, matrix: Int64Array) -> ConfusionFigures:
        """From counts [classes, classes + 1], the last column being void."""
        classes = len(matrix)
        hit = np.diagonal(matrix).astype(np.float64)
        true, found = matrix.sum(1), matrix[:, :classes].sum(0)
        seen = true + found > 0
        return cls(
            iou=_share(hit, true + found - hit, seen),
            dice=_share(2 * hit, true + found, seen),
            precision=_share(hit, found, seen),
            recall=_share(hit, true, seen),
            pixel_accuracy=float(hit.sum() / matrix.sum()) if matrix.any() else float("nan"),
            pixels=true,
        )


def mean(values: Float64Array) -> float:
    """The mean over the classes that have a value; nan where none has."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _share(part: Float64Array, whole: Float64Array | Int64Array, seen: NDArray[np.bool_]) -> Float64Array:
    shares = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    shares[~seen] = np.nan
    return shares
