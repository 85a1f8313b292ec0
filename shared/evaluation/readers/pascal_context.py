"""Pascal Context, its 59 most frequent classes, over the photos of Pascal VOC 2010 (`JPEGImages/`).

Three published forms of the labels: `59_context_labels/*.png` with `59_labels.txt`; `SegmentationClassContext/*.png`
(the Detail API's classes, by alphabet); the 459 classes `trainval/*.mat` with `labels.txt`. Splits lie in
`ImageSets/SegmentationContext/{split}.txt`; where there are none, every photo that has labels is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from shared.evaluation.dataset import Dataset, EvaluationError, LayoutError, Sample, Truth
from shared.evaluation.readers.files import by_table, find_split, load_mat, names_in, read_ids, read_text
from shared.labels import label_space
from shared.types import LabelArray

SPACE = "pascal_context59"
PHOTO_FOLDERS = ("JPEGImages", "VOC2010/JPEGImages", "VOCdevkit/VOC2010/JPEGImages")
LISTS = "ImageSets/SegmentationContext"


def read_pascal_context(folder: Path, split: str | None = None) -> Dataset:
    """Pascal Context, by default `val`. Raises `LayoutError`."""
    photos = next((folder / each for each in PHOTO_FOLDERS if (folder / each).is_dir()), None)
    if photos is None:
        raise LayoutError(f"pascal-context: none of {', '.join(PHOTO_FOLDERS)} is there")
    labels, read = _labels(folder, photos.parent)
    name, stems = _names(photos.parent, labels, split)
    suffix = ".mat" if labels.name == "trainval" else ".png"
    samples = tuple(
        Sample(stem, photos / f"{stem}.jpg", partial(_truth, labels / f"{stem}{suffix}", read)) for stem in stems
    )
    return Dataset("pascal-context", name, label_space(SPACE), ("semantic", "promptable"), samples)


def _labels(*roots: Path) -> tuple[Path, Callable[[Path], LabelArray]]:
    """The folder of label maps in the first root that has one, and how one is read."""
    for root in roots:
        if (root / "59_context_labels").is_dir():
            return root / "59_context_labels", partial(_read_png, table=_listed(root / "59_labels.txt"))
        if (root / "SegmentationClassContext").is_dir():
            names = enumerate(sorted(label_space(SPACE).names), start=1)
            table = {value: label_space(SPACE).id_of(name) for value, name in names}
            return root / "SegmentationClassContext", partial(_read_png, table=table)
        if (root / "trainval").is_dir() and (root / "labels.txt").is_file():
            return root / "trainval", partial(_read_mat, table=_listed(root / "labels.txt"))
    raise LayoutError("pascal-context: none of 59_context_labels, SegmentationClassContext, trainval is there")


def _listed(path: Path) -> dict[int, int]:
    """Value in the file -> label id, from lines such as `1: aeroplane`; without the list, the space's own order."""
    space = label_space(SPACE)
    if path.name == "59_labels.txt" and not path.is_file():
        return {label.id + 1: label.id for label in space.labels}
    known = {label.name: label.id for label in space.labels}
    pairs = (line.partition(":")[::2] for line in read_text(path).splitlines() if ":" in line)
    return {int(value): known[name.strip()] for value, name in pairs if name.strip() in known}


def _names(root: Path, labels: Path, split: str | None) -> tuple[str, list[str]]:
    lists = {path.stem for path in (root / LISTS).glob("*.txt")}
    if lists:
        name = find_split(split, ("val",), lists, "pascal-context")
        return name, names_in(root / LISTS / f"{name}.txt")
    if split:
        raise EvaluationError(f"pascal-context: there is no {root / LISTS / split}.txt")
    return "all", sorted(path.stem for path in labels.iterdir() if path.suffix in (".png", ".mat"))


def _truth(path: Path, read: Callable[[Path], LabelArray]) -> Truth:
    labels = read(path)
    return Truth((labels.shape[0], labels.shape[1]), labels, void=labels == label_space(SPACE).void)


def _read_png(path: Path, table: dict[int, int]) -> LabelArray:
    return by_table(read_ids(path), table, label_space(SPACE))


def _read_mat(path: Path, table: dict[int, int]) -> LabelArray:
    values = load_mat(path).get("LabelMap")
    if values is None:
        raise EvaluationError(f"{path} has no variable LabelMap")
    return by_table(np.asarray(values, np.uint16), table, label_space(SPACE))
