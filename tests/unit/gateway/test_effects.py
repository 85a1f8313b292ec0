"""The options of pictures: which fit which format, where a second image may come from, and what `Accept` decides."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from services.gateway.negotiation import answer_format, packing
from shared.calls import Effect, Format
from shared.errors import NotAcceptable
from shared.store.keys import image_id
from tests.bad_input import HEIGHT, IMAGES, PNG, PROMPTABLE, SEMANTIC, WIDTH, picture
from tests.unit.gateway.running import Running

SECOND = picture(7)
TEXT = base64.b64encode(PNG).decode()


async def effect(gateway: Running, **sent: Any) -> Effect:
    """The effect as the service is given it."""
    response = await gateway.client.post(SEMANTIC, **sent)
    assert response.status_code == 200, response.text
    return gateway.dense.calls[-1].options.effect


async def test_colours_and_strengths_reach_the_service(gateway: Running) -> None:
    fields = {"image": TEXT, "format": "recolor", "color": "#FF8000", "tint": 0.4, "matting": False}
    found = await effect(gateway, json=fields)
    assert (found.color, found.tint, found.matting) == ((255, 128, 0), 0.4, False)
    assert (await effect(gateway, json={"image": TEXT, "format": "blur", "blur_strength": 0.1})).blur_strength == 0.1
    found = await effect(gateway, json={"image": TEXT, "format": "replace", "background": "#010203"})
    assert found.background == (1, 2, 3)


async def test_a_second_image_comes_as_a_part_as_base64_or_by_its_id(gateway: Running) -> None:
    await gateway.client.post(IMAGES, content=SECOND, headers={"Content-Type": "image/png"})
    files = {"image": ("a.png", PNG), "background_image": ("b.png", SECOND)}
    second = base64.b64encode(SECOND).decode()
    for sent in (
        {"files": files, "data": {"format": "replace"}},
        {"json": {"image": TEXT, "format": "replace", "background_image": second}},
        {"json": {"image": TEXT, "format": "replace", "background_id": image_id(SECOND)}},
    ):
        found = await effect(gateway, **sent)
        assert found.background_image == SECOND
        assert found.background_field == ("background_id" if "background_id" in str(sent) else "background_image")
        assert gateway.dense.calls[-1].image == PNG


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({"format": "replace"}, "background"),
        ({"format": "replace", "background": "#000000", "background_image": TEXT}, "background"),
        ({"format": "replace", "background": "red"}, "background"),
        ({"format": "recolor"}, "color"),
        ({"format": "recolor", "color": "#12345"}, "color"),
        ({"format": "blur", "color": "#123456"}, "color"),
        ({"format": "cutout", "blur_strength": 0.1}, "blur_strength"),
        ({"format": "blur", "blur_strength": 0.3}, "blur_strength"),
        ({"background_image": TEXT}, "background_image"),
        ({"format": "replace", "background_image": 5}, "background_image"),
    ],
)
async def test_what_does_not_fit_the_format_is_named(fields: dict[str, Any], at_fault: str, gateway: Running) -> None:
    response = await gateway.client.post(SEMANTIC, json={"image": TEXT, **fields})
    assert response.status_code == 422, response.text
    assert response.json()["details"][0]["field"] == at_fault
    assert not gateway.dense.calls


async def test_a_broken_second_image_is_told_from_the_first(gateway: Running) -> None:
    files = {"image": ("a.png", PNG), "background_image": ("b.png", b"no image")}
    response = await gateway.client.post(SEMANTIC, files=files, data={"format": "replace"})
    assert response.status_code == 415
    assert response.json()["details"][0]["field"] == "background_image"
    twice = [("image", ("a", PNG)), ("background_image", ("b", PNG)), ("background_image", ("c", PNG))]
    assert (await gateway.client.post(SEMANTIC, files=twice)).status_code == 422
    unused = await gateway.client.post(IMAGES, files={"image": ("a", PNG), "background_image": ("b", PNG)})
    assert unused.json()["details"][0]["field"] == "background_image"
    absent = {"image": TEXT, "format": "replace", "background_id": image_id(picture(3))}
    told = (await gateway.client.post(SEMANTIC, json=absent)).json()
    assert told["code"] == "image_not_found"
    assert told["message"].startswith("background_id: No such image")
    assert told["details"][0]["field"] == "background_id"


async def test_prompts_take_effects_too(gateway: Running) -> None:
    prompts = [{"points": [[WIDTH - 1, HEIGHT - 1]]}]
    fields = {"image": TEXT, "prompts": prompts, "format": "replace", "background": "#0000ff"}
    assert (await gateway.client.post(PROMPTABLE, json=fields)).status_code == 200
    options = gateway.wand.calls[0].options
    assert (options.format, options.effect.background) == ("replace", (0, 0, 255))


@pytest.mark.parametrize("form", ["blur", "replace", "recolor", "cutout"])
async def test_everything_takes_effects_too(form: str, gateway: Running) -> None:
    own = {"replace": {"background": "#0000ff"}, "recolor": {"color": "#00ff00"}}.get(form, {})
    answer = await gateway.client.post(f"{PROMPTABLE}/everything", json={"image": TEXT, "format": form, **own})
    assert answer.status_code == 200, answer.text
    options = gateway.wand.generated[0].options
    assert options.format == form
    assert options.effect.background == ((0, 0, 255) if form == "replace" else None)
    assert options.effect.color == ((0, 255, 0) if form == "recolor" else None)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "auto"),
        ("application/zip", "zip"),
        ("image/png", "one"),
        ("image/png, application/zip;q=0.5", "one"),
        ("application/zip, image/png;q=0.5", "zip"),
        ("application/zip;q=0", "auto"),
    ],
)
def test_accept_chooses_the_packing(accept: str, expected: str) -> None:
    assert packing(accept) == expected


@pytest.mark.parametrize("form", ["cutout", "blur", "replace", "recolor", "overlay"])
def test_a_picture_is_what_accept_png_may_mean(form: Format) -> None:
    assert answer_format(form, "image/png", has_label_map=False) == form
    with pytest.raises(NotAcceptable):
        answer_format(form, "image/jpeg", has_label_map=False)
