"""Whole images through the three dense pipelines in this process, with small models that colour-code their answers."""

from __future__ import annotations

import base64
import copy
import dataclasses
import io
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from services.instance.pipeline import InstancePipeline
from services.panoptic.pipeline import PanopticPipeline
from services.semantic.pipeline import SemanticPipeline
from shared.calls import Answer, Caller, DenseCall, DenseOptions, Effect, Format, ModelInfo
from shared.errors import DeadlineExceeded, InvalidOption, Malformed
from shared.imaging.png import read_label_png, read_panoptic_png
from shared.imaging.rle import decode as decode_rle
from shared.labels import label_space
from shared.schemas.masks import FeatureCollection
from shared.serving.batcher import Batcher
from shared.serving.dense import DensePipeline
from shared.settings import Settings
from shared.telemetry.recording import RecordingSink
from shared.types import (
    DenseInput,
    DenseTask,
    Instance,
    InstanceOutput,
    PanopticOutput,
    PanopticSegment,
    Region,
    SemanticOutput,
)
from tests.data import NORTH_UP, encoded, geotiff, pixels_of

CAR, PEDESTRIAN, ROAD, SKY = 8, 9, 3, 0
SPACE = label_space("camvid")


def scene() -> np.ndarray[Any, Any]:
    """40x60: sky above, road below, two cars and a pedestrian; the red channel is the label id, green the object."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[20:, :, 0] = ROAD
    pixels[22:30, 5:20] = (CAR, 1, 0)
    pixels[24:34, 30:50] = (CAR, 2, 0)
    pixels[18:32, 54:57] = (PEDESTRIAN, 3, 0)
    return pixels


def semantic(batch: Sequence[DenseInput]) -> list[SemanticOutput]:
    """Red is the label; confidence falls from left to right."""
    outputs = []
    for item in batch:
        height, width = item.pixels.shape[:2]
        confidence = np.linspace(1, 0.5, width, dtype=np.float16)[None].repeat(height, 0)
        outputs.append(SemanticOutput(item.pixels[..., 0].copy(), confidence))
    return outputs


def instance(batch: Sequence[DenseInput]) -> list[InstanceOutput]:
    """One instance per green value, the later the better."""
    outputs = []
    for item in batch:
        found = []
        for number in (3, 2, 1):
            mask = item.pixels[..., 1] == number
            label = int(item.pixels[..., 0][mask].max())
            found.append(Instance(label, 0.3 * number, Region.from_mask(mask), (1.0, 2.0, 3.5, 4.0)))
        outputs.append(InstanceOutput(item.pixels.shape[:2], tuple(found[: item.max_instances])))
    return outputs


def panoptic(batch: Sequence[DenseInput]) -> list[PanopticOutput]:
    """Green values are things 1 to 3; road is 4; the sky stays void."""
    outputs = []
    for item in batch:
        ids = item.pixels[..., 1].astype(np.int32)
        ids[(ids == 0) & (item.pixels[..., 0] == ROAD)] = 4
        things = [PanopticSegment(n, PEDESTRIAN if n == 3 else CAR, True, 0.9) for n in (1, 2, 3)]
        outputs.append(PanopticOutput(ids, (*things, PanopticSegment(4, ROAD, False, 0.4))))
    return outputs


PIPELINES: dict[str, tuple[type[DensePipeline[Any]], Any]] = {
    "semantic": (SemanticPipeline, semantic),
    "instance": (InstancePipeline, instance),
    "panoptic": (PanopticPipeline, panoptic),
}


def pipeline(task: DenseTask, **settings: Any) -> DensePipeline[Any]:
    """A pipeline over its model, with a batcher of its own."""
    kind, model = PIPELINES[task]
    sink = RecordingSink()
    batcher: Batcher[DenseInput, Any] = Batcher(
        model,
        max_batch=4,
        max_cost=10**8,
        cost=lambda item: int(item.pixels.size),
        max_queue=16,
        sink=sink,
        model="tiny",
        role=task,
    )
    info = ModelInfo("tiny", "1", (task,), "camvid", "0" * 64, "numpy", 0, "none", "a test")
    return kind(info, batcher, Settings(**settings), sink, ThreadPoolExecutor(1))


async def ask(task: DenseTask, form: Format = "rle", image: bytes | None = None, **options: Any) -> Answer:
    """One call of the drawn scene."""
    caller = Caller("public", "test", time.time() + 20)
    call = DenseCall(task, image or encoded(scene()), caller, DenseOptions(format=form, **options))
    return await pipeline(task).segment(call)


async def body(task: DenseTask, form: Format = "rle", **options: Any) -> Any:
    """The JSON body of one call."""
    return orjson.loads((await ask(task, form, **options)).body)


@pytest.mark.parametrize(
    ("form", "least", "alone"),
    [("label_map", None, True), ("overlay", None, True), ("label_map", 0.5, False), ("rle", None, False)],
)
async def test_confidence_is_left_out_only_where_no_answer_needs_it(
    form: Format, least: float | None, alone: bool
) -> None:
    assert pipeline("semantic").shows_labels_alone(DenseOptions(form, min_confidence=least)) == alone
    assert not pipeline("panoptic").shows_labels_alone(DenseOptions(form, min_confidence=least))


async def test_semantic_has_a_segment_for_every_class_present() -> None:
    answer = await body("semantic")
    assert {key: answer[key] for key in ("task", "model", "width", "height", "label_space", "request_id")} == {
        "task": "semantic",
        "model": "tiny",
        "width": 60,
        "height": 40,
        "label_space": "camvid",
        "request_id": "test",
    }
    for segment in answer["segments"]:
        truth = scene()[..., 0] == segment["label_id"]
        assert np.array_equal(decode_rle(segment["rle"]), truth)
        assert segment["area"] == truth.sum()
        assert segment["label"] == SPACE.names[segment["label_id"]]
        assert segment["score"] == pytest.approx(np.linspace(1, 0.5, 60)[np.nonzero(truth)[1]].mean(), abs=2e-3)
    assert [segment["label_id"] for segment in answer["segments"]] == [SKY, ROAD, CAR, PEDESTRIAN]


async def test_semantic_label_map_is_the_models_own() -> None:
    answer = await ask("semantic", "label_map")
    assert answer.media_type == "image/png"
    assert np.array_equal(read_label_png(answer.body), scene()[..., 0])


async def test_min_confidence_gives_void() -> None:
    labels = read_label_png((await ask("semantic", "label_map", min_confidence=0.75)).body)
    assert set(np.unique(labels[:, :29])) == {SKY, ROAD, CAR}
    assert set(np.unique(labels[:, 31:])) == {255}


async def test_only_the_wanted_classes_are_kept() -> None:
    answer = await body("semantic", classes=("Car",))
    assert [segment["label"] for segment in answer["segments"]] == ["car"]
    assert {each["label"] for each in (await body("instance", classes=("car",), max_instances=1))["instances"]} == {
        "car"
    }
    assert {each["label"] for each in (await body("panoptic", classes=("road",)))["segments"]} == {"road"}
    with pytest.raises(InvalidOption, match="classes"):
        await body("semantic", classes=("carr",))


async def test_instances_come_best_first_with_boxes() -> None:
    answer = await body("instance")
    scores = [each["score"] for each in answer["instances"]]
    assert scores == sorted(scores, reverse=True)
    first = answer["instances"][0]
    assert (first["label"], first["box"], first["detection_box"]) == ("pedestrian", [54, 18, 57, 32], [1, 2, 3.5, 4])
    assert first["area"] == 14 * 3
    assert len((await body("instance", max_instances=2))["instances"]) == 2


async def test_panoptic_threshold_makes_void() -> None:
    answer = await body("panoptic", score_threshold=0.5)
    assert [segment["id"] for segment in answer["segments"]] == [1, 2, 3]
    picture = await ask("panoptic", "label_map", score_threshold=0.5)
    assert set(np.unique(read_panoptic_png(picture.body))) == {0, 1, 2, 3}
    header = dict(picture.headers)["X-Segments"]
    assert [each["id"] for each in orjson.loads(base64.b64decode(header))] == [1, 2, 3]


@pytest.mark.parametrize("task", ["semantic", "instance"])
async def test_coco_results_load_in_pycocotools(task: DenseTask) -> None:
    results = await body(task, "coco")
    coco = COCO()
    coco.dataset = {
        "images": [{"id": 0, "height": 40, "width": 60}],
        "annotations": [],
        "categories": [{"id": index, "name": name} for index, name in enumerate(SPACE.names)],
        "info": {},
    }
    coco.createIndex()
    loaded = coco.loadRes(copy.deepcopy(results))  # it overwrites areas with those of the boxes
    assert len(loaded.anns) == len(results) > 0
    for result in results:
        assert result["area"] == coco_mask.area(result["segmentation"])
        assert result["bbox"] == list(coco_mask.toBbox(result["segmentation"]))


async def test_coco_panoptic_picture_and_segments_name_the_same_ids() -> None:
    answer = await body("panoptic", "coco")
    ids = read_panoptic_png(base64.b64decode(answer["png"]))
    assert {each["id"] for each in answer["segments_info"]} == set(np.unique(ids)) - {0}


@pytest.mark.parametrize("form", ["rle", "coco", "polygon", "geojson", "png", "label_map", "overlay", "npz"])
@pytest.mark.parametrize("classes", [None, ("road", "pedestrian")])
async def test_ids_of_one_byte_give_the_same_answer(
    form: Format, classes: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(batch: Sequence[DenseInput]) -> list[PanopticOutput]:
        return [dataclasses.replace(each, ids=each.ids.astype(np.uint8)) for each in panoptic(batch)]

    expected = await ask("panoptic", form, classes=classes)
    monkeypatch.setitem(PIPELINES, "panoptic", (PanopticPipeline, small))
    found = await ask("panoptic", form, classes=classes)
    assert (found.body, found.headers) == (expected.body, expected.headers)


@pytest.mark.parametrize("task", ["semantic", "instance", "panoptic"])
@pytest.mark.parametrize("form", ["polygon", "geojson", "png", "overlay", "npz"])
async def test_every_format_of_every_task(task: DenseTask, form: Format) -> None:
    answer = await ask(task, form)
    if form == "overlay":
        drawn = pixels_of(answer.body)
        assert drawn.shape == (40, 60, 3)
        assert not np.array_equal(drawn, scene())
    elif form == "npz":
        assert np.load(io.BytesIO(answer.body), allow_pickle=False).files
    else:
        found = orjson.loads(answer.body)
        listed = found.get("segments") or found.get("instances") or found["features"]
        assert len(listed) >= 3
        if form == "polygon":
            assert all(each["polygons"] for each in listed)
        if form == "geojson":
            assert {each["geometry"]["type"] for each in listed} == {"MultiPolygon"}


@pytest.mark.parametrize("task", ["semantic", "instance", "panoptic"])
async def test_masks_of_a_geotiff_lie_on_the_map(task: DenseTask) -> None:
    plain = orjson.loads((await ask(task, "geojson")).body)
    placed = orjson.loads((await ask(task, "geojson", geotiff(scene(), NORTH_UP))).body)
    assert "crs" not in plain
    FeatureCollection.model_validate(placed)
    assert placed["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    for here, there in zip(plain["features"], placed["features"], strict=True):
        assert there["properties"] == here["properties"]
        for ring, moved in zip(rings(here), rings(there), strict=True):
            assert {(600_000 + x / 2, 5_000_000 - y / 4) for x, y in ring} == {tuple(point) for point in moved}


def rings(feature: dict[str, Any]) -> list[Any]:
    """All rings of a feature's polygons."""
    return [ring for polygon in feature["geometry"]["coordinates"] for ring in polygon]


async def test_more_masks_than_fit_into_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.serving.answers.MAX_MASK_PIXELS", 3 * 40 * 60)
    await ask("instance", "npz")
    monkeypatch.setattr("shared.serving.answers.MAX_MASK_PIXELS", 3 * 40 * 60 - 1)
    with pytest.raises(InvalidOption, match="npz") as refused:
        await ask("instance", "npz")
    assert refused.value.details[0].limit == str(3 * 40 * 60 - 1)
    await ask("instance", "rle")


async def test_timings_name_the_stages() -> None:
    assert [name for name, _ in (await ask("semantic")).timings] == ["decode", "predict", "encode"]


async def test_a_broken_image_and_a_past_deadline_are_refused() -> None:
    with pytest.raises(Malformed):
        await ask("semantic", image=encoded(scene())[:60])
    late = DenseCall("semantic", encoded(scene()), Caller("public", "test", time.time() - 1))
    with pytest.raises(DeadlineExceeded):
        await pipeline("semantic").segment(late)


async def test_a_format_that_the_task_lacks_is_named() -> None:
    with pytest.raises(InvalidOption, match="format"):
        await ask("instance", "label_map")


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("semantic", ["001-car.png", "002-pedestrian.png"]),
        ("instance", ["001-pedestrian-0.90.png", "002-car-0.60.png", "003-car-0.30.png"]),
        ("panoptic", ["001-car.png", "002-car.png", "003-pedestrian.png"]),
    ],
)
async def test_things_are_cut_out_or_what_was_asked_for(task: DenseTask, names: list[str]) -> None:
    answer = await ask(task, "cutout")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.namelist() == names
    one = await ask(task, "cutout", classes=("pedestrian",))
    assert answer.media_type == "application/zip"
    assert one.media_type == "image/png"
    visible = pixels_of(one.body)[..., 3] > 127
    assert visible[18:32, 54:57].mean() > 0.75
    assert visible[:, :50].sum() == 0


async def test_effects_of_every_task_change_the_background_only() -> None:
    for task in ("semantic", "instance", "panoptic"):
        shown = pixels_of((await ask(task, "replace", effect=Effect(background=(9, 9, 250), matting=False))).body)
        assert (shown[:15] == (9, 9, 250)).all()
        assert (shown[24:28, 8:17] == scene()[24:28, 8:17]).all()
    road = pixels_of((await ask("semantic", "recolor", classes=("road",), effect=Effect(color=(250, 0, 0)))).body)
    assert (road[:15] == scene()[:15]).all()


@pytest.mark.parametrize("option", ["tta", "crf"])
async def test_what_the_model_does_not_offer_is_refused(option: str) -> None:
    with pytest.raises(InvalidOption, match=option) as caught:
        await ask("semantic", tta=option == "tta", crf=option == "crf")
    assert [(each.field, each.value, each.limit) for each in caught.value.details] == [(option, "true", "false")]


@pytest.mark.parametrize("option", ["tta", "crf"])
async def test_what_the_model_offers_is_asked_of_it(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[DenseInput] = []

    def model(batch: Sequence[DenseInput]) -> list[SemanticOutput]:
        seen.extend(batch)
        return semantic(batch)

    monkeypatch.setitem(PIPELINES, "semantic", (SemanticPipeline, model))
    served = pipeline("semantic")
    served.info = dataclasses.replace(served.info, tta=True, crf=True)
    caller = Caller("public", "test", time.time() + 20)
    options = DenseOptions(tta=option == "tta", crf=option == "crf")
    await served.segment(DenseCall("semantic", encoded(scene()), caller, options))
    assert [(item.tta, item.crf) for item in seen] == [(options.tta, options.crf)]
