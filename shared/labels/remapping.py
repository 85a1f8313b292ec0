"""Label ids of one space in, ids of another out, by equal names and by the names that each label takes in (`also`)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.labels.space import LabelSpace
from shared.types import VOID_8, LabelArray

UInt16Array = NDArray[np.uint16]


def remap(source: LabelSpace, target: LabelSpace) -> UInt16Array:
    """A lookup table of 65536 values: `table[id in source]` is the id in `target`, void where it has no such class.

    A class goes to the one of the same name, else to the one that lists it under `also`, else to one that takes `*`.
    """
    table = np.full(2**16, target.void, dtype=np.uint16)
    for label in source.labels:
        found = _place(label.name, target)
        if found is not None:
            table[label.id] = found
    return table


def apply_table(labels: LabelArray, table: UInt16Array, target: LabelSpace) -> LabelArray:
    """A label map of `table`'s source space as one of `target`, HxW uint8, or uint16 where ids need it."""
    if target.void > VOID_8:
        return table[labels]
    narrow = table.astype(np.uint8)
    if labels.dtype == np.uint8:
        return np.asarray(cv2.LUT(np.asarray(labels, np.uint8), narrow[:256]), dtype=np.uint8)
    return narrow[labels]


def _place(name: str, target: LabelSpace) -> int | None:
    folded = name.casefold()
    by_name = (label.id for label in target.labels if label.name.casefold() == folded)
    within = (label.id for label in target.labels if folded in label.also)
    rest = (label.id for label in target.labels if "*" in label.also)
    return next(by_name, next(within, next(rest, None)))
