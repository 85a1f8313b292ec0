"""A label map and its confidence in, each label's area and mean confidence out: run by run, not pixel by pixel, and of
a large image's confidence evenly spaced pixels only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shared.imaging.label_runs import LabelRuns
from shared.types import VOID_8, Float16Array, Int32Array, LabelArray, SemanticOutput


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


def summarise_output(
    output: SemanticOutput, labels: LabelArray, runs: LabelRuns | None = None
) -> dict[int, LabelSummary]:
    """Area and mean confidence of every label in `labels`: the output's own, with whole classes made void or none;
    `runs` are those of `labels`, if known. The means are of the pixels that the output samples, if it does, unless a
    label has none among them."""
    if output.sampled is None:
        return summarise(labels, output.confidence)
    some = output.sampled()
    means = summarise(some.labels, some.confidence)
    areas = (runs or LabelRuns.of(labels)).areas()
    if not all(label in means or label == VOID_8 for label in areas):
        return summarise(labels, output.confidence)
    return {label: LabelSummary(area, means[label].mean if label in means else 0.0) for label, area in areas.items()}
