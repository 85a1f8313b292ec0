"""Every promptable card behind the gateway, as callers see it: embedded once, clicked by id, refined by its logits."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.gateway.app import create_app
from services.gateway.inprocess import InProcessDirectory
from shared.catalog.catalog import built_in, find_card
from shared.serving.args import ServiceArgs
from shared.serving.whole import assemble_whole
from shared.settings import Settings
from shared.store.opening import open_stores
from shared.telemetry.recording import RecordingSink
from tests.contract.contract import picture
from tests.contract.tiny import tiny
from tests.data import encoded

NAMES = [card.name for card in built_in() if "promptable" in card.tasks]
FAMILY = {
    *(f"sam-vit-{size}" for size in ("base", "large", "huge")),
    *(f"sam-hq-vit-{size}" for size in ("base", "large", "huge")),
    *(f"sam2.1-hiera-{size}" for size in ("tiny", "small", "base-plus", "large")),
    *("edgetam", "mobile-sam", "sam3-tracker", "sam3", "clipseg-rd64-refined", "street"),
}
SIZE = (48, 64)
IMAGE = encoded(picture(*SIZE, seed=1))


@dataclass(frozen=True)
class Served:
    """One card's small network behind the gateway."""

    name: str
    client: httpx.AsyncClient
    sink: RecordingSink

    async def ask(self, prompt: dict[str, Any], image: str, **options: Any) -> tuple[list[dict[str, Any]], str]:
        """The candidates of one prompt on a stored image, and where its embedding was found."""
        body = {"image_id": image, "model": self.name, "prompts": [prompt], **options}
        answer = await self.client.post("/v1/promptable", json=body)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["results"][0]["masks"]
        return found, answer.json()["embedding"]


@pytest.fixture(params=NAMES)
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    card = tiny(find_card(request.param))
    (tmp_path / f"{card.name}.yaml").write_text(json.dumps(card.model_dump(mode="json")), encoding="utf-8")
    settings, sink = Settings(card_dirs=(tmp_path,)), RecordingSink()
    stores = open_stores(settings, sink)
    engine: Any = "torch" if "torch" in card.engines else "auto"
    args = ServiceArgs(model=card.name, tasks=("promptable",), engine=engine, device="cpu")
    model = assemble_whole(args, settings, sink, stores)
    assert model.promptable is not None

    async def page() -> bytes:
        return b""

    app = create_app(settings, InProcessDirectory([], [model.promptable]), stores.images, sink, page)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gateway") as client:
        yield Served(card.name, client, sink)
    await model.loaded.batchers["decoder"].close()
    await model.loaded.batchers["encoder"].close()


def test_all_of_the_family_have_cards() -> None:
    assert set(NAMES) == FAMILY


async def test_an_image_is_embedded_once_and_then_prompted_by_its_id(served: Served) -> None:
    described = (await served.client.get(f"/v1/models/{served.name}")).json()
    stored = await served.client.post("/v1/images", files={"image": IMAGE}, data={"embed": served.name})
    assert stored.json()["embeddings"] == {served.name: "computed"}
    image = stored.json()["image_id"]
    phrases = described["text_prompts"]
    first: dict[str, Any] = {"text": "a car"} if phrases else {"points": [[30, 20]], "labels": [1]}
    masks, tier = await served.ask(first, image, return_logits=True)
    assert tier == "memory"
    ious = [mask["predicted_iou"] for mask in masks]
    assert ious == sorted(ious, reverse=True)
    assert all(mask["rle"]["size"] == list(SIZE) for mask in masks)
    if phrases:
        assert masks
        assert all(mask["score"] is not None for mask in masks)
    else:
        assert len(masks) == 3
        clicks = {"points": [[30, 20], [5, 5]], "labels": [1, 0]}
        refined, _ = await served.ask({**clicks, "mask": masks[0]["logits"]}, image)
        plain, _ = await served.ask(clicks, image)
        assert len(refined) == len(plain) == 1
        assert refined != plain, "the earlier mask must matter"
        boxed, _ = await served.ask({"box": [4, 4, 50, 40]}, image)
        both, _ = await served.ask({"box": [4, 4, 50, 40], **clicks}, image)
        assert len(boxed) == len(both) == 1
    if served.name == "sam3":
        example, _ = await served.ask({"box": [4, 4, 50, 40]}, image)
        assert example
        assert example != masks, "a box is an example of what is looked for"
    assert served.sink.total("segserve_encoder_runs_total") == 1
    assert len(served.sink.values("segserve_stage_seconds", task="promptable", stage="decode")) == 1
