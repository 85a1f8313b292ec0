"""CamVid-like folders (`{split}/images`, `{split}/labels`) as device tensors, with the connected components of each
class.

Everything fits in memory (367 photos: 190 MB of pixels), so that batches are drawn and augmented on the device itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shared.models.networks.street import CLASSES

VOID = len(CLASSES)
"""Label id of unlabelled pixels, ignored by every loss and metric."""

MIN_COMPONENT = 24
"""Pixels below which a component gets no id: specks of the annotation."""

MIN_INSTANCE = 64
"""Pixels from which a component of a thing class counts as an instance."""


@dataclass(frozen=True)
class Components:
    """One row a component: image index, id within the image (1..), class, area, centre (row, column), box (y0, x0,
    y1, x1).
    """

    image: Tensor
    number: Tensor
    label: Tensor
    area: Tensor
    centre: Tensor
    box: Tensor

    def select(self, keep: Tensor) -> Components:
        """The rows where the bool or index tensor `keep` says so."""
        return Components(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class Split:
    """Photos uint8 [n,3,h,w], labels uint8 [n,h,w] (11 = void), component ids int16 [n,h,w] (0 = none) and their table.

    The tensors live on the training device; the table stays on the CPU, where sampling happens.
    """

    names: tuple[str, ...]
    photos: Tensor
    labels: Tensor
    numbers: Tensor
    components: Components

    def subset(self, keep: list[int]) -> Split:
        """The photos at `keep`, in that order, with their components renumbered to the new image indices."""
        index = torch.tensor(keep)
        where = {old: new for new, old in enumerate(keep)}
        rows = torch.tensor([i for i, image in enumerate(self.components.image.tolist()) if image in where])
        table = self.components.select(rows.long())
        image = torch.tensor([where[i] for i in table.image.tolist()], dtype=torch.long)
        table = Components(image, table.number, table.label, table.area, table.centre, table.box)
        at = index.to(self.photos.device)
        names = tuple(self.names[i] for i in keep)
        return Split(names, self.photos[at], self.labels[at], self.numbers[at], table)

    def held_out(self, sequence: str) -> tuple[Split, Split]:
        """The photos of every other sequence, and those of this one: whose names begin with it.

        Raises ValueError when one of the two would be empty.
        """
        within = [i for i, name in enumerate(self.names) if name.startswith(sequence)]
        others = [i for i, name in enumerate(self.names) if not name.startswith(sequence)]
        if not within or not others:
            known = ", ".join(sorted({name.split("_")[0] for name in self.names}))
            raise ValueError(f"{sequence} is not one of several sequences here: {known}")
        return self.subset(others), self.subset(within)


def class_components(
    label: npt.NDArray[np.uint8],
) -> Iterator[tuple[int, npt.NDArray[np.bool_], npt.NDArray[np.int32]]]:
    """Each 8-connected component of a label map as (class id, mask, (x0, y0, width, height, area)), specks left out."""
    for value in range(VOID):
        plane = (label == value).astype(np.uint8)
        count, numbers, stats, _ = cv2.connectedComponentsWithStats(plane, connectivity=8)
        for number in range(1, count):
            if stats[number, cv2.CC_STAT_AREA] >= MIN_COMPONENT:
                yield value, numbers == number, stats[number]


def innermost(mask: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """(row, column) of the pixel farthest from the mask's border, the picture's edge counting as border."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    return int(row) - 1, int(column) - 1


def read_split(folder: Path, split: str, device: torch.device | str = "cpu", limit: int | None = None) -> Split:
    """Read `folder/split`: every photo with its label map of the same stem; all must have one size.

    Raises FileNotFoundError when the folder has no photo or a label is missing, ValueError on unequal sizes.
    """
    photos: list[npt.NDArray[np.uint8]] = []
    labels: list[npt.NDArray[np.uint8]] = []
    paths = sorted((folder / split / "images").glob("*.*"))[:limit]
    if not paths:
        raise FileNotFoundError(f"no photos in {folder / split / 'images'}")
    for path in paths:
        photo = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        label = cv2.imread(str(folder / split / "labels" / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
        if photo is None or label is None:
            raise FileNotFoundError(f"{path} or its label map is missing or unreadable")
        photos.append(np.asarray(photo, np.uint8))
        if photo.shape[:2] != label.shape or photo.shape != photos[0].shape:
            raise ValueError(f"{path}: photo, label map and the other photos must have one size")
        labels.append(np.minimum(label, VOID).astype(np.uint8))
    numbers, table = index_components(labels)
    return Split(
        tuple(path.stem for path in paths),
        torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).contiguous().to(device),
        torch.from_numpy(np.stack(labels)).to(device),
        torch.from_numpy(numbers).to(device),
        table,
    )


def index_components(labels: list[npt.NDArray[np.uint8]]) -> tuple[npt.NDArray[np.int16], Components]:
    """Component ids int16 [n,h,w] of label maps of one size, and their table."""
    numbers = np.zeros((len(labels), *labels[0].shape), np.int16)
    rows: list[tuple[int, ...]] = []
    for image, label in enumerate(labels):
        for number, (value, mask, (x, y, width, height, area)) in enumerate(class_components(label), start=1):
            numbers[image][mask] = number
            row, column = np.argwhere(mask[y : y + height, x : x + width]).mean(0)
            centre = (round(row) + y, round(column) + x)
            rows.append((image, number, value, area, *centre, y, x, y + height, x + width))
    table = torch.tensor(rows, dtype=torch.long).reshape(-1, 10)
    return numbers, Components(
        table[:, 0], table[:, 1], table[:, 2], table[:, 3], table[:, 4:6].float(), table[:, 6:10].float()
    )


def class_weights(labels: Tensor) -> Tensor:
    """Square root of median-frequency weights [11] of the label maps [n,h,w], at most 4."""
    counts = torch.bincount(labels.flatten().long().cpu(), minlength=VOID + 1)[:VOID].double().clamp_min(1)
    frequency = counts / counts.sum()
    return (frequency.median() / frequency).sqrt().clamp_max(4).float()
