"""The label spaces are those of the data sets: counts, order, official numbers and colours."""

from __future__ import annotations

import json

import numpy as np
import pytest

from shared.errors import InvalidOption
from shared.labels import LabelSpace, apply_table, label_space, label_spaces, remap
from shared.labels.space import Label, parse_space
from tests.data import SHARED

COUNTS = {
    "ade20k": (150, 100),
    "binary": (2, 1),
    "camvid": (11, 3),
    "cityscapes": (19, 8),
    "coco": (80, 80),
    "coco_panoptic": (133, 80),
    "pascal_context59": (59, 30),
    "sunrgbd37": (37, 34),
    "voc": (21, 20),
}


def test_every_space_has_its_number_of_classes_and_things() -> None:
    assert label_spaces() == tuple(sorted(COUNTS))
    assert {name: (len(label_space(name).labels), len(label_space(name).things)) for name in COUNTS} == COUNTS


@pytest.mark.parametrize("name", COUNTS)
def test_every_space_is_sound(name: str) -> None:
    space = label_space(name)
    assert space.name == name
    assert space.void == 255
    assert [space.id_of(label.name.upper()) for label in space.labels] == list(range(len(space.labels)))
    assert len({space.category_id(label.id) for label in space.labels}) == len(space.labels)
    palette = space.palette()
    assert palette.shape == (256, 3)
    assert tuple(palette[255]) == space.void_color
    assert tuple(palette[len(space.labels) - 1]) == space.labels[-1].color
    taken = [also for label in space.labels for also in label.also]
    assert len(taken) == len(set(taken)), "a name falls within one label only"
    assert not {also.casefold() for also in taken} & {label.name for label in space.labels}


@pytest.mark.parametrize(
    ("space", "label_id", "name", "color"),
    [
        ("camvid", 0, "sky", (128, 128, 128)),
        ("camvid", 10, "bicyclist", (0, 128, 192)),
        ("voc", 0, "background", (0, 0, 0)),
        ("voc", 15, "person", (192, 128, 128)),
        ("voc", 20, "tvmonitor", (0, 64, 128)),
        ("cityscapes", 0, "road", (128, 64, 128)),
        ("cityscapes", 11, "person", (220, 20, 60)),
        ("cityscapes", 18, "bicycle", (119, 11, 32)),
        ("ade20k", 0, "wall", (120, 120, 120)),
        ("ade20k", 12, "person", (150, 5, 61)),
        ("ade20k", 74, "computer", (0, 255, 173)),
        ("ade20k", 149, "flag", (92, 0, 255)),
        ("pascal_context59", 58, "wood", (31, 0, 255)),
        ("sunrgbd37", 36, "bag", (128, 0, 192)),
        ("coco", 79, "toothbrush", (191, 162, 208)),
        ("coco_panoptic", 132, "rug-merged", (250, 141, 255)),
    ],
)
def test_known_entries(space: str, label_id: int, name: str, color: tuple[int, int, int]) -> None:
    label = label_space(space).labels[label_id]
    assert (label.name, label.color) == (name, color)


def test_coco_numbers() -> None:
    coco, panoptic = label_space("coco"), label_space("coco_panoptic")
    assert [coco.category_id(index) for index in (0, 11, 12, 79)] == [1, 13, 14, 90]
    assert panoptic.category_id(80) == 92
    assert panoptic.category_id(132) == 200
    assert [label.name for label in panoptic.labels[:80]] == [label.name for label in coco.labels]
    cityscapes = label_space("cityscapes")
    assert [cityscapes.category_id(index) for index in (0, 10, 15, 16, 18)] == [7, 23, 28, 31, 33]
    assert label_space("camvid").category_id(4) == 4


def test_torchvision_knows_the_same_classes() -> None:
    meta = pytest.importorskip("torchvision.models._meta")
    assert label_space("voc").names == ("background", *meta._VOC_CATEGORIES[1:])
    coco = label_space("coco")
    numbered = {
        number: name for number, name in enumerate(meta._COCO_CATEGORIES) if name not in ("__background__", "N/A")
    }
    assert numbered == {coco.category_id(label.id): label.name for label in coco.labels}


def test_coco_panoptic_is_the_official_list() -> None:
    path = SHARED / "coco_panoptic" / "panoptic_coco_categories.json"
    if not path.is_file():
        pytest.skip("the COCO panoptic categories are not on this machine")
    official = json.loads(path.read_text(encoding="utf-8"))
    ours = [
        {"id": label.category_id, "name": label.name, "color": list(label.color), "isthing": int(label.isthing)}
        for label in label_space("coco_panoptic").labels
    ]
    assert ours == [{key: entry[key] for key in ("id", "name", "color", "isthing")} for entry in official]


def test_an_unknown_name_lists_near_ones() -> None:
    with pytest.raises(InvalidOption) as caught:
        label_space("camvid").id_of("pedestrians")
    detail = caught.value.details[0]
    assert (detail.field, detail.value, detail.limit) == ("classes", "pedestrians", "pedestrian")
    with pytest.raises(InvalidOption, match="cityscapes"):
        label_space("cityscape")
    with pytest.raises(InvalidOption) as caught:
        label_space("voc").id_of("xyzzy")
    assert "one of 21" in str(caught.value.details[0].limit)


def test_a_space_with_more_than_255_labels_needs_16_bits() -> None:
    wide = LabelSpace("wide", tuple(Label(index, f"class {index}", (1, 2, 3), False) for index in range(300)))
    assert wide.void == 65535
    assert wide.palette().shape == (256, 3)
    table = remap(wide, wide)
    labels = np.array([[0, 299, 65535]], dtype=np.uint16)
    got = apply_table(labels, table, wide)
    assert got.dtype == np.uint16
    assert got.tolist() == labels.tolist()


def test_an_unsound_space_is_refused() -> None:
    same = {"name": "a", "color": [0, 0, 0], "isthing": False}
    with pytest.raises(ValueError, match="names must differ"):
        parse_space({"name": "twice", "void_color": [0, 0, 0], "labels": [same, same]})
    with pytest.raises(ValueError, match="0 to 255"):
        parse_space({"name": "bright", "void_color": [0, 0, 300], "labels": [same]})


@pytest.mark.parametrize(
    ("source", "target", "pairs"),
    [
        ("cityscapes", "camvid", {"sidewalk": "pavement", "vegetation": "tree", "truck": "car", "person": "pedestrian",
                                  "rider": "bicyclist", "traffic light": "sign", "wall": "building", "sky": "sky"}),
        ("camvid", "cityscapes", {"pavement": "sidewalk", "tree": "vegetation", "sign": "traffic sign",
                                  "pedestrian": "person", "bicyclist": "rider", "car": "car"}),
        ("coco", "voc", {"airplane": "aeroplane", "couch": "sofa", "tv": "tvmonitor", "person": "person",
                         "zebra": "background", "dining table": "diningtable"}),
        ("voc", "coco", {"motorbike": "motorcycle", "pottedplant": "potted plant", "background": None}),
        ("ade20k", "cityscapes", {"sidewalk": "sidewalk", "tree": "vegetation", "minibike": "motorcycle", "bed": None}),
        ("coco_panoptic", "ade20k", {"tree-merged": "tree", "tv": "television receiver", "zebra": None}),
        ("ade20k", "binary", {"wall": "object"}),
    ],
)  # fmt: skip
def test_remapping_between_spaces(source: str, target: str, pairs: dict[str, str | None]) -> None:
    here, there = label_space(source), label_space(target)
    table = remap(here, there)
    got = {name: table[here.id_of(name)] for name in pairs}
    assert got == {name: there.void if other is None else there.id_of(other) for name, other in pairs.items()}
    assert table[here.void] == there.void
    labels = np.array([[here.id_of(name) for name in pairs] + [here.void]], dtype=np.uint8)
    np.testing.assert_array_equal(apply_table(labels, table, there), table[labels])


@pytest.mark.parametrize("name", COUNTS)
def test_a_space_maps_to_itself(name: str) -> None:
    space = label_space(name)
    assert remap(space, space)[: len(space.labels)].tolist() == list(range(len(space.labels)))
