"""The automatic mask generator against the same algorithm written plainly, and its events."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import orjson
import pytest
from PIL import Image

from services.promptable.cleanup import tidied
from services.promptable.crops import crops_of, points_of
from services.promptable.everything import EverythingPipeline, thresholds_of
from services.promptable.suppression import is_cut_off, suppressed
from shared.calls import Answer, Caller, Effect, EverythingCall, EverythingOptions, Format
from shared.errors import DeadlineExceeded, InvalidOption
from shared.imaging import cutout
from shared.imaging.rle import decode as decode_rle
from shared.store.keys import image_id
from shared.types import Float32Array, Region, UInt8Array
from tests.data import NORTH_UP, geotiff
from tests.unit.promptable.blobs import BlobDecoder, BlobEncoder, answers, scene
from tests.unit.promptable.conftest import CARD, assembled
from tests.unit.promptable.intensity import png
from tests.unit.promptable.reference import generate

THRESHOLDS: dict[str, Any] = {"pred_iou_thresh": 0.86, "stability_score_thresh": 0.6}


@dataclass
class Generator:
    """Everything mode over the blob model."""

    pipeline: EverythingPipeline
    encoder: BlobEncoder
    decoder: BlobDecoder

    async def events(self, image: bytes, live: bool = False, **options: Any) -> list[tuple[str, dict[str, Any]]]:
        caller = Caller("a", "request", time.time() + 100)
        call = EverythingCall(image_id(image), caller, image, EverythingOptions(**{**THRESHOLDS, **options}), live)
        return [
            ("result", orjson.loads(item.body)) if isinstance(item, Answer) else (item.name, orjson.loads(item.data))
            async for item in self.pipeline.everything(call)
        ]

    async def answer(self, image: bytes, **options: Any) -> Answer:
        caller = Caller("a", "request", time.time() + 100)
        call = EverythingCall(image_id(image), caller, image, EverythingOptions(**{**THRESHOLDS, **options}))
        (answer,) = [item async for item in self.pipeline.everything(call)]
        assert isinstance(answer, Answer)
        return answer

    async def masks(self, image: bytes, **options: Any) -> list[dict[str, Any]]:
        events = await self.events(image, **options)
        assert [name for name, _ in events] == ["result"]
        masks: list[dict[str, Any]] = events[0][1]["masks"]
        return masks


@pytest.fixture
async def generator() -> AsyncIterator[Generator]:
    encoder, decoder = BlobEncoder(), BlobDecoder()
    async with assembled(encoder, decoder, (1, 8), max_queue=64) as (promptable, *_):
        yield Generator(EverythingPipeline(promptable), encoder, decoder)


def of_pixels(pixels: UInt8Array, x: float, y: float) -> tuple[Float32Array, Float32Array]:
    """The blob model without an embedding."""
    return answers(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32), x, y)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((90, 180), {"points_per_side": 12}),
        ((150, 100), {"points_per_side": 9, "points_per_batch": 7, "pred_iou_thresh": 0.9}),
        ((120, 200), {"points_per_side": 8, "crop_n_layers": 1}),
        (
            (200, 110),
            {"points_per_side": 8, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2, "crop_nms_thresh": 0.5},
        ),
        ((90, 180), {"points_per_side": 12, "min_mask_region_area": 30}),
        ((120, 200), {"points_per_side": 8, "crop_n_layers": 1, "min_mask_region_area": 200, "box_nms_thresh": 0.9}),
    ],
)
async def test_the_result_is_the_references(
    generator: Generator, size: tuple[int, int], options: dict[str, Any]
) -> None:
    pixels = scene(*size, seed=size[0])
    expected = generate(pixels, of_pixels, EverythingOptions(**{**THRESHOLDS, **options}))
    found = await generator.masks(png(pixels), **options)
    assert len(found) == len(expected) > 3
    for mine, theirs in zip(found, expected, strict=True):
        assert np.array_equal(decode_rle(mine["rle"]), theirs.mask)
        assert mine["predicted_iou"] == pytest.approx(theirs.iou, abs=1e-4)
        assert mine["stability_score"] == pytest.approx(theirs.stability, abs=1e-3)
        assert mine["area"] == theirs.mask.sum()
        assert mine["point"] == pytest.approx(theirs.point, abs=0.01)
        x0, y0, x1, y1 = theirs.box
        assert mine["box"] == [x0, y0, x1 + 1, y1 + 1]


async def test_every_part_of_an_elongated_image_is_searched(generator: Generator) -> None:
    image = png(scene(60, 400, seed=1))
    points = np.array([mask["point"] for mask in await generator.masks(image, points_per_side=10)])
    assert generator.decoder.prompts == 100
    assert points[:, 0].max() > 300
    assert points[:, 0].min() < 100


async def test_crops_are_embedded_once_each_and_the_image_is_cached(generator: Generator) -> None:
    image = png(scene(80, 120, seed=2))
    await generator.masks(image, points_per_side=4)
    await generator.masks(image, points_per_side=4)
    assert generator.encoder.runs == 1
    await generator.masks(image, points_per_side=4, crop_n_layers=1)
    assert generator.encoder.runs == 5


async def test_events_lead_to_the_result(generator: Generator) -> None:
    image = png(scene(90, 180, seed=90))
    options: dict[str, Any] = {"points_per_side": 12, "points_per_batch": 16, "min_mask_region_area": 30}
    events = await generator.events(image, live=True, **options)
    progress = [data for name, data in events if name == "progress"]
    assert [data["done"] for data in progress[:9]] == list(range(16, 145, 16))
    assert all(data["total"] == 144 for data in progress)
    standing: dict[int, dict[str, Any]] = {}
    for name, data in events:
        if name == "mask":
            standing[data.pop("id")] = data
        for number in data.get("ids", []):
            del standing[number]
    assert any(name == "dropped" for name, _ in events)
    assert events[-1][0] == "result"
    result = events[-1][1]["masks"]
    assert sorted(map(repr, standing.values())) == sorted(map(repr, result))
    assert result == await generator.masks(image, **options)
    assert progress[-1]["masks"] == len(result)


async def test_other_formats(generator: Generator) -> None:
    image = png(scene(90, 180, seed=90))
    masks = await generator.masks(image, points_per_side=6)
    polygons = await generator.masks(image, points_per_side=6, format="polygon")
    assert [mask["area"] for mask in polygons] == [mask["area"] for mask in masks]
    assert all(mask["polygons"] for mask in polygons)
    coco: Any = (await generator.events(image, points_per_side=6, format="coco"))[-1][1]
    assert [entry["segmentation"] for entry in coco] == [mask["rle"] for mask in masks]
    features = (await generator.events(image, points_per_side=6, format="geojson"))[-1][1]["features"]
    assert [each["properties"]["area"] for each in features] == [mask["area"] for mask in masks]
    placed = geotiff(scene(90, 180, seed=90), NORTH_UP)
    on_the_map: Any = (await generator.events(placed, points_per_side=6, format="geojson"))[-1][1]
    assert on_the_map["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    assert on_the_map["features"][0]["geometry"]["coordinates"][0][0][0][0] >= 600_000
    picture = await generator.answer(image, points_per_side=6, format="overlay")
    drawn = np.asarray(Image.open(io.BytesIO(picture.body)))
    changed = (drawn != scene(90, 180, seed=90)).any(axis=2)
    inside = np.any([decode_rle(mask["rle"]) for mask in masks], axis=0)
    assert 0.1 < inside.mean() < 0.99
    assert changed[inside].mean() > 0.9
    assert changed[~inside].mean() < 0.5, "an outline at most lies outside of every mask"
    with pytest.raises(InvalidOption, match="not offered as events"):
        await generator.events(image, live=True, format="overlay")
    with pytest.raises(InvalidOption, match="not offered for all masks"):
        await generator.events(image, format="npz")


async def test_effects_take_all_masks_together_as_their_subject(generator: Generator) -> None:
    pixels = scene(90, 180, seed=90)
    image, grid = png(pixels), {"points_per_side": 6}
    masks = await generator.masks(image, **grid)
    inside = np.any([decode_rle(mask["rle"]) for mask in masks], axis=0)

    async def shown(form: Format, effect: Effect) -> np.ndarray[Any, Any]:
        answer = await generator.answer(image, **grid, format=form, effect=effect)
        assert answer.media_type == "image/png"
        return np.asarray(Image.open(io.BytesIO(answer.body)))

    replaced = await shown("replace", Effect(background=(250, 0, 250), matting=False))
    far = distance_to(inside) > 3
    assert far.any()
    assert (replaced[far] == (250, 0, 250)).all()
    assert (replaced[inside] == pixels[inside]).all(axis=1).mean() > 0.8
    dyed = await shown("recolor", Effect(color=(0, 0, 255), tint=1.0, matting=False))
    assert (dyed[far] == pixels[far]).all()
    assert (dyed[inside] != pixels[inside]).any(axis=1).mean() > 0.8
    blurred = await shown("blur", Effect(blur_strength=0.1, matting=False))
    subject = cutout.subject_of(pixels, Region.from_mask(inside), matted=False)
    assert np.array_equal(blurred, cutout.blur(pixels, subject, 0.1))
    one = await shown("cutout", Effect(packing="one", matting=False))
    assert (one[..., 3][far] == 0).all()
    assert (one[..., 3][inside] > 0).mean() > 0.9
    several = await generator.answer(image, **grid, format="cutout")
    assert len(zipfile.ZipFile(io.BytesIO(several.body)).namelist()) == len(masks)
    with pytest.raises(InvalidOption, match="not offered as events"):
        await generator.events(image, live=True, format="blur")


def distance_to(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Pixels from each pixel to the mask."""
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))


async def test_too_many_clicks_are_refused(generator: Generator) -> None:
    with pytest.raises(InvalidOption, match=r"points_per_side.*clicks"):
        await generator.events(png(scene(40, 40)), points_per_side=200)
    with pytest.raises(InvalidOption, match=r"point_grids.*clicks"):
        await generator.events(png(scene(40, 40)), point_grids=(((0.5, 0.5),) * 40_000,))


async def test_own_grids_take_the_place_of_the_regular_ones(generator: Generator) -> None:
    image = png(scene(90, 180, seed=90))
    regular = await generator.masks(image, points_per_side=4)
    cells = tuple(((x + 0.5) / 4, (y + 0.5) / 4) for y in range(4) for x in range(4))
    assert await generator.masks(image, point_grids=(cells,)) == regular
    with pytest.raises(InvalidOption, match="one grid for each layer"):
        await generator.masks(image, point_grids=(cells,), crop_n_layers=1)


async def test_a_wider_offset_finds_fewer_stable_masks(generator: Generator) -> None:
    image = png(scene(90, 180, seed=90))
    near = await generator.masks(image, points_per_side=6, stability_score_offset=0.5)
    far = await generator.masks(image, points_per_side=6, stability_score_offset=2.0)
    assert 0 < len(far) < len(near)


async def test_masks_beyond_the_bound_on_memory_are_refused(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.promptable.everything.MAX_RUNS_BYTES", 500)
    with pytest.raises(InvalidOption, match="too many candidates"):
        await generator.masks(png(scene(90, 180, seed=90)), points_per_side=8)


async def test_the_deadline_ends_the_run(generator: Generator) -> None:
    image = png(scene(40, 60))
    call = EverythingCall(image_id(image), Caller("a", "request", time.time() - 1), image)
    with pytest.raises(DeadlineExceeded):
        _ = [item async for item in generator.pipeline.everything(call)]


def test_thresholds_come_from_the_call_then_the_card() -> None:
    sam2 = CARD.model_copy(update={"extras": {"everything": {"pred_iou_thresh": 0.8}}})
    assert thresholds_of(EverythingOptions(), CARD).pred_iou == 0.88
    assert thresholds_of(EverythingOptions(), sam2).pred_iou == 0.8
    assert thresholds_of(EverythingOptions(), sam2).stability == 0.95
    assert thresholds_of(EverythingOptions(pred_iou_thresh=0.0), sam2).pred_iou == 0.0


def test_crops_cover_the_image_and_overlap() -> None:
    crops = crops_of((300, 600), 2, 512 / 1500)
    assert [crop.layer for crop in crops] == [0] + [1] * 4 + [2] * 16
    assert crops[0].box == (0, 0, 600, 300)
    covered = np.zeros((300, 600), dtype=int)
    for crop in crops[1:5]:
        x0, y0, x1, y1 = crop.box
        covered[y0:y1, x0:x1] += 1
    assert covered.min() == 1
    assert (covered[0] == 2).sum() == int(512 / 1500 * 300)
    assert len(points_of(crops[1], 32, 1)) == 1024
    assert len(points_of(crops[-1], 32, 2)) == 64
    points = points_of(crops[0], 2, 1)
    assert points.tolist() == [[150, 75], [450, 75], [150, 225], [450, 225]]


def test_suppression_keeps_the_best_of_equals() -> None:
    boxes = [(0, 0, 11, 11), (1, 0, 12, 11), (50, 50, 61, 61), (0, 0, 11, 11)]
    assert suppressed(boxes, [0.5, 0.9, 0.1, 0.9], 0.7) == [1, 2]
    assert suppressed(boxes, [0.5, 0.9, 0.1, 0.8], 0.95) == [1, 3, 2]
    assert suppressed([(3, 3, 4, 4)] * 2, [1, 1], 0.7) == [0, 1]
    assert suppressed([], [], 0.7) == []


def test_masks_at_a_crops_edge_are_cut_off_unless_the_image_ends_there() -> None:
    crop = (0, 0, 100, 200)
    assert not is_cut_off((0, 0, 50, 200), crop, (200, 300))
    assert is_cut_off((10, 50, 90, 60), crop, (200, 300))
    assert not is_cut_off((30, 50, 60, 60), crop, (200, 300))
    assert not is_cut_off((30, 50, 60, 200), crop, (200, 300))


@pytest.mark.parametrize("seed", range(6))
def test_tidying_near_the_mask_equals_tidying_the_image(seed: int) -> None:
    from tests.unit.promptable.reference import remove

    generator = np.random.default_rng(seed)
    mask = scene(60, 80, seed)[:, :, 0] == generator.choice([20, 70, 120, 170])
    mask &= generator.uniform(size=mask.shape) < 0.97
    for area in (1, 5, 40, 10_000):
        expected, filled = remove(mask, area, holes=True)
        expected, removed = remove(expected, area, holes=False)
        region, changed = tidied(Region.from_mask(mask), area)
        assert np.array_equal(region.full(), expected)
        assert changed == (filled or removed)
