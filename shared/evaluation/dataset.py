"""A data set as evaluation sees it: samples, each a photo and its truth in the data set's label space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.labels import LabelSpace
from shared.types import BoolArray, Int32Array, LabelArray, Region, Task


class EvaluationError(Exception):
    """The evaluation cannot go on, or not for this image; the message is for the person who started it."""


class LayoutError(EvaluationError):
    """The folder is not laid out as this data set is published; the message says what was looked for."""


@dataclass(frozen=True, slots=True)
class TrueObject:
    """One annotated object. `iscrowd`: several annotated as one, which is neither to be found nor wrong to find."""

    label_id: int
    region: Region
    iscrowd: bool = False


@dataclass(frozen=True, slots=True)
class TrueSegment:
    """One entry of the panoptic truth; `id` > 0 is its value in the id map."""

    id: int
    label_id: int
    iscrowd: bool = False


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of one image of `size` (H, W); None where the data set does not say.

    `labels` HxW ids of the data set's space, its void where unlabelled; `ids` HxW, 0 = void, with their `segments`;
    `objects` with masks that may overlap; `void` HxW: pixels that count neither for nor against a mask.
    """

    size: tuple[int, int]
    labels: LabelArray | None = None
    ids: Int32Array | None = None
    segments: tuple[TrueSegment, ...] = ()
    objects: tuple[TrueObject, ...] | None = None
    void: BoolArray | None = None


def stuff_of(labels: LabelArray, space: LabelSpace) -> tuple[Int32Array, list[TrueSegment]]:
    """Each class of stuff in the HxW labels as one segment: ids HxW, 0 where there is none, and the segments."""
    ids = np.zeros(labels.shape, np.int32)
    segments: list[TrueSegment] = []
    for label_id in (int(value) for value in np.unique(labels)):
        if label_id < len(space.labels) and label_id not in space.things:
            segments.append(TrueSegment(len(segments) + 1, label_id))
            ids[labels == label_id] = len(segments)
    return ids, segments


@dataclass(frozen=True, slots=True)
class Sample:
    """One photo; `truth` reads what is known of it, anew at each call. Raises `EvaluationError`."""

    name: str
    image: Path
    truth: Callable[[], Truth]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Samples of one split, in a fixed order; `tasks` are those that their truth can judge.

    `by_components`: the data set knows no objects, and connected components of its labels stand in for them.
    """

    name: str
    split: str
    space: LabelSpace
    tasks: tuple[Task, ...]
    samples: tuple[Sample, ...]
    by_components: bool = False

    def spread(self, limit: int | None) -> tuple[Sample, ...]:
        """At most `limit` samples, evenly spread over all: of a sequence not only its beginning."""
        count = len(self.samples)
        if limit is None or limit >= count:
            return self.samples
        return tuple(self.samples[index * count // limit] for index in range(limit))
