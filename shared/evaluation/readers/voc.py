"""Pascal VOC 2012: `JPEGImages/`, `SegmentationClass/`, `SegmentationObject/`, `ImageSets/Segmentation/{split}.txt`.

20 things and the background; 255 is the outline around objects and belongs to nothing.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from shared.evaluation.dataset import Dataset, Sample, TrueObject, Truth
from shared.evaluation.readers.files import find_root, find_split, names_in, read_ids
from shared.labels import label_space
from shared.types import VOID_8, Region

BELOW = ("VOC2012", "VOCdevkit/VOC2012")
NEEDED = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")


def read_voc(folder: Path, split: str | None = None) -> Dataset:
    """Pascal VOC, by default `val`; without `SegmentationObject` semantic only. Raises `LayoutError`."""
    root = find_root(folder, "voc", BELOW, NEEDED)
    lists = root / "ImageSets/Segmentation"
    name = find_split(split, ("val",), (path.stem for path in lists.glob("*.txt")), "voc")
    has_objects = (root / "SegmentationObject").is_dir()
    samples = tuple(
        Sample(each, root / "JPEGImages" / f"{each}.jpg", partial(_truth, root, each, has_objects))
        for each in names_in(lists / f"{name}.txt")
    )
    if has_objects:
        return Dataset("voc", name, label_space("voc"), ("semantic", "instance", "promptable"), samples)
    return Dataset("voc", name, label_space("voc"), ("semantic", "promptable"), samples)


def _truth(root: Path, name: str, has_objects: bool) -> Truth:
    labels = read_ids(root / "SegmentationClass" / f"{name}.png")
    size = (labels.shape[0], labels.shape[1])
    if not has_objects:
        return Truth(size, labels, void=labels == VOID_8)
    numbers = read_ids(root / "SegmentationObject" / f"{name}.png")
    objects = []
    for number in np.unique(numbers[(numbers != 0) & (numbers != VOID_8)]):
        mask = numbers == number
        classes = np.bincount(labels[mask])
        objects.append(TrueObject(int(classes.argmax()), Region.from_mask(mask)))
    return Truth(size, labels, objects=tuple(objects), void=labels == VOID_8)
