"""`segserve evaluate` against a running gateway: figures worked out by hand, reports, pictures, and what goes wrong."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from services import cli
from shared.settings import parse
from shared.types import UInt8Array
from tests.unit.evaluation.layouts import rgb, u8, write, write_text
from tests.unit.evaluation.painted import paint, served, space_ids
from tests.unit.evaluation.scenes import random_scene

SKY, ROAD, CAR, PEDESTRIAN, BICYCLIST, VOID = 0, 3, 8, 9, 10, 11
CAR_A, CAR_B, WALKER = np.s_[20:30, 5:15], np.s_[20:30, 30:40], np.s_[20:30, 48:58]
ROAD_PIXELS = 32 * 64 - 300


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served() as found:
        yield found


def truth() -> UInt8Array:
    """48x64: 16 rows of sky, road, two cars and a pedestrian of 100 pixels each."""
    labels = np.full((48, 64), ROAD, np.uint8)
    labels[:16] = SKY
    labels[CAR_A] = labels[CAR_B] = CAR
    labels[WALKER] = PEDESTRIAN
    return labels


def answer() -> UInt8Array:
    """A photo that is answered like `truth`, but for the second car, which is missed, and the pedestrian, which is
    taken for a bicyclist."""
    labels = truth()
    labels[CAR_B] = ROAD
    return paint(labels, [(CAR_A, CAR), (WALKER, BICYCLIST)])


def folder_of(root: Path, **pairs: tuple[UInt8Array, UInt8Array]) -> Path:
    """A CamVid split of (photo, labels) by name."""
    for name, (photo, labels) in pairs.items():
        write(root / "images" / f"{name}.png", photo)
        write(root / "labels" / f"{name}.png", labels)
    return root


def run(url: str, data: Path, *options: str, out: Path | None = None) -> tuple[int, dict[str, Any]]:
    """The exit status and the report of the command."""
    out = out or data.parent / "out"
    status = cli.main(["evaluate", str(data), "--url", url, "--out", str(out), *options])
    path = out / "report.json"
    return status, json.loads(path.read_text()) if path.is_file() else {}


def printed(text: str) -> dict[str, float]:
    """`name = value` lines."""
    pairs = (line.split(" = ") for line in text.splitlines() if " = " in line)
    return {name: float(value) for name, value in pairs}


def test_every_figure_of_all_four_tasks(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = folder_of(tmp_path / "val", a=(answer(), truth()), b=(answer(), truth()))
    status, report = run(url, data)
    assert status == 0
    lines = printed(capsys.readouterr().out)
    road = ROAD_PIXELS / (ROAD_PIXELS + 100)
    assert lines["semantic mIoU"] == pytest.approx(np.mean([1, road, 0.5, 0, 0]), abs=1e-4)
    assert lines["semantic pixel accuracy"] == pytest.approx(1 - 200 / (48 * 64), abs=1e-4)
    dice = 2 * ROAD_PIXELS / (2 * ROAD_PIXELS + 100)
    assert lines["semantic Dice"] == pytest.approx(np.mean([1, dice, 2 / 3, 0, 0]), abs=1e-4)
    assert lines["instance CC-AP"] == pytest.approx(51 / 101 / 2, abs=1e-4)
    assert lines["instance CC-AP50"] == lines["instance CC-AP small"] == lines["instance CC-AP"]
    assert lines["panoptic CC-PQ"] == pytest.approx(np.mean([1, road, 2 / 3, 0, 0]), abs=1e-4)
    assert lines["panoptic CC-SQ"] == pytest.approx(np.mean([1, road, 1, 0, 0]), abs=1e-4)
    assert lines["panoptic CC-RQ"] == pytest.approx(np.mean([1, 1, 2 / 3, 0, 0]), abs=1e-4)
    assert lines["panoptic CC-PQ things"] == pytest.approx(2 / 9, abs=1e-4)
    hidden = 100 / (ROAD_PIXELS + 100)  # the second car, under whose click lies road
    assert lines["promptable IoU@1"] == pytest.approx(np.mean([1, road, 1, hidden, 1]), abs=1e-4)
    assert lines["promptable IoU@1 things"] == pytest.approx(np.mean([1, hidden, 1]), abs=1e-4)
    assert report["tasks"]["semantic"]["figures"]["mIoU"] == pytest.approx(lines["semantic mIoU"], abs=1e-4)
    assert report["tasks"]["panoptic"]["classes"]["road"]["PQ"] == pytest.approx(road)
    assert (report["dataset"], report["split"], report["label_space"]) == ("camvid", "val", "camvid")
    assert report["tasks"]["instance"]["weights_sha256"] == "ab" * 32
    assert {task["images"] for task in report["tasks"].values()} == {2}
    assert report["tasks"]["promptable"]["notes"] == ["10 objects were clicked on."]


def test_clicks_go_on_with_the_earlier_mask(url: str, tmp_path: Path) -> None:
    """A car in two colours: the first click finds one half, the second, on top of the first's logits, the other."""
    labels = np.full((40, 60), ROAD, np.uint8)
    labels[10:20, 10:31] = CAR
    halves = paint(np.full((40, 60), ROAD, np.uint8), [(np.s_[10:20, 10:21], CAR), (np.s_[10:20, 21:31], CAR)])
    status, report = run(url, folder_of(tmp_path / "val", a=(halves, labels)), "--tasks", "promptable")
    figures = report["tasks"]["promptable"]["classes"]["car"]
    assert status == 0
    assert figures == {"IoU@1": pytest.approx(110 / 210), "IoU@3": 1.0, "IoU@5": 1.0}
    assert report["tasks"]["promptable"]["figures"]["IoU@1 of the best of three masks"] == 1.0


def test_many_objects_are_asked_about_in_parts(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.evaluation.measures.promptable.MAX_PROMPTS", 3)
    monkeypatch.setattr("shared.evaluation.measures.promptable.MAX_LOGITS_BYTES", 15000)
    labels = np.full((60, 100), ROAD, np.uint8)
    places = [np.s_[y : y + 9, x : x + 9] for y in (5, 25, 45) for x in (5, 25, 45, 65)]
    for place in places:
        labels[place] = CAR
    photo = paint(labels, [(place, CAR) for place in places])
    _, report = run(url, folder_of(tmp_path / "val", a=(photo, labels)), "--tasks", "promptable")
    found = report["tasks"]["promptable"]
    assert found["figures"]["IoU@1 things"] == 1.0
    assert found["notes"] == ["13 objects were clicked on."]
    assert found["request_s"]["count"] == 5  # 13 objects three at a time; none needs a second click


@pytest.mark.parametrize("seed", range(3))
def test_semantic_is_one_confusion_matrix_over_all_images(seed: int, url: str, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    pairs, counts = {}, np.zeros((12, 12), np.int64)
    for index in range(6):
        true, found = random_scene(random, 11).labels, random_scene(random, 11).labels
        found[found == 255] = 4
        true[true == 255] = VOID
        np.add.at(counts, (true.ravel(), found.ravel()), 1)
        pairs[f"p{index}"] = (paint(found), true)
    counts = counts[:11, :11]
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    expected = (counts.diagonal() / np.where(union, union, 1))[union > 0].mean()
    _, report = run(url, folder_of(tmp_path / "val", **pairs), "--tasks", "semantic", "--concurrency", "3")
    assert report["tasks"]["semantic"]["figures"]["mIoU"] == pytest.approx(expected, rel=1e-12)


def test_the_same_answers_give_the_same_report(url: str, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    scenes = {f"p{index}": random_scene(random, 11) for index in range(8)}
    pairs = {name: (paint(scene.labels % 11), np.minimum(scene.labels, VOID)) for name, scene in scenes.items()}
    data = folder_of(tmp_path / "val", **pairs)
    reports = [run(url, data, "--concurrency", str(threads))[1] for threads in (1, 6)]
    figures = [{task: found["figures"] for task, found in report["tasks"].items()} for report in reports]
    assert figures[0] == figures[1]


def test_labels_are_carried_into_the_data_sets_space(url: str, tmp_path: Path) -> None:
    """A model of Cityscapes on CamVid: walls are building, trucks cars, persons pedestrians; what becomes one stuff
    class becomes one segment."""
    city = space_ids("cityscapes")
    labels, found = truth(), np.full((48, 64), city["road"], np.uint8)
    labels[:16, :32] = 1
    found[:16] = city["sky"]
    found[:8, :32] = city["wall"]
    found[8:16, :32] = city["building"]
    photo = paint(found, [(CAR_A, city["truck"]), (CAR_B, city["car"]), (WALKER, city["person"])])
    data = folder_of(tmp_path / "val", a=(photo, labels))
    _, report = run(url, data, "--model", "painted-cityscapes", "--tasks", "panoptic,semantic,instance")
    assert list(report["tasks"]) == ["semantic", "instance", "panoptic"]
    assert report["tasks"]["semantic"]["figures"]["mIoU"] == 1.0
    assert report["tasks"]["instance"]["figures"]["CC-AP"] == pytest.approx(1.0)
    assert report["tasks"]["panoptic"]["figures"]["CC-PQ"] == 1.0
    assert report["tasks"]["semantic"]["label_space"] == "cityscapes"


def test_classes_that_the_model_does_not_have_count_and_are_named(url: str, tmp_path: Path) -> None:
    camvid, ade = space_ids("camvid"), space_ids("ade20k")
    labels = np.full((12, 16), ade["road"] + 1, np.uint8)
    labels[:6] = ade["bed"] + 1
    write(tmp_path / "images/validation/a.png", paint(np.full((12, 16), camvid["road"], np.uint8)))
    write(tmp_path / "annotations/validation/a.png", labels)
    _, report = run(url, tmp_path, "--tasks", "semantic")
    found = report["tasks"]["semantic"]
    assert found["figures"]["mIoU"] == 0.25
    assert found["figures"]["mIoU of the classes that the model has"] == 0.5
    assert "bed" in found["notes"][0]
    assert "road" not in found["notes"][0].split(": ")[1].split(", ")


def test_objects_that_may_overlap_and_crowds_of_coco(url: str, tmp_path: Path) -> None:
    """The annotated box of a crowd excuses what is found in it; a missed toothbrush is a class of AP 0."""
    camvid = space_ids("camvid")
    photo = paint(
        np.full((48, 64), camvid["road"], np.uint8),
        [(CAR_A, camvid["car"]), (WALKER, camvid["pedestrian"]), (np.s_[40:48, 0:10], camvid["car"])],
    )
    write(tmp_path / "val2017/1.png", photo)

    def box(category: int, place: Any, number: int, iscrowd: int = 0) -> dict[str, Any]:
        rows, columns = place
        x0, y0, x1, y1 = columns.start, rows.start, columns.stop, rows.stop
        ring: Any = [[x0, y0, x1, y0, x1, y1, x0, y1]]
        entry = {"id": number, "image_id": 1, "category_id": category, "iscrowd": iscrowd, "segmentation": ring}
        return {**entry, "area": (x1 - x0) * (y1 - y0), "bbox": [x0, y0, x1 - x0, y1 - y0]}

    annotations = [
        box(3, CAR_A, 1),
        box(1, WALKER, 2),
        box(3, np.s_[36:48, 0:20], 3, iscrowd=1),
        box(90, np.s_[2:12, 2:12], 4),
    ]
    categories = [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}, {"id": 90, "name": "toothbrush"}]
    images = [{"id": 1, "file_name": "1.png", "width": 64, "height": 48}]
    truth_file = {"images": images, "annotations": annotations, "categories": categories}
    write_text(tmp_path / "annotations/instances_val2017.json", json.dumps(truth_file))
    _, report = run(url, tmp_path, "--tasks", "instance")
    assert {name: row["AP"] for name, row in report["tasks"]["instance"]["classes"].items()} == {
        "person": pytest.approx(1.0),
        "car": pytest.approx(1.0),
        "toothbrush": 0.0,
    }
    assert report["tasks"]["instance"]["figures"]["AP"] == pytest.approx(2 / 3)


def test_a_panoptic_data_set_with_its_own_ids(url: str, tmp_path: Path) -> None:
    ids = np.zeros((48, 64), np.int64)
    ids[16:], ids[CAR_A] = 77777, 5
    info = [{"id": 77777, "category_id": 149, "iscrowd": 0}, {"id": 5, "category_id": 3, "iscrowd": 0}]
    coco = {
        "images": [{"id": 9, "file_name": "9.png", "width": 64, "height": 48}],
        "categories": [{"id": 149, "name": "road"}, {"id": 3, "name": "car"}],
        "annotations": [{"image_id": 9, "file_name": "9.png", "segments_info": info}],
    }
    write_text(tmp_path / "annotations/panoptic_val2017.json", json.dumps(coco))
    write(tmp_path / "annotations/panoptic_val2017/9.png", rgb(ids))
    write(tmp_path / "val2017/9.png", paint(np.full((48, 64), ROAD, np.uint8), [(CAR_A, CAR)]))
    _, report = run(url, tmp_path, "--tasks", "panoptic,promptable")
    assert report["tasks"]["panoptic"]["figures"]["PQ"] == 1.0  # what is found on void is left out
    assert report["tasks"]["promptable"]["classes"] == {"car": {"IoU@1": 1.0, "IoU@3": 1.0, "IoU@5": 1.0}}


def test_the_report_for_people_and_its_pictures(url: str, tmp_path: Path) -> None:
    pairs = {"good": (paint(truth()), truth()), "bad": (answer(), truth())}
    data = folder_of(tmp_path / "val", **pairs)
    run(url, data, "--tasks", "semantic,panoptic")
    page = (tmp_path / "out/report.md").read_text()
    assert "connected components of at least 64 pixels" in page
    assert "## semantic" in page
    assert "| mIoU |" in page
    assert "| car |" in page
    assert "semantic.jpg" in page
    with Image.open(io.BytesIO((tmp_path / "out/panoptic.jpg").read_bytes())) as picture:
        width, height = picture.size
    assert (width, height) == (2 * 64, 2 * (48 + 26))


def test_a_limit_and_a_model_by_its_version(url: str, tmp_path: Path) -> None:
    data = folder_of(tmp_path / "val", **{f"p{index}": (paint(truth()), truth()) for index in range(5)})
    _, report = run(url, data, "--limit", "2", "--model", "painted@1", "--tasks", "semantic")
    assert report["tasks"]["semantic"]["images"] == 2


def test_an_image_that_fails_is_named_and_the_status_says_so(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder_of(tmp_path / "val", a=(paint(truth()), truth()), b=(paint(truth()), truth()))
    whole = (data / "images/b.png").read_bytes()
    (data / "images/b.png").write_bytes(whole[: len(whole) // 2])
    write(data / "images/c.png", paint(truth()))
    write(data / "labels/c.png", truth()[:20])
    status, report = run(url, data, "--tasks", "semantic")
    assert status == 1
    found = report["tasks"]["semantic"]
    assert (found["images"], found["figures"]["mIoU"]) == (1, 1.0)
    assert [failure["image"] for failure in found["failures"]] == ["b", "c"]
    assert found["failures"][0]["reason"].startswith("malformed: ")
    assert found["failures"][1]["reason"] == "the photo is 64x48 and its truth 64x20"
    assert "missing from the figures: b: malformed" in capsys.readouterr().out.replace("\n", " ")
    assert "2 images are missing" in (tmp_path / "out/report.md").read_text()


@pytest.mark.parametrize("switch", ["--tta", "--crf"])
def test_switches_are_asked_of_the_server(
    switch: str, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder_of(tmp_path / "val", **{f"p{index}": (paint(truth()), truth()) for index in range(9)})
    assert run(url, data, "--tasks", "semantic", switch) == (1, {})
    assert f"invalid_option: {switch[2:]}" in " ".join(capsys.readouterr().out.split())


def test_it_stops_when_nothing_but_failures_come(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = folder_of(tmp_path / "val", **{f"p{index}": (paint(truth()), truth()[:20]) for index in range(9)})
    status, report = run(url, data, "--tasks", "semantic")
    assert (status, report) == (1, {})
    assert "semantic: p4: the photo is 64x48" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "nothing"], "No model nothing is served for"),
        (["--tasks", "semantic", "--model", "wand"], "No model wand is served for semantic"),
        (["--format", "voc"], "voc: JPEGImages and SegmentationClass"),
        (["--limit", "0"], "at least 1"),
        (["--url", "http://127.0.0.1:9"], "No connection to"),
    ],
)
def test_what_cannot_be_done_is_said(
    options: list[str], message: str, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder_of(tmp_path / "val", a=(paint(truth()), truth()))
    status, report = run(url, data, *options)
    assert (status, report) == (1, {})
    assert message in " ".join(capsys.readouterr().out.split())


def test_a_task_that_the_data_set_cannot_judge_is_refused(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "image/test/img-000001.png", paint(truth()))
    write(tmp_path / "label37/test/img37labels-000001.png", u8(truth()))
    assert run(url, tmp_path, "--tasks", "panoptic")[0] == 1
    assert "sunrgbd judges semantic, promptable, not panoptic" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        run(url, tmp_path, "--tasks", "semantics")
    assert "'semantics' is none of semantic, instance" in capsys.readouterr().err


def test_every_command_brings_the_key_that_a_server_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder_of(tmp_path / "val", a=(answer(), truth()))
    photo = tmp_path / "photo.png"
    write(photo, answer())
    with served(api_keys={hashlib.sha256(b"k").hexdigest(): "t"}) as url:
        commands = [
            ["models", "--url", url],
            ["segment", str(photo), "--url", url],
            ["segment", str(photo), "--everything", "--overlay", "--url", url],
            ["evaluate", str(data), "--tasks", "semantic,promptable", "--out", str(tmp_path), "--url", url],
        ]
        for key, status in (("k", 0), ("other", 1)):
            monkeypatch.setattr(cli, "settings", lambda key=key: parse({"SEGSERVE_API_KEY": key}))
            assert [cli.main(command) for command in commands] == [status] * len(commands), key
            assert ("unauthorized" in capsys.readouterr().out) == bool(status)
