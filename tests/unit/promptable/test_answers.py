"""Promptable answers in every format."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

from services.promptable.answers import whole_answer
from shared.calls import Answer, Effect, PromptOptions
from shared.errors import ImageNotFound, InvalidOption
from shared.imaging.png import read_label_png
from shared.imaging.rle import decode as decode_rle
from shared.schemas.answers import PromptableAnswer
from shared.schemas.masks import CocoResult, Logits
from shared.store.keys import image_id
from shared.types import DecoderOutput, Prompt, PromptMask, Region
from tests.data import NORTH_UP, geotiff
from tests.unit.promptable.conftest import Service, click
from tests.unit.promptable.intensity import png, stripes

IMAGE = png(stripes())
MIDDLE = np.zeros((30, 60), dtype=bool)
MIDDLE[:, 20:40] = True


@pytest.mark.parametrize("form", ["rle", "polygon", "png"])
async def test_the_body_is_as_documented(service: Service, form: Any) -> None:
    body = await service.ask(IMAGE, click(30, 10), format=form, return_logits=True)
    PromptableAnswer.model_validate(body)


async def test_logits_go_back(service: Service) -> None:
    body = await service.ask(IMAGE, click(30, 10), return_logits=True, multimask=False)
    logits = body["results"][0]["masks"][0]["logits"]
    assert (logits["shape"], logits["dtype"]) == ([30, 60], "float16")
    values = np.frombuffer(base64.b64decode(logits["data"]), "<f2").reshape(logits["shape"])
    assert np.array_equal(values > 0, MIDDLE)
    again = await service.ask(IMAGE, Prompt(mask=values.astype(np.float32)))
    assert len(again["results"][0]["masks"]) == 1


async def test_polygons(service: Service) -> None:
    body = await service.ask(IMAGE, click(30, 10), format="polygon", multimask=False)
    mask = body["results"][0]["masks"][0]
    assert "rle" not in mask
    ring = mask["polygons"][0][0]
    assert {tuple(point) for point in ring} == {(20, 0), (40, 0), (40, 30), (20, 30)}


async def test_png_of_each_mask(service: Service) -> None:
    body = await service.ask(IMAGE, click(30, 10), format="png", multimask=False)
    mask = body["results"][0]["masks"][0]
    assert np.array_equal(read_label_png(base64.b64decode(mask["png"])), np.where(MIDDLE, 255, 0))


async def test_coco_results(service: Service) -> None:
    answer = await service.answer(IMAGE, click(30, 10), Prompt(box=(0, 0, 8, 8)), format="coco")
    results = orjson.loads(answer.body)
    assert [result["prompt"] for result in results] == [0, 0, 0, 1]
    last = results[-1]
    assert decode_rle(last["segmentation"]).sum() == 600
    assert (last["bbox"], last["score"], last["image_id"]) == ([0, 0, 20, 30], 0.7, 0)


async def test_geojson(service: Service) -> None:
    answer = await service.answer(IMAGE, click(30, 10), click(1, 1), format="geojson", multimask=False)
    assert answer.media_type == "application/geo+json"
    body = await service.ask(IMAGE, click(30, 10), click(1, 1), format="geojson", multimask=False)
    assert [feature["properties"]["prompt"] for feature in body["features"]] == [0, 1]
    assert body["features"][0]["geometry"]["type"] == "MultiPolygon"


async def test_masks_on_a_geotiff_lie_on_the_map_also_by_its_id(service: Service) -> None:
    image = geotiff(stripes(), NORTH_UP)
    await service.images.put("a", image, 60, 30)
    sent = await service.ask(image, click(30, 10), format="geojson", multimask=False)
    assert sent["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    (ring,) = sent["features"][0]["geometry"]["coordinates"][0]
    corners = {(600_010, 5_000_000), (600_020, 5_000_000), (600_020, 4_999_992.5), (600_010, 4_999_992.5)}
    assert {tuple(point) for point in ring} == corners
    known = {"identifier": image_id(image)}
    assert await service.ask(None, click(30, 10), format="geojson", multimask=False, **known) == sent


async def test_logits_that_are_asked_for_come_in_every_text_format(service: Service) -> None:
    async def ask(form: Any) -> Any:
        answer = await service.answer(IMAGE, click(30, 10), click(1, 1), format=form, return_logits=True)
        return orjson.loads(answer.body)

    wanted = [mask["logits"] for result in (await ask("rle"))["results"] for mask in result["masks"]]
    assert [CocoResult.model_validate(each).logits for each in await ask("coco")] == [Logits(**each) for each in wanted]
    assert [each["properties"]["logits"] for each in (await ask("geojson"))["features"]] == wanted
    plain = orjson.loads((await service.answer(IMAGE, click(30, 10), format="coco")).body)
    assert "logits" not in plain[0]


async def test_npz(service: Service) -> None:
    answer = await service.answer(IMAGE, click(30, 10), Prompt(box=(0, 0, 8, 8)), format="npz", return_logits=True)
    arrays = np.load(io.BytesIO(answer.body), allow_pickle=False)
    assert arrays["masks"].shape == (4, 30, 60)
    assert arrays["prompts"].tolist() == [0, 0, 0, 1]
    assert arrays["logits"].shape == (4, 30, 60)
    assert np.array_equal(arrays["masks"][1], MIDDLE)


def test_npz_of_a_phrase_that_names_nothing_has_no_masks() -> None:
    nothing = [DecoderOutput(()), DecoderOutput(())]
    answer = whole_answer(nothing, (30, 60), PromptOptions("npz", return_logits=True), None, lambda _: stripes())
    arrays = np.load(io.BytesIO(answer.body), allow_pickle=False)
    assert {name: arrays[name].shape[0] for name in arrays.files} == dict.fromkeys(arrays.files, 0)
    assert (arrays["masks"].shape, arrays["boxes"].shape) == ((0, 30, 60), (0, 4))


async def test_npz_has_the_scores_of_phrases(service: Service) -> None:
    logits = np.zeros((2, 2), np.float16)
    masks = [PromptMask(Region.from_mask(MIDDLE), 0.5, 1.0, logits, score) for score in (0.25, None)]
    answer = whole_answer([DecoderOutput(tuple(masks))], (30, 60), PromptOptions("npz"), None, lambda _: stripes())
    scores = np.load(io.BytesIO(answer.body), allow_pickle=False)["scores"]
    assert scores[0] == 0.25
    assert np.isnan(scores[1])


async def test_overlay_changes_the_mask_and_nothing_far_from_it(service: Service) -> None:
    answer = await service.answer(IMAGE, click(50, 10), format="overlay", multimask=False)
    assert answer.media_type == "image/png"
    drawn = np.asarray(Image.open(io.BytesIO(answer.body)))
    assert drawn.shape == (30, 60, 3)
    assert np.array_equal(drawn[:, :15], stripes()[:, :15])
    assert (drawn[20:, 45:] != stripes()[20:, 45:]).any(axis=2).all()


async def test_overlay_of_a_stored_image(service: Service) -> None:
    await service.embed(IMAGE)
    with pytest.raises(ImageNotFound):
        await service.answer(None, click(50, 10), format="overlay", identifier=image_id(IMAGE))
    await service.images.put("a", IMAGE, 60, 30)
    answer = await service.answer(None, click(50, 10), format="overlay", identifier=image_id(IMAGE))
    assert answer.body.startswith(b"\x89PNG")


async def test_a_format_of_other_tasks_is_refused(service: Service) -> None:
    with pytest.raises(InvalidOption) as caught:
        await service.answer(IMAGE, click(50, 10), format="label_map")
    assert caught.value.details[0].field == "format"


async def test_pictures_of_too_many_masks_are_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.promptable.answers.MAX_MASK_PIXELS", 30 * 60 * 4)
    await service.answer(IMAGE, click(50, 10), click(5, 5, label=0), format="npz")
    with pytest.raises(InvalidOption, match="npz"):
        await service.answer(IMAGE, click(50, 10), click(5, 5), format="npz")


async def test_a_picture_takes_no_more_than_it_shows(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def noted(outputs: Sequence[DecoderOutput], *rest: Any) -> Answer:
        held.extend(len(output.masks) for output in outputs)
        return whole_answer(outputs, *rest)

    monkeypatch.setattr("services.promptable.answers.MAX_MASK_PIXELS", 30 * 60 * 2)
    monkeypatch.setattr("services.promptable.pipeline.whole_answer", noted)
    await service.answer(IMAGE, click(50, 10), click(5, 5), format="overlay", multimask=True)
    assert held == [1, 1]
    with pytest.raises(InvalidOption, match="too many masks of this size for cutout"):
        await service.answer(IMAGE, click(50, 10), click(5, 5), click(30, 5), format="cutout")


async def test_masks_of_phrases_are_counted_as_they_come(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = service.decoder._decoded
    monkeypatch.setattr(service.decoder, "_decoded", lambda item: DecoderOutput(decoded(item).masks * 10))
    monkeypatch.setattr("services.promptable.answers.MAX_MASK_PIXELS", 30 * 60 * 50)
    with pytest.raises(InvalidOption, match="too many masks of this size for npz"):
        await service.answer(IMAGE, *[click(5, 5)] * 50, format="npz", multimask=False)
    assert sum(service.decoder.batches) < 50
    answer = await service.answer(IMAGE, *[click(5, 5)] * 50, format="cutout", multimask=False)
    assert len(zipfile.ZipFile(io.BytesIO(answer.body)).namelist()) == 50


async def test_the_best_mask_of_each_prompt_is_cut_out(service: Service) -> None:
    one = await service.answer(IMAGE, click(50, 10), format="cutout", multimask=False)
    rgba = np.asarray(Image.open(io.BytesIO(one.body)))
    assert rgba[10, 50, 3] == 255
    assert rgba[10, 10, 3] == 0
    both = await service.answer(IMAGE, click(50, 10), click(10, 10), format="cutout", multimask=False)
    assert both.media_type == "application/zip"
    effect = Effect(background=(250, 0, 250))
    shown = await service.answer(IMAGE, click(50, 10), format="replace", multimask=False, effect=effect)
    assert np.asarray(Image.open(io.BytesIO(shown.body)))[10, 10].tolist() == [250, 0, 250]
