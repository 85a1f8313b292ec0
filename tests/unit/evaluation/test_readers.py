"""Every data set of label maps from the folders that its authors publish: which samples, and what each pixel is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from shared.evaluation.readers import open_dataset
from shared.labels import label_space
from tests.data import SHARED
from tests.unit.evaluation.layouts import PHOTO, grid, rgb, u8, write, write_indexed, write_text
from tests.unit.evaluation.reading import CAMVID, VOID, names, objects, only

# CamVid ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["split", "splits", "segnet"])
def test_camvid(layout: str, tmp_path: Path) -> None:
    images, labels = {
        "split": (tmp_path / "images", tmp_path / "labels"),
        "splits": (tmp_path / "val/images", tmp_path / "val/labels"),
        "segnet": (tmp_path / "val", tmp_path / "valannot"),
    }[layout]
    write(images / "0016E5_07959.png", PHOTO)
    write(labels / "0016E5_07959.png", u8(CAMVID))
    dataset = open_dataset(tmp_path)
    assert (dataset.name, dataset.by_components) == ("camvid", True)
    assert dataset.split == (tmp_path.name if layout == "split" else "val")
    truth = only(dataset)
    assert names(truth.labels, dataset.space) == [
        ["sky", "sky", "building", "building"],
        ["road", "road", "car", "car"],
        ["road", "road", "-", "-"],
    ]


def test_camvid_in_its_original_colours(tmp_path: Path) -> None:
    colors = [(128, 128, 128), (0, 128, 64), (0, 0, 64), (192, 0, 64), (128, 128, 192), (192, 192, 0)]
    colors += [(0, 64, 64), (64, 64, 128), (192, 128, 192), (64, 128, 64), (192, 0, 192), (0, 0, 0)]
    blocks = np.array(colors, np.uint8).reshape(3, 4, 3).repeat(4, 0).repeat(4, 1)
    write(tmp_path / "701_StillsRaw_full/0001TP_006690.png", PHOTO)
    write(tmp_path / "LabeledApproved_full/0001TP_006690_L.png", blocks)
    dataset = open_dataset(tmp_path)
    expected = [*dataset.space.names, "-"]
    assert names(only(dataset).labels, dataset.space) == [expected[:4], expected[4:8], expected[8:]]


def test_camvids_objects_are_components_of_64_pixels_and_specks_are_void(tmp_path: Path) -> None:
    labels = np.full((40, 60), 3, np.uint8)
    labels[2:10, 2:10] = 8  # 64 pixels
    labels[10:18, 10:18] = 8  # touches the first at its corner
    labels[2:9, 40:49] = 8  # 63 pixels
    labels[30:38, 40:48] = 9
    labels[25, 25] = 11
    write(tmp_path / "images/a.png", PHOTO)
    write(tmp_path / "labels/a.png", labels)
    truth = only(open_dataset(tmp_path, "camvid"))
    assert [(each.label_id, each.region.box) for each in truth.objects or ()] == [
        (8, (2, 2, 18, 18)),
        (9, (40, 30, 48, 38)),
    ]
    assert truth.ids is not None
    assert truth.void is not None
    assert truth.void.sum() == 63 + 1
    np.testing.assert_array_equal(truth.void, truth.ids == 0)
    assert [segment.label_id for segment in truth.segments] == [3, 8, 9]


def test_the_real_camvid_has_the_objects_that_are_known_of_it() -> None:
    """SYSTEMS.md 7 counts 1226 cars, 928 pedestrians and 198 bicyclists in train."""
    if not (SHARED / "camvid").is_dir():
        pytest.skip("the CamVid photos are not on this machine")
    dataset = open_dataset(SHARED / "camvid", split="train")
    assert len(dataset.samples) == 367
    counts = np.zeros(11, int)
    for sample in dataset.spread(None)[::8]:
        truth = sample.truth()
        counts += np.bincount([each.label_id for each in truth.objects or ()], minlength=11)
    assert counts[:8].sum() == 0
    np.testing.assert_allclose(counts[8:] * 8, [1226, 928, 198], rtol=0.25)


# Pascal VOC and Pascal Context ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("above", ["", "VOC2012", "VOCdevkit/VOC2012"])
def test_voc(above: str, tmp_path: Path) -> None:
    root = tmp_path / above
    write(root / "JPEGImages/2007_000033.jpg", PHOTO)
    write(root / "JPEGImages/2007_000001.jpg", PHOTO)
    write_indexed(root / "SegmentationClass/2007_000033.png", u8(grid("ppv.", "ppvd", "ppvd", p=15, d=12, v=VOID)))
    write_indexed(
        root / "SegmentationObject/2007_000033.png",
        u8(grid("12v.", "12v3", "12v3", **{"1": 1, "2": 2, "3": 3, "v": VOID})),
    )
    write_text(root / "ImageSets/Segmentation/val.txt", "2007_000033\n")
    write_text(root / "ImageSets/Segmentation/train.txt", "2007_000001\n")
    dataset = open_dataset(tmp_path)
    assert (dataset.name, dataset.split) == ("voc", "val")
    assert dataset.tasks == ("semantic", "instance", "promptable")
    truth = only(dataset)
    assert names(truth.labels, dataset.space)[1] == ["person", "person", "-", "dog"]
    assert names(truth.labels, dataset.space)[0][3] == "background"
    assert objects(truth, dataset.space) == [
        ("person", (0, 0, 1, 3), False),
        ("person", (1, 0, 2, 3), False),
        ("dog", (3, 1, 4, 3), False),
    ]
    assert truth.void is not None
    assert truth.void.sum() == 48


def test_voc_without_objects_is_semantic(tmp_path: Path) -> None:
    write(tmp_path / "JPEGImages/a.jpg", PHOTO)
    write_indexed(tmp_path / "SegmentationClass/a.png", u8(grid("....", "....", "....")))
    write_text(tmp_path / "ImageSets/Segmentation/val.txt", "a\n")
    dataset = open_dataset(tmp_path)
    assert dataset.tasks == ("semantic", "promptable")
    assert only(dataset).objects is None


CONTEXT = ["aeroplane", "bag", "wood", "sky"]


@pytest.mark.parametrize("form", ["59", "59 without names", "detail", "mat"])
def test_pascal_context(form: str, tmp_path: Path) -> None:
    space = label_space("pascal_context59")
    write(tmp_path / "VOC2010/JPEGImages/2008_000002.jpg", PHOTO)
    write(tmp_path / "VOC2010/JPEGImages/2008_000003.jpg", PHOTO)
    listed = {name: value for value, name in enumerate(space.names, start=1)}
    if form == "detail":
        listed = {name: value for value, name in enumerate(sorted(space.names), start=1)}
    if form == "mat":
        listed = {"aeroplane": 2, "bag": 19, "wood": 115, "sky": 360, "accordion": 1}
    values = grid(
        "abcd", "abcd", "ab..", **{letter: listed[name] for letter, name in zip("abcd", CONTEXT, strict=True)}
    )
    if form == "mat":
        (tmp_path / "trainval").mkdir()
        values[8:, :4] = 1
        savemat(tmp_path / "trainval/2008_000002.mat", {"LabelMap": values.astype(np.uint16)})
        write_text(tmp_path / "labels.txt", "".join(f"{value}: {name}\n" for name, value in listed.items()))
    else:
        folder = "VOC2010/SegmentationClassContext" if form == "detail" else "59_context_labels"
        write_indexed(tmp_path / folder / "2008_000002.png", u8(values))
    if form == "59":
        write_text(tmp_path / "59_labels.txt", "".join(f"{value}: {name}\n" for name, value in listed.items()))
    if form == "detail":
        write_text(tmp_path / "VOC2010/ImageSets/SegmentationContext/val.txt", "2008_000002\n")
    dataset = open_dataset(tmp_path)
    assert (dataset.name, dataset.split) == ("pascal-context", "val" if form == "detail" else "all")
    truth = only(dataset)
    last = ["-", "bag", "-", "-"] if form == "mat" else ["aeroplane", "bag", "-", "-"]
    assert names(truth.labels, space) == [CONTEXT, CONTEXT, last]


# Cityscapes and ADE20K ------------------------------------------------------------------------------------------------


def test_cityscapes(tmp_path: Path) -> None:
    stem = "frankfurt/frankfurt_000000_000294"
    write(tmp_path / f"leftImg8bit/val/{stem}_leftImg8bit.png", PHOTO)
    write(tmp_path / "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png", PHOTO)
    (tmp_path / "gtFine/train").mkdir(parents=True)
    labels = grid("rrcc", "rrcc", "e.gg", r=7, c=26, g=26, e=1)
    write(tmp_path / f"gtFine/val/{stem}_gtFine_labelIds.png", u8(labels))
    instances = grid("rrcd", "rrcd", "e.gg", r=7, c=26000, d=26001, g=26, e=1).astype(np.uint16)
    write(tmp_path / f"gtFine/val/{stem}_gtFine_instanceIds.png", instances)
    dataset = open_dataset(tmp_path)
    assert (dataset.name, dataset.split, dataset.samples[0].name) == ("cityscapes", "val", Path(stem).name)
    truth = only(dataset)
    assert names(truth.labels, dataset.space)[2] == ["-", "-", "car", "car"]
    assert sorted(objects(truth, dataset.space)) == [
        ("car", (2, 0, 3, 2), False),
        ("car", (2, 2, 4, 3), True),
        ("car", (3, 0, 4, 2), False),
    ]
    assert sorted((dataset.space.labels[each.label_id].name, each.iscrowd) for each in truth.segments) == [
        ("car", False),
        ("car", False),
        ("car", True),
        ("road", False),
    ]
    assert truth.void is not None
    assert truth.void.sum() == 32


@pytest.mark.parametrize("with_objects", [True, False])
def test_ade20k(with_objects: bool, tmp_path: Path) -> None:
    root = tmp_path / "ADEChallengeData2016"
    write(root / "images/validation/ADE_val_00000001.jpg", PHOTO)
    labels = grid("wwbb", "wwbb", "w.pp", w=1, b=8, p=13)
    write(root / "annotations/validation/ADE_val_00000001.png", u8(labels))
    if with_objects:
        kinds, numbers = (
            grid("..11", "..11", "..44", **{"1": 1, "4": 4}),
            grid("..12", "..12", "..33", **{"1": 1, "2": 2, "3": 3}),
        )
        write(root / "annotations_instance/validation/ADE_val_00000001.png", rgb(kinds + 256 * numbers))
    dataset = open_dataset(tmp_path)
    assert (dataset.name, dataset.split, len(dataset.space.things)) == ("ade20k", "validation", 100)
    truth = only(dataset)
    assert names(truth.labels, dataset.space) == [
        ["wall", "wall", "bed", "bed"],
        ["wall", "wall", "bed", "bed"],
        ["wall", "-", "person", "person"],
    ]
    if not with_objects:
        assert dataset.tasks == ("semantic", "promptable")
        return
    assert objects(truth, dataset.space) == [
        ("bed", (2, 0, 3, 2), False),
        ("bed", (3, 0, 4, 2), False),
        ("person", (2, 2, 4, 3), False),
    ]
    assert [dataset.space.labels[each.label_id].name for each in truth.segments] == ["wall", "bed", "bed", "person"]


# SUN RGB-D ------------------------------------------------------------------------------------------------------------

ROOM = ["wall", "floor mat", "night stand", "bag"]


def room() -> Any:
    space = label_space("sunrgbd37")
    values = {letter: space.id_of(name) + 1 for letter, name in zip("abcd", ROOM, strict=True)}
    return grid("abcd", "abcd", "ab..", **values)


@pytest.mark.parametrize("split", ["test", "train"])
@pytest.mark.parametrize("form", ["choy", "handa"])
def test_sunrgbd_in_its_cuts(form: str, split: str, tmp_path: Path) -> None:
    if form == "choy":
        write(tmp_path / f"image/{split}/img-000007.jpg", PHOTO)
        write(tmp_path / f"label37/{split}/img37labels-000007.png", u8(room()))
    else:
        write(tmp_path / f"SUNRGBD-{split}_images/img-000007.jpg", PHOTO)
        number = 7 if split == "test" else 5057
        write(tmp_path / f"sunrgbd_train_test_labels/img-{number:06d}.png", u8(room()))
    dataset = open_dataset(tmp_path, split=split)
    assert (dataset.name, dataset.split) == ("sunrgbd", split)
    assert names(only(dataset).labels, dataset.space) == [ROOM, ROOM, [*ROOM[:2], "-", "-"]]


def test_the_archive_of_sunrgbd(tmp_path: Path) -> None:
    listed = {"wall": 1, "floor_mat": 3, "night_stand": 4, "bag": 5, "unicorn": 2}
    for scene in ("kv1/NYUdata/NYU0001", "xtion/sun3ddata/a/b"):
        folder = tmp_path / "SUNRGBD" / scene
        write(folder / "image/NYU0001.jpg", PHOTO)
        values = grid("abcd", "abcd", "ab.u", a=1, b=3, c=4, d=5, u=2)
        cells = np.array(sorted(listed, key=listed.__getitem__), dtype=object)
        savemat(folder / "seg.mat", {"names": cells, "seglabel": values.astype(np.uint16)})
    assert len(open_dataset(tmp_path).samples) == 2
    paths = {"alltest": ["/n/fs/sun3d/data/SUNRGBD/kv1/NYUdata/NYU0001"], "alltrain": ["/n/fs/sun3d/data/SUNRGBD/x/"]}
    (tmp_path / "SUNRGBDtoolbox/traintestSUNRGBD").mkdir(parents=True)
    cells_of = {name: np.array([each, "none"], dtype=object) for name, (each,) in paths.items()}
    savemat(tmp_path / "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat", cells_of)
    dataset = open_dataset(tmp_path)
    assert (dataset.split, dataset.samples[0].name) == ("test", "kv1/NYUdata/NYU0001")
    assert names(only(dataset).labels, dataset.space) == [ROOM, ROOM, [*ROOM[:2], "-", "-"]]
