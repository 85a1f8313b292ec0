"""Cityscapes: `leftImg8bit/{split}/{city}/*_leftImg8bit.png`, `gtFine/{split}/{city}/*_gtFine_{label,instance}Ids.png`.

19 training classes; an instance's value is 1000 times its class plus a number, and a group that is annotated as one
keeps the bare class.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from shared.evaluation import TASKS
from shared.evaluation.dataset import Dataset, Sample, TrueObject, TrueSegment, Truth
from shared.evaluation.readers.files import by_table, find_root, find_split, read_ids
from shared.labels import LabelSpace, label_space
from shared.types import LabelArray, Region

PHOTO = "_leftImg8bit.png"
PER_CLASS = 1000


def read_cityscapes(folder: Path, split: str | None = None) -> Dataset:
    """Cityscapes' fine annotation, by default `val`. Raises `LayoutError`."""
    root = find_root(folder, "cityscapes", ("cityscapes",), ("leftImg8bit", "gtFine"))
    splits = (path.name for path in (root / "gtFine").iterdir() if path.is_dir())
    name = find_split(split, ("val",), splits, "cityscapes")
    photos = sorted((root / "leftImg8bit" / name).glob(f"*/*{PHOTO}"))
    samples = tuple(
        Sample(photo.name.removesuffix(PHOTO), photo, partial(_truth, root / "gtFine" / name, photo))
        for photo in photos
    )
    return Dataset("cityscapes", name, label_space("cityscapes"), TASKS, samples)


def _truth(folder: Path, photo: Path) -> Truth:
    space = label_space("cityscapes")
    stem = f"{photo.parent.name}/{photo.name.removesuffix(PHOTO)}_gtFine"
    official = {label.category_id: label.id for label in space.labels if label.category_id is not None}
    labels = by_table(read_ids(folder / f"{stem}_labelIds.png"), official, space)
    numbers = read_ids(folder / f"{stem}_instanceIds.png")
    ids, segments = _segments(numbers, official, space)
    objects = tuple(
        TrueObject(segment.label_id, Region.from_mask(ids == segment.id), segment.iscrowd)
        for segment in segments
        if segment.label_id in space.things
    )
    return Truth((labels.shape[0], labels.shape[1]), labels, ids, segments, objects, void=labels == space.void)


def _segments(
    numbers: LabelArray, official: dict[int, int], space: LabelSpace
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.int32]], tuple[TrueSegment, ...]]:
    """The panoptic truth as Cityscapes' own script derives it from the instance map."""
    ids = np.zeros(numbers.shape, np.int32)
    segments: list[TrueSegment] = []
    for value in (int(each) for each in np.unique(numbers)):
        label_id = official.get(value // PER_CLASS if value >= PER_CLASS else value)
        if label_id is None:
            continue
        is_group = value < PER_CLASS and label_id in space.things
        segments.append(TrueSegment(len(segments) + 1, label_id, is_group))
        ids[numbers == value] = len(segments)
    return ids, tuple(segments)
