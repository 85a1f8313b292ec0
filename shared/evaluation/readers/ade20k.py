"""ADE20K as SceneParse150 publishes it: `images/{split}/*.jpg`, `annotations/{split}/*.png` (0 void, 1 to 150).

With `annotations_instance/{split}/*.png` (red: one of 100 things, green: the object's number) also objects; the
panoptic truth is the stuff of the one with the objects of the other on top, as Mask2Former's authors derive it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from shared.evaluation import TASKS
from shared.evaluation.dataset import Dataset, EvaluationError, Sample, TrueObject, TrueSegment, Truth, stuff_of
from shared.evaluation.readers.files import find_root, find_split, from_one, photos_in, read_ids, read_rgb_ids
from shared.labels import label_space
from shared.types import Int32Array, LabelArray, Region

OBJECTS = "annotations_instance"


def read_ade20k(folder: Path, split: str | None = None) -> Dataset:
    """SceneParse150, by default `validation`. Raises `LayoutError`."""
    root = find_root(folder, "ade20k", ("ADEChallengeData2016",), ("images", "annotations"))
    splits = (path.name for path in (root / "annotations").iterdir() if path.is_dir())
    name = find_split(split, ("validation",), splits, "ade20k")
    has_objects = (root / OBJECTS / name).is_dir()
    samples = tuple(
        Sample(photo.stem, photo, partial(_truth, root, name, photo.stem, has_objects))
        for photo in photos_in(root / "images" / name)
    )
    space = label_space("ade20k")
    if has_objects:
        return Dataset("ade20k", name, space, TASKS, samples)
    return Dataset("ade20k", name, space, ("semantic", "promptable"), samples)


def _truth(root: Path, split: str, name: str, has_objects: bool) -> Truth:
    space = label_space("ade20k")
    labels = from_one(read_ids(root / "annotations" / split / f"{name}.png"), space)
    size = (labels.shape[0], labels.shape[1])
    if not has_objects:
        return Truth(size, labels, void=labels == space.void)
    path = root / OBJECTS / split / f"{name}.png"
    values = read_rgb_ids(path)
    if values.shape != size:
        raise EvaluationError(f"{path} is not of the size of its label map")
    return _panoptic(labels, *(np.asarray(part, np.int32) for part in (values & 255, values >> 8 & 255)))


def _panoptic(labels: LabelArray, kinds: Int32Array, numbers: Int32Array) -> Truth:
    """`kinds` 1 to 100 and the object's `numbers`, 0 where there is no object."""
    space = label_space("ade20k")
    things = sorted(space.things)
    ids, segments = stuff_of(labels, space)
    objects: list[TrueObject] = []
    for number in np.unique(numbers[numbers > 0]):
        mask = numbers == number
        label_id = things[int(np.bincount(kinds[mask]).argmax()) - 1]
        segments.append(TrueSegment(len(segments) + 1, label_id))
        ids[mask] = len(segments)
        objects.append(TrueObject(label_id, Region.from_mask(mask)))
    size = (labels.shape[0], labels.shape[1])
    return Truth(size, labels, ids, tuple(segments), tuple(objects), void=ids == 0)
