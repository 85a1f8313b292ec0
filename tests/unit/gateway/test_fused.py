"""The fused layout without Ray: one process from HTTP to the model and back, and what its builder takes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from types import SimpleNamespace

import httpx
import pytest
from pydantic import ValidationError

from services.gateway import fused
from services.gateway.app import create_app
from services.gateway.fused import FusedReplica, build
from services.gateway.inprocess import InProcessDirectory
from shared.calls import Answer, Caller, DenseCall, DenseOptions, ModelInfo
from shared.errors import ModelNotFound
from shared.serving.args import ServiceArgs
from shared.serving.replica import LiveDense, ModelReplica
from shared.serving.whole import WholeModel, assemble_whole
from shared.settings import Settings
from shared.store.opening import open_stores
from shared.telemetry.recording import RecordingSink
from tests.integration.trivial.platform import HERE, PNG, grey

SETTINGS = Settings(card_dirs=(HERE / "cards",))
CLICK = json.dumps([{"points": [[1, 1]], "labels": [1]}])


class Replica(ModelReplica):
    """A replica as far as `LiveDense` looks at it."""

    def __init__(self, model: WholeModel, args: ServiceArgs, **live: object) -> None:
        self.args, self.loaded, self.live = args, model.loaded, args.live(live)


def whole(*tasks: str) -> tuple[WholeModel, ServiceArgs, RecordingSink]:
    sink = RecordingSink()
    args = ServiceArgs.model_validate({"model": "whole", "tasks": tasks})
    return assemble_whole(args, SETTINGS, sink, open_stores(SETTINGS, sink)), args, sink


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    sink = RecordingSink()
    stores = open_stores(SETTINGS, sink)
    args = ServiceArgs(model="whole", tasks=("semantic", "promptable"))
    model = assemble_whole(args, SETTINGS, sink, stores)
    assert model.promptable is not None

    async def page() -> bytes:
        return b""

    directory = InProcessDirectory([LiveDense(Replica(model, args), model.dense)], [model.promptable])
    app = create_app(SETTINGS, directory, stores.images, sink, page)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://fused") as found:
        yield found


async def test_every_task_of_the_model_answers_and_it_is_listed_once(client: httpx.AsyncClient) -> None:
    dense = await client.post("/v1/semantic", content=grey(200), headers=PNG)
    assert [segment["label_id"] for segment in dense.json()["segments"]] == [1]
    click = await client.post("/v1/promptable", files={"image": grey(51)}, data={"prompts": CLICK})
    (masks,) = click.json()["results"]
    assert masks["masks"][0]["predicted_iou"] == pytest.approx(51 / 255, abs=1e-3)
    (listed,) = (await client.get("/v1/models")).json()["models"]
    assert (listed["name"], listed["tasks"]) == ("whole", ["semantic", "promptable"])


async def test_everything_mode_answers_whole_and_as_events(client: httpx.AsyncClient) -> None:
    files, path = {"image": grey(51)}, "/v1/promptable/everything"
    fields = {"points_per_side": "2", "pred_iou_thresh": "0", "stability_score_thresh": "0"}
    whole = await client.post(path, files=files, data=fields)
    assert whole.status_code == 200, whole.text
    assert [mask["predicted_iou"] for mask in whole.json()["masks"]] == [pytest.approx(51 / 255, abs=1e-3)]
    told = await client.post(path, files=files, data=fields, headers={"Accept": "text/event-stream"})
    assert "event: result" in told.text


@pytest.mark.parametrize("kept", ["fp16", "int8"])
def test_embeddings_are_kept_as_the_arguments_say(kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[bool] = []
    monkeypatch.setattr(fused, "open_stores", lambda settings, sink, packed: opened.append(packed))
    monkeypatch.setattr(fused, "assemble_whole", lambda *_: SimpleNamespace(loaded=None))
    fused.FusedReplica(ServiceArgs.model_validate({"model": "whole", "embeddings": kept}))
    assert opened == [kept == "int8"]


async def test_gateway_and_model_share_one_store(client: httpx.AsyncClient) -> None:
    files = {"image": grey(51)}
    image = (await client.post("/v1/images", files=files, data={"embed": '["whole"]'})).json()
    assert image["embeddings"] == {"whole": "computed"}
    body = {"image_id": image["image_id"], "prompts": json.loads(CLICK)}
    assert (await client.post("/v1/promptable", json=body)).json()["embedding"] == "memory"
    assert (await client.delete(f"/v1/images/{image['image_id']}")).status_code == 204
    assert (await client.post("/v1/promptable", json=body)).status_code == 404


async def test_only_the_chosen_tasks_are_loaded_and_served() -> None:
    model, args, sink = whole("semantic")
    assert model.promptable is None
    assert set(model.loaded.batchers) == {"semantic"}
    assert sink.values("segserve_model_load_seconds", model="whole", role="encoder") == []
    service = LiveDense(Replica(model, args), model.dense)
    assert service.describe().tasks == ("semantic",)
    with pytest.raises(ModelNotFound, match="does not serve panoptic"):
        await service.segment(DenseCall("panoptic", grey(1), Caller("public", "r", 2e9)))


class Recorder:
    """A dense service that keeps what it was asked."""

    def __init__(self, info: ModelInfo) -> None:
        self._info = info
        self.options: list[DenseOptions] = []

    def describe(self) -> ModelInfo:
        return self._info

    async def segment(self, call: DenseCall) -> Answer:
        self.options.append(call.options)
        return Answer(b"", "")


async def test_live_defaults_fill_what_a_request_leaves_open() -> None:
    model, args, _ = whole("semantic")
    recorder = Recorder(model.loaded.info)
    service = LiveDense(Replica(model, args, min_confidence=0.25, score_threshold=0.5), {"semantic": recorder})
    caller = Caller("public", "r", 2e9)
    await service.segment(DenseCall("semantic", b"", caller, DenseOptions(min_confidence=0.75)))
    (asked,) = recorder.options
    assert (asked.min_confidence, asked.score_threshold, asked.max_instances) == (0.75, 0.5, None)


def test_the_builder_takes_all_tasks_of_the_card_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.fused.settings", lambda: SETTINGS)
    (bound,) = [build({"model": "whole"})._bound_deployment]
    assert bound.name == "Fused"
    assert bound.init_args[0].tasks == ("semantic", "promptable")
    assert build({"model": "whole", "tasks": ["semantic"]})._bound_deployment.init_args[0].tasks == ("semantic",)
    with pytest.raises(ValidationError, match="modell"):
        build({"model": "whole", "modell": 1})


def test_over_handles_nothing_of_it_can_be_called() -> None:
    offered = {name for name in vars(FusedReplica) if not name.startswith("_")}
    assert offered == set()
