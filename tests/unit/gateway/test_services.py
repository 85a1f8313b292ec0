"""The three dense services and the gateway in one process: what comes over HTTP is what the interface promises."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping

import httpx
import numpy as np
import pytest
from pydantic import BaseModel, TypeAdapter

from services.gateway.app import create_app
from services.gateway.inprocess import InProcessDirectory
from shared.imaging.png import read_label_png
from shared.schemas import answers
from shared.schemas.masks import CocoPanoptic, CocoResult, FeatureCollection
from shared.settings import Settings
from shared.store.images_memory import MemoryImageStore
from shared.telemetry.recording import RecordingSink
from shared.types import DenseTask
from tests.data import encoded, pixels_of
from tests.unit.services.test_dense_pipelines import pipeline, scene

TASKS: tuple[DenseTask, ...] = ("semantic", "instance", "panoptic")
ANSWERS: Mapping[DenseTask, type[BaseModel]] = {
    "semantic": answers.SemanticAnswer,
    "instance": answers.InstanceAnswer,
    "panoptic": answers.PanopticAnswer,
}
COCO: Mapping[DenseTask, TypeAdapter[object]] = {
    "semantic": TypeAdapter(list[CocoResult]),
    "instance": TypeAdapter(list[CocoResult]),
    "panoptic": TypeAdapter(CocoPanoptic),
}
IMAGE = encoded(scene())


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A gateway over one service for each task."""
    sink = RecordingSink()

    async def page() -> bytes:
        return b""

    directory = InProcessDirectory([pipeline(task) for task in TASKS])
    app = create_app(Settings(), directory, MemoryImageStore(2**20, 60, sink), sink, page)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gateway") as found:
        yield found


async def ask(client: httpx.AsyncClient, task: str, accept: str = "*/*", **query: str) -> httpx.Response:
    """One request about the scene."""
    headers = {"Content-Type": "image/png", "Accept": accept, "X-Request-ID": "asked"}
    response = await client.post(f"/v1/{task}", content=IMAGE, params=query, headers=headers)
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize("form", ["rle", "polygon", "png"])
@pytest.mark.parametrize("task", TASKS)
async def test_answers_have_every_field_and_no_other(task: DenseTask, form: str, client: httpx.AsyncClient) -> None:
    response = await ask(client, task, format=form)
    answer = ANSWERS[task].model_validate_json(response.content).model_dump()
    assert (answer["task"], answer["request_id"]) == (task, "asked")
    found = answer["instances" if task == "instance" else "segments"]
    assert found
    for mask in found:
        present = {name for name in ("rle", "polygons") if mask[name] is not None}
        assert present == {"rle": {"rle"}, "polygon": {"polygons"}, "png": set()}[form]
    assert (answer["png"] is not None) == (form == "png")


@pytest.mark.parametrize("task", TASKS)
async def test_coco_and_geojson_have_their_own_shapes(task: DenseTask, client: httpx.AsyncClient) -> None:
    assert COCO[task].validate_json((await ask(client, task, format="coco")).content)
    geojson = await ask(client, task, format="geojson")
    assert geojson.headers["content-type"] == "application/geo+json"
    assert FeatureCollection.model_validate_json(geojson.content).features


@pytest.mark.parametrize("task", TASKS)
async def test_pictures_come_as_pictures(task: DenseTask, client: httpx.AsyncClient) -> None:
    overlay = await ask(client, task, format="overlay")
    assert overlay.headers["content-type"] == "image/png"
    assert pixels_of(overlay.content).shape == scene().shape


async def test_the_label_map_is_the_models_own(client: httpx.AsyncClient) -> None:
    response = await ask(client, "semantic", accept="image/png")
    assert (read_label_png(response.content) == scene()[..., 0]).all()


async def test_panoptic_ids_come_with_their_segments(client: httpx.AsyncClient) -> None:
    response = await ask(client, "panoptic", accept="image/png")
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-segments"]


async def test_an_unknown_class_is_named(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/v1/semantic", content=IMAGE, params={"classes": "road,caar"}, headers={"Content-Type": "image/png"}
    )
    assert response.status_code == 422
    assert response.json()["details"][0]["field"] == "classes"


async def test_a_stage_of_each_side_is_timed(client: httpx.AsyncClient) -> None:
    timing = (await ask(client, "semantic")).headers["server-timing"]
    assert [part.partition(";")[0] for part in timing.split(", ")] == [
        "decode",
        "predict",
        "encode",
        "receive",
        "service",
    ]


async def test_npz_loads_without_pickle(client: httpx.AsyncClient) -> None:
    response = await ask(client, "semantic", format="npz")
    assert "attachment" in response.headers["content-disposition"]
    with np.load(io.BytesIO(response.content), allow_pickle=False) as arrays:
        assert (arrays["labels"] == scene()[..., 0]).all()
