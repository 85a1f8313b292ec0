"""A folder in, a data set out: one module for each published layout, chosen by name or by what lies in the folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from shared.evaluation.dataset import Dataset, EvaluationError, LayoutError
from shared.evaluation.readers.ade20k import read_ade20k
from shared.evaluation.readers.camvid import read_camvid
from shared.evaluation.readers.cityscapes import read_cityscapes
from shared.evaluation.readers.coco import read_coco
from shared.evaluation.readers.pascal_context import read_pascal_context
from shared.evaluation.readers.sunrgbd import read_sunrgbd
from shared.evaluation.readers.voc import read_voc

Reader = Callable[[Path, str | None], Dataset]
"""Folder and split (None: the one that figures are usually given for) in. Raises `LayoutError`, `EvaluationError`."""

READERS: Mapping[str, Reader] = {
    "camvid": read_camvid,
    "pascal-context": read_pascal_context,
    "voc": read_voc,
    "cityscapes": read_cityscapes,
    "ade20k": read_ade20k,
    "sunrgbd": read_sunrgbd,
    "coco": read_coco,
}
"""By the name that the command takes, in the order in which a folder is tried."""


def open_dataset(folder: Path, form: str | None = None, split: str | None = None) -> Dataset:
    """The data set in `folder`, of the layout `form` or of the first that fits. Raises `EvaluationError`."""
    if not folder.is_dir():
        raise EvaluationError(f"{folder} is no folder")
    if form is not None:
        return _checked(READERS[form](folder, split), folder)
    tried = []
    for reader in READERS.values():
        try:
            return _checked(reader(folder, split), folder)
        except LayoutError as error:
            tried.append(str(error))
    raise EvaluationError("\n  ".join([f"{folder} is laid out as no data set that can be read:", *tried]))


def _checked(dataset: Dataset, folder: Path) -> Dataset:
    if not dataset.samples:
        raise EvaluationError(f"{folder}: the split {dataset.split} of {dataset.name} has no images")
    return dataset
