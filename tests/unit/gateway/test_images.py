"""The image store over HTTP: upload one or several, look, embed ahead, forget."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.schemas.resources import StoredImage, UploadedImage, UploadedImages
from shared.settings import Settings
from shared.store.keys import image_id
from tests.bad_input import HEIGHT, IMAGES, PNG, PROMPTABLE, WIDTH, picture
from tests.unit.gateway.running import Running, running

RAW = {"Content-Type": "image/png"}


async def test_one_image_through_its_life(gateway: Running) -> None:
    uploaded = await gateway.client.post(IMAGES, content=PNG, headers=RAW)
    assert uploaded.status_code == 200
    answer = UploadedImage.model_validate_json(uploaded.content)
    assert (answer.image_id, answer.width, answer.height) == (image_id(PNG), WIDTH, HEIGHT)
    assert uploaded.json()["expires_at"].endswith("Z")
    assert answer.expires_at > datetime.now(UTC)
    assert answer.embeddings == {}
    assert [part.split(";")[0] for part in uploaded.headers["server-timing"].split(", ")] == ["receive", "service"]

    path = f"{IMAGES}/{answer.image_id}"
    looked = await gateway.client.get(path)
    assert StoredImage.model_validate_json(looked.content).image_id == answer.image_id
    head = await gateway.client.head(path)
    assert (head.status_code, head.content) == (200, b"")

    assert (await gateway.client.delete(path)).status_code == 204
    assert (await gateway.client.get(path)).json()["code"] == "image_not_found"
    gone = await gateway.client.head(path)
    assert (gone.status_code, gone.content) == (404, b"")


async def test_the_same_bytes_are_the_same_image(gateway: Running) -> None:
    found = {(await gateway.client.post(IMAGES, content=PNG, headers=RAW)).json()["image_id"] for _ in range(2)}
    assert found == {image_id(PNG)}


async def test_an_embedding_made_ahead_is_found(gateway: Running) -> None:
    response = await gateway.client.post(IMAGES, content=PNG, headers=RAW, params={"embed": "wand"})
    assert response.json()["embeddings"] == {"wand": "computed"}
    again = await gateway.client.post(IMAGES, files={"image": ("a", PNG)}, data={"embed": '["wand@1"]'})
    assert again.json()["embeddings"] == {"wand@1": "memory"}
    prompts = [{"points": [[1, 1]]}]
    asked = await gateway.client.post(PROMPTABLE, json={"image_id": image_id(PNG), "prompts": prompts})
    assert asked.json()["embedding"] == "memory"


async def test_one_bad_image_of_several_fails_alone(gateway: Running) -> None:
    pictures = [PNG, b"no image", picture(3), b""]
    files = [("image", (f"{index}.png", data, "image/png")) for index, data in enumerate(pictures)]
    response = await gateway.client.post(IMAGES, files=files, data={"embed": "wand"})
    assert response.status_code == 200
    UploadedImages.model_validate_json(response.content)
    assert "service;dur=" in response.headers["server-timing"]
    entries = response.json()["images"]
    assert [entry.get("image_id") for entry in entries] == [image_id(PNG), None, image_id(picture(3)), None]
    assert [entry.get("error", {}).get("code") for entry in entries] == [None, "unsupported_format", None, "malformed"]
    assert entries[2]["embeddings"] == {"wand": "computed"}


async def test_too_many_images_are_refused() -> None:
    async with running(settings=Settings(max_images_per_upload=2)) as gateway:
        response = await gateway.client.post(IMAGES, files=[("image", ("a", PNG))] * 3)
        assert response.status_code == 422
        assert response.json()["details"][0] == {
            "field": "image",
            "value": "3 images",
            "limit": "2",
            "reason": "too many images in one request",
        }
