"""A label map and its confidence in, each label's area and mean confidence out: run by run, not pixel by pixel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shared.types import Float16Array, Int32Array, LabelArray


class LabelSummary(NamedTuple):
    """How many pixels a label has, and their mean value."""

    area: int
    mean: float


def summarise(labels: LabelArray | Int32Array, values: Float16Array) -> dict[int, LabelSummary]:
    """Area and mean value of every label that occurs in an HxW map, ascending by label; `values` is HxW float16."""
    flat = labels.reshape(-1)
    if flat.size == 0:
        return {}
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(starts, append=flat.size)
    sums = np.add.reduceat(values.reshape(-1).astype(np.float32), starts)
    ids, place = np.unique(flat[starts], return_inverse=True)
    areas = np.bincount(place, weights=lengths)
    totals = np.bincount(place, weights=sums)
    return {
        int(label): LabelSummary(int(area), float(total / area))
        for label, area, total in zip(ids, areas, totals, strict=True)
    }
