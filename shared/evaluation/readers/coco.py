"""COCO 2017: photos in `{split}2017/`, `annotations/{instances,panoptic}_{split}2017.json`, the panoptic PNG files in
`annotations/panoptic_{split}2017/` (or beside it).

With panoptic annotation the space is COCO's 133 classes and the label map is derived from it; else the 80 things.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from pycocotools.coco import COCO

from shared.evaluation import TASKS
from shared.evaluation.dataset import Dataset, EvaluationError, LayoutError, Sample, TrueObject, TrueSegment, Truth
from shared.evaluation.readers.files import find_split, read_rgb_ids
from shared.imaging.rle import decode
from shared.labels import LabelSpace, label_space
from shared.types import Region, Task

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Panoptic:
    """The panoptic annotations by image id, the folder of their PNG files, and label ids by category id."""

    annotations: Mapping[int, Json]
    pictures: Path
    categories: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class _Instances:
    """pycocotools' index of the objects, and label ids by category id."""

    coco: Any
    categories: Mapping[int, int]


def read_coco(folder: Path, split: str | None = None) -> Dataset:
    """COCO with whatever annotation is there, by default of `val2017`. Raises `LayoutError`, `EvaluationError`."""
    files: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in (folder / "annotations").glob("*.json"):
        kind, _, name = path.stem.partition("_")
        if kind in ("instances", "panoptic"):
            files[name][kind] = path
    if not files:
        raise LayoutError("coco: annotations/instances_*.json or panoptic_*.json are not there")
    wanted = f"{split}2017" if split and split not in files else split
    name = find_split(wanted, ("val2017", "val2014"), files, "coco")
    kinds = files[name]
    space = label_space("coco_panoptic" if "panoptic" in kinds else "coco")
    panoptic = _read_panoptic(kinds["panoptic"], name, space) if "panoptic" in kinds else None
    instances = _read_instances(kinds["instances"], space) if "instances" in kinds else None
    images = instances.coco.dataset["images"] if instances else _load(kinds["panoptic"])["images"]
    if panoptic and instances:
        images = [image for image in images if image["id"] in panoptic.annotations]
    samples = tuple(_sample(folder / name, image, instances, panoptic, space) for image in images)
    tasks: tuple[Task, ...] = TASKS if panoptic else ("instance", "promptable")
    return Dataset("coco", name, space, tasks, samples)


def _sample(
    photos: Path, image: Json, instances: _Instances | None, panoptic: _Panoptic | None, space: LabelSpace
) -> Sample:
    return Sample(
        Path(image["file_name"]).stem,
        photos / Path(image["file_name"]).name,
        partial(_truth, image, instances, panoptic, space),
    )


def _read_panoptic(path: Path, name: str, space: LabelSpace) -> _Panoptic:
    data = _load(path)
    places = (path.with_suffix(""), path.parent.parent / f"panoptic_{name}")
    pictures = next((place for place in places if place.is_dir()), None)
    if pictures is None:
        raise EvaluationError(f"coco: the PNG files of {path} are not in {places[0]}")
    annotations = {each["image_id"]: each for each in data["annotations"]}
    return _Panoptic(annotations, pictures, _categories(data["categories"], space))


def _read_instances(path: Path, space: LabelSpace) -> _Instances:
    coco = COCO()
    coco.dataset = _load(path)
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
    return _Instances(coco, _categories(coco.dataset["categories"], space))


def _categories(categories: Sequence[Json], space: LabelSpace) -> dict[int, int]:
    """Category id -> label id, by name. Raises `EvaluationError` for categories that are not COCO's."""
    known = {label.name: label.id for label in space.labels}
    strange = [each["name"] for each in categories if each["name"] not in known]
    if strange:
        raise EvaluationError(f"coco: categories that are not COCO's own: {', '.join(strange[:5])}")
    return {each["id"]: known[each["name"]] for each in categories}


def _load(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise EvaluationError(f"{path} cannot be read: {error}") from None


def _truth(image: Json, instances: _Instances | None, panoptic: _Panoptic | None, space: LabelSpace) -> Truth:
    truth = Truth((image["height"], image["width"]))
    if panoptic is not None:
        truth = _segments(panoptic, image, space)
    if instances is None:
        return truth
    objects = tuple(
        TrueObject(
            instances.categories[each["category_id"]],
            Region.from_mask(decode(instances.coco.annToRLE(each))),
            bool(each["iscrowd"]),
        )
        for each in instances.coco.imgToAnns[image["id"]]
    )
    return Truth(truth.size, truth.labels, truth.ids, truth.segments, objects)


def _segments(panoptic: _Panoptic, image: Json, space: LabelSpace) -> Truth:
    annotation = panoptic.annotations[image["id"]]
    ids = read_rgb_ids(panoptic.pictures / annotation["file_name"])
    labels = np.full(ids.shape, space.void, np.uint8)
    segments, objects = [], []
    for each in annotation["segments_info"]:
        mask = ids == each["id"]
        label_id = panoptic.categories[each["category_id"]]
        labels[mask] = label_id
        segments.append(TrueSegment(each["id"], label_id, bool(each["iscrowd"])))
        if label_id in space.things:
            objects.append(TrueObject(label_id, Region.from_mask(mask), bool(each["iscrowd"])))
    return Truth((ids.shape[0], ids.shape[1]), labels, ids, tuple(segments), tuple(objects))
