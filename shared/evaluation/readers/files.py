"""Folders and label files of data sets: found, paired by name, read as ids; what is missing is named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import SegServeError
from shared.evaluation.dataset import EvaluationError, LayoutError
from shared.imaging.png import read_label_png, read_panoptic_png
from shared.labels import LabelSpace
from shared.types import Int32Array, LabelArray, UInt8Array

PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def find_root(folder: Path, name: str, below: Sequence[str], needed: Sequence[str]) -> Path:
    """The first of `folder` and its subfolders `below` that has every entry of `needed`. Raises `LayoutError`."""
    for root in (folder, *(folder / place for place in below)):
        if all((root / entry).exists() for entry in needed):
            return root
    raise LayoutError(f"{name}: {' and '.join(needed)} are not there")


def find_split(split: str | None, usual: Sequence[str], there: Iterable[str], name: str) -> str:
    """The split asked for, else the first of `usual` that is there. Raises `LayoutError`."""
    found = sorted(there)
    chosen = [each for each in ([split] if split else usual) if each in found]
    if not chosen:
        wanted = split or " or ".join(usual)
        raise LayoutError(f"{name}: the split {wanted} is not there, only {', '.join(found) or 'none'}")
    return chosen[0]


def photos_in(folder: Path) -> list[Path]:
    """The photos directly in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTOS) if folder.is_dir() else []


def names_in(path: Path) -> list[str]:
    """The first word of each line of a list of names. Raises `EvaluationError`."""
    return [line.split()[0] for line in read_text(path).splitlines() if line.strip()]


def read_text(path: Path) -> str:
    """A text file. Raises `EvaluationError`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path} cannot be read: {error}") from None


def read_ids(path: Path) -> LabelArray:
    """The values of an indexed or grey PNG, HxW. Raises `EvaluationError`."""
    try:
        return read_label_png(path.read_bytes())
    except (OSError, SegServeError) as error:
        raise unreadable(path, error) from None


def read_rgb_ids(path: Path) -> Int32Array:
    """R + 256 G + 65536 B of an RGB PNG, HxW. Raises `EvaluationError`."""
    try:
        return read_panoptic_png(path.read_bytes())
    except (OSError, SegServeError) as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> EvaluationError:
    """The error for a file of truth that cannot be read."""
    reason = error.message if isinstance(error, SegServeError) else str(error)
    return EvaluationError(f"the truth {path} cannot be read: {reason}")


def from_one(values: LabelArray, space: LabelSpace) -> UInt8Array:
    """Ids of a label map whose 0 is void and 1 the first class; values beyond the classes are void too."""
    shifted = np.where((values >= 1) & (values <= len(space.labels)), values.astype(np.int32) - 1, space.void)
    return shifted.astype(np.uint8)


def by_table(values: LabelArray, table: dict[int, int], space: LabelSpace) -> UInt8Array:
    """Ids by a table from the file's values; values that it does not have are void."""
    lookup = np.full(2**16, space.void, np.uint8)
    for value, label_id in table.items():
        lookup[value] = label_id
    return lookup[values]


def load_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file up to version 7. Raises `EvaluationError`, also where scipy is not installed."""
    try:
        from scipy.io import loadmat  # a heavy package, needed for two data sets only
    except ModuleNotFoundError:
        raise EvaluationError(f"{path} is a MATLAB file, which needs scipy: pip install scipy") from None
    try:
        variables: dict[str, Any] = loadmat(path)
    except (OSError, ValueError, NotImplementedError) as error:
        raise unreadable(path, error) from None
    return variables
