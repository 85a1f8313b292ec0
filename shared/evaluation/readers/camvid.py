"""CamVid: 11 classes of street scenes, video frames at 480x360 (SegNet's cut) or 960x720 (the original colours).

Read are `images/` with `labels/` (or splits of these two), SegNet's `{split}/` with `{split}annot/`, and the original
`701_StillsRaw_full/` with `LabeledApproved_full/`. No objects are annotated: connected components stand in for them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from shared.evaluation import TASKS
from shared.evaluation.components import truth_by_components
from shared.evaluation.dataset import Dataset, EvaluationError, LayoutError, Sample, Truth
from shared.evaluation.readers.files import find_split, photos_in, read_ids, read_rgb_ids
from shared.labels import label_space
from shared.types import LabelArray

SPLITS = ("val", "test", "train")
ORIGINAL = ("701_StillsRaw_full", "LabeledApproved_full")
COLORS = {
    "sky": ((128, 128, 128),),
    "building": ((128, 0, 0), (64, 192, 0), (0, 128, 64), (192, 0, 128), (64, 0, 64)),
    "pole": ((192, 192, 128), (0, 0, 64)),
    "road": ((128, 64, 128), (128, 0, 192), (192, 0, 64)),
    "pavement": ((0, 0, 192), (64, 192, 128), (128, 128, 192)),
    "tree": ((128, 128, 0), (192, 192, 0)),
    "sign": ((192, 128, 128), (128, 128, 64), (0, 64, 64)),
    "fence": ((64, 64, 128),),
    "car": ((64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)),
    "pedestrian": ((64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)),
    "bicyclist": ((0, 128, 192), (192, 0, 192)),
}
"""The 31 colours of Brostow et al. 2009 by the class that each falls within: building takes wall, bridge, archway and
tunnel; pole the traffic cone; road its markings; pavement parking block and shoulder; tree other vegetation; sign text
and traffic light; car SUV, truck, bus, train and other vehicles; pedestrian child, cart and animal; bicyclist the
motorcycle. Black is void."""


def read_camvid(folder: Path, split: str | None = None) -> Dataset:
    """CamVid in one of its layouts; the split is `val` where there are several. Raises `LayoutError`."""
    read: Callable[[Path], LabelArray] = _indexed
    if all((folder / part).is_dir() for part in ORIGINAL):
        name, read = "all", _colored
        images, labels = (folder / part for part in ORIGINAL)
    elif (folder / "images").is_dir() and (folder / "labels").is_dir():
        name, images, labels = folder.name, folder / "images", folder / "labels"
    else:
        name, images, labels = _split_folders(folder, split)
    suffix = "_L" if read is _colored else ""
    pairs = [(photo, labels / f"{photo.stem}{suffix}.png") for photo in photos_in(images)]
    missing = next((label for _, label in pairs if not label.is_file()), None)
    if missing is not None:
        raise EvaluationError(f"camvid: {missing} is not there")
    samples = tuple(Sample(photo.stem, photo, partial(_truth, label, read)) for photo, label in pairs)
    return Dataset("camvid", name, label_space("camvid"), TASKS, samples, by_components=True)


def _split_folders(folder: Path, split: str | None) -> tuple[str, Path, Path]:
    """The name and the folders of photos and labels of one of several splits."""
    both = {path.parent.name for path in folder.glob("*/images") if (path.parent / "labels").is_dir()}
    segnet = {path.name.removesuffix("annot") for path in folder.glob("*annot") if path.is_dir()}
    if not both | segnet:
        expected = "images/ and labels/, {split}/images/, {split}annot/ or " + " and ".join(ORIGINAL)
        raise LayoutError(f"camvid: none of {expected} is there")
    name = find_split(split, SPLITS, both | segnet, "camvid")
    if name in both:
        return name, folder / name / "images", folder / name / "labels"
    return name, folder / name, folder / f"{name}annot"


def _truth(path: Path, read: Callable[[Path], LabelArray]) -> Truth:
    return truth_by_components(read(path), label_space("camvid"))


def _indexed(path: Path) -> LabelArray:
    """Values 0 to 10 are the classes, 11 is void."""
    space, values = label_space("camvid"), read_ids(path)
    return np.where(values < len(space.labels), values, space.void).astype(np.uint8)


def _colored(path: Path) -> LabelArray:
    """The colours of the original annotation."""
    space, values = label_space("camvid"), read_rgb_ids(path)
    labels = np.full(values.shape, space.void, np.uint8)
    for name, colors in COLORS.items():
        codes = [red + 256 * green + 65536 * blue for red, green, blue in colors]
        labels[np.isin(values, codes)] = space.id_of(name)
    return labels
