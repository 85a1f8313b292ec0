"""SUN RGB-D, 37 classes of indoor scenes, in its three published forms.

The archive itself (`kv1/`, `kv2/`, `realsense/`, `xtion/`: a folder an image with `image/*.jpg` and `seg.mat`; the
split in `SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat`); Handa's cut (`SUNRGBD-{split}_images/` and
`sunrgbd_train_test_labels/`, test first, train from 5051 on); and Choy's (`image/{split}/`, `label37/{split}/`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from shared.evaluation.dataset import Dataset, EvaluationError, LayoutError, Sample, Truth
from shared.evaluation.readers.files import (
    by_table,
    find_split,
    from_one,
    load_mat,
    photos_in,
    read_ids,
)
from shared.labels import label_space
from shared.types import LabelArray

SPACE = "sunrgbd37"
SPLITS = ("test", "train")
CAMERAS = ("kv1", "kv2", "realsense", "xtion")
HANDA_LABELS = "sunrgbd_train_test_labels"
TEST_IMAGES = 5050
"""Handa's labels number the test images first."""


def read_sunrgbd(folder: Path, split: str | None = None) -> Dataset:
    """SUN RGB-D, by default `test`. Raises `LayoutError`."""
    if (folder / "label37").is_dir():
        name, samples = _choy(folder, split)
    elif (folder / HANDA_LABELS).is_dir():
        name, samples = _handa(folder, split)
    else:
        name, samples = _archive(folder, split)
    return Dataset("sunrgbd", name, label_space(SPACE), ("semantic", "promptable"), tuple(samples))


def _choy(folder: Path, split: str | None) -> tuple[str, list[Sample]]:
    name = find_split(split, SPLITS, (path.name for path in (folder / "label37").iterdir()), "sunrgbd")
    labels = {_number(path): path for path in photos_in(folder / "label37" / name)}
    photos = photos_in(folder / "image" / name)
    return name, [_sample(photo, photo.stem, labels, _number(photo)) for photo in photos]


def _handa(folder: Path, split: str | None) -> tuple[str, list[Sample]]:
    there = [each for each in SPLITS if (folder / f"SUNRGBD-{each}_images").is_dir()]
    name = find_split(split, SPLITS, there, "sunrgbd")
    labels = {_number(path): path for path in photos_in(folder / HANDA_LABELS)}
    first = TEST_IMAGES if name == "train" else 0
    photos = photos_in(folder / f"SUNRGBD-{name}_images")
    return name, [_sample(photo, photo.stem, labels, _number(photo) + first) for photo in photos]


def _archive(folder: Path, split: str | None) -> tuple[str, list[Sample]]:
    root = folder / "SUNRGBD" if (folder / "SUNRGBD").is_dir() else folder
    if not any((root / camera).is_dir() for camera in CAMERAS):
        raise LayoutError(f"sunrgbd: none of label37, {HANDA_LABELS}, {', '.join(CAMERAS)} is there")
    scenes = {path.parent.relative_to(root).as_posix(): path for path in sorted(root.glob("*/**/seg.mat"))}
    lists = folder / "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"
    name = "all"
    if lists.is_file():
        name = find_split(split, SPLITS, SPLITS, "sunrgbd")
        listed = _listed(lists, f"all{name}")
        scenes = {scene: path for scene, path in scenes.items() if scene in listed}
    elif split:
        raise EvaluationError(f"sunrgbd: the split {split} needs {lists}")
    return name, [_scene(scene, path) for scene, path in scenes.items()]


def _listed(path: Path, variable: str) -> set[str]:
    """Scenes of a split, relative to the archive; the list has its authors' folders before `SUNRGBD/`."""
    entries = np.ravel(load_mat(path)[variable])
    return {str(np.ravel(entry)[0]).partition("/SUNRGBD/")[2].strip("/") for entry in entries}


def _scene(name: str, path: Path) -> Sample:
    photos = photos_in(path.parent / "image")
    if len(photos) != 1:
        raise EvaluationError(f"sunrgbd: {path.parent / 'image'} should have one photo and has {len(photos)}")
    return Sample(name, photos[0], partial(_truth, path, _read_mat))


def _sample(photo: Path, name: str, labels: dict[int, Path], number: int) -> Sample:
    if number not in labels:
        raise EvaluationError(f"sunrgbd: there are no labels for {photo}")
    return Sample(name, photo, partial(_truth, labels[number], _read_png))


def _number(path: Path) -> int:
    """The number that a file's name ends with."""
    found = re.search(r"(\d+)$", path.stem)
    if found is None:
        raise EvaluationError(f"sunrgbd: the name of {path} does not end with its number")
    return int(found[1])


def _truth(path: Path, read: Callable[[Path], LabelArray]) -> Truth:
    labels = read(path)
    return Truth((labels.shape[0], labels.shape[1]), labels, void=labels == label_space(SPACE).void)


def _read_png(path: Path) -> LabelArray:
    return from_one(read_ids(path), label_space(SPACE))


def _read_mat(path: Path) -> LabelArray:
    """`seglabel` holds 0 or the place of a name in `names`; names that are none of the 37 are void."""
    space, variables = label_space(SPACE), load_mat(path)
    known = {alias: label.id for label in space.labels for alias in (label.name, *label.also)}
    names = [str(np.ravel(entry)[0]).replace("_", " ") for entry in np.ravel(variables["names"])]
    table = {place: known[name] for place, name in enumerate(names, start=1) if name in known}
    return by_table(np.asarray(variables["seglabel"], np.uint16), table, space)
