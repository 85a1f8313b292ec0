"""Two whole services of a few lines each, for the gateway's tests: real masks of real pixels, without a network.

`Brightness` calls a pixel bright or dark; `Wand` selects the pixels that are as bright as the one clicked on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import numpy as np
import orjson

from shared.calls import Answer, DenseCall, EmbedAnswer, EmbedCall, EverythingCall, ModelInfo, PromptCall, StreamEvent
from shared.errors import ImageNotFound
from shared.imaging.decode import decode
from shared.imaging.rle import encode
from shared.types import BoolArray, Region, Tier

MIDDLE = 128


def info(name: str, *tasks: str, version: str = "1", default: bool = True) -> ModelInfo:
    """A model's description."""
    return ModelInfo(
        name=name,
        version=version,
        tasks=tasks,  # type: ignore[arg-type]  # plain text in tests
        label_space="camvid",
        weights_sha256="",
        engine="numpy",
        parameters=0,
        licence="Apache 2.0",
        summary="A threshold.",
        default_for=tasks if default else (),  # type: ignore[arg-type]
    )


def bright(image: bytes) -> BoolArray:
    """HxW bool: which pixels of an encoded image are bright."""
    pixels = decode(image, max_pixels=10**6, max_side=10**4)
    mask: BoolArray = pixels.mean(axis=2) >= MIDDLE
    return mask


class Brightness:
    """A dense service. `before` runs first in each call, for tests that need it slow or failing."""

    def __init__(self, described: ModelInfo, before: Callable[[DenseCall], Awaitable[None]] | None = None) -> None:
        self._info = described
        self._before = before
        self.calls: list[DenseCall] = []

    def describe(self) -> ModelInfo:
        return self._info

    async def segment(self, call: DenseCall) -> Answer:
        self.calls.append(call)
        if self._before:
            await self._before(call)
        mask = bright(call.image)
        if call.options.format == "label_map":
            return Answer(b"\x89PNG map", "image/png", (("X-Segments", "W10="),))
        body = {
            "task": call.task,
            **_common(self._info, call.caller.request_id, mask),
            "segments": [{"label": "bright", "label_id": 1, "score": 1.0, "area": int(mask.sum()), "rle": _rle(mask)}],
        }
        return Answer(orjson.dumps(body), "application/json", timings=(("decode", 0.001), ("predict", 0.002)))


class Wand:
    """A promptable service that remembers what it has seen, like one with a memory tier."""

    def __init__(self, described: ModelInfo, between: Callable[[], Awaitable[None]] | None = None) -> None:
        self._info = described
        self._between = between
        self.generated: list[EverythingCall] = []
        self.ended: list[EverythingCall] = []
        self.embedding = self.most_at_once = 0
        self._seen: dict[tuple[str, str], BoolArray] = {}
        self.calls: list[PromptCall] = []

    def describe(self) -> ModelInfo:
        return self._info

    async def segment(self, call: PromptCall) -> Answer:
        self.calls.append(call)
        if self._between:
            await self._between()
        mask, tier = self._embedding((call.caller.tenant, call.image_id), call.image)
        results = []
        for prompt in call.prompts:
            x, y = (int(value) for value in prompt.points[0])
            chosen = mask == mask[y, x]
            region = Region.from_mask(chosen)
            fields = {"predicted_iou": 1.0, "stability_score": 1.0, "area": region.area, "box": region.box}
            results.append({"masks": [{**fields, "rle": encode(region)}]})
        common = _common(self._info, call.caller.request_id, mask)
        body = {"task": "promptable", **common, "image_id": call.image_id, "embedding": tier, "results": results}
        return Answer(orjson.dumps(body), "application/json")

    async def everything(self, call: EverythingCall) -> AsyncGenerator[StreamEvent | Answer, None]:
        """One mask a level of brightness; with `before`, that runs between the events."""
        self.generated.append(call)
        mask, tier = self._embedding((call.caller.tenant, call.image_id), call.image)
        masks = []
        try:
            for number, level in enumerate((False, True)):
                region = Region.from_mask(mask == level)
                fields = {"predicted_iou": 1.0, "stability_score": 1.0, "area": region.area, "box": region.box}
                masks.append({**fields, "point": [0.5, 0.5], "rle": encode(region)})
                if call.live:
                    yield StreamEvent("mask", orjson.dumps({"id": number, **masks[-1]}))
                    yield StreamEvent("progress", orjson.dumps({"done": number + 1, "total": 2, "masks": number + 1}))
                if self._between:
                    await self._between()
        finally:
            self.ended.append(call)
        common = _common(self._info, call.caller.request_id, mask)
        body = {"task": "promptable", **common, "image_id": call.image_id, "embedding": tier, "masks": masks}
        yield Answer(orjson.dumps(body), "application/json")

    async def embed(self, call: EmbedCall) -> EmbedAnswer:
        self.embedding += 1
        self.most_at_once = max(self.most_at_once, self.embedding)
        try:
            await (self._between() if self._between else asyncio.sleep(0))
        finally:
            self.embedding -= 1
        mask, tier = self._embedding((call.caller.tenant, call.image_id), call.image)
        return EmbedAnswer(tier, mask.shape[1], mask.shape[0])

    def _embedding(self, key: tuple[str, str], image: bytes | None) -> tuple[BoolArray, Tier]:
        if key in self._seen:
            return self._seen[key], "memory"
        if image is None:
            raise ImageNotFound.of("image_id", key[1])
        self._seen[key] = bright(image)
        return self._seen[key], "computed"


def _rle(mask: BoolArray) -> dict[str, object]:
    return dict(encode(Region.from_mask(mask)))


def _common(
    described: ModelInfo, request_id: str, mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> dict[str, object]:
    return {
        "model": described.name,
        "model_version": described.version,
        "weights_sha256": "",
        "engine": described.engine,
        "label_space": described.label_space,
        "width": mask.shape[1],
        "height": mask.shape[0],
        "request_id": request_id,
    }
