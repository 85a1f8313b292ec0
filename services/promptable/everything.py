"""All masks of an image: the automatic mask generator of Segment Anything, streamed as it finds them.

A grid of clicks on the image and on crops of it; candidates are filtered by their predicted IoU before any mask of them
is made, kept as runs, and rid of duplicates. The result is the reference's; the events before it are provisional.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, replace

import numpy as np
import orjson

from services.promptable.cleanup import tidied
from services.promptable.crops import Crop, FloatArray, crops_of, points_of
from services.promptable.everything_answer import PICTURES, Found, answer_of, check_format, fields_of
from services.promptable.pipeline import TASK, PromptablePipeline, until
from services.promptable.suppression import is_cut_off, suppressed
from shared.calls import Answer, EverythingCall, EverythingOptions, PromptCall, PromptOptions, StreamEvent
from shared.catalog.card import Card
from shared.errors import InvalidOption
from shared.imaging import rle
from shared.imaging.compose import encode_picture
from shared.imaging.georeference import georeference
from shared.schemas.options import MAX_CLICKS
from shared.telemetry.stages import Stages
from shared.types import DecoderInput, DecoderOutput, Embedding, Prompt, UInt8Array

MAX_RUNS_BYTES = 2**28
"""Most bytes of run lengths that the candidates of one run may have."""
INSIDE = np.ones(1, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """`pred_iou`: candidates must be above it; `stability`: they must reach it. 0 keeps all."""

    pred_iou: float
    stability: float


def thresholds_of(options: EverythingOptions, card: Card) -> Thresholds:
    """The call's, else the card's (`extras.everything`), else those of Segment Anything."""
    own = {"pred_iou_thresh": 0.88, "stability_score_thresh": 0.95, **card.extras.get("everything", {})}
    pred_iou, stability = options.pred_iou_thresh, options.stability_score_thresh
    return Thresholds(
        float(own["pred_iou_thresh"]) if pred_iou is None else pred_iou,
        float(own["stability_score_thresh"]) if stability is None else stability,
    )


class EverythingPipeline:
    """Implements `protocols.EverythingService` on a promptable pipeline: its embeddings, its decoder, its pool."""

    def __init__(self, promptable: PromptablePipeline) -> None:
        self._promptable = promptable

    async def everything(self, call: EverythingCall) -> AsyncGenerator[StreamEvent | Answer, None]:
        """See the protocol. Raises what `PromptablePipeline.segment` raises."""
        check_format(call.options, call.live)
        stages = Stages(self._promptable.sink, TASK)
        subject = PromptCall(call.image_id, (), call.caller, call.image, PromptOptions(store=call.options.store))
        with stages.stage("embedding"):
            async with until(call.caller.deadline):
                embedding, tier = await self._promptable.embedding(subject)
        run = _Run(self._promptable, call, subject, embedding)
        with stages.stage("predict"):
            async for event in run.events():
                yield event
        common, options = self._promptable.common(call, embedding.size, tier), call.options
        decode = self._promptable.decode
        with stages.stage("encode"):
            pixels = await run.pixels() if options.format in PICTURES else None
            place = georeference(await self._promptable.uploaded(subject)) if options.format == "geojson" else None
            answer = await self._promptable.off_loop(
                lambda: answer_of(common, run.found, options, pixels, decode, place)
            )
        yield replace(answer, timings=stages.timings())


class _Run:
    """One run of the generator; `found` holds what stands so far, and the result once `events` is through."""

    def __init__(
        self, promptable: PromptablePipeline, call: EverythingCall, subject: PromptCall, embedding: Embedding
    ) -> None:
        self.found: list[Found] = []
        self._promptable, self._call, self._subject, self._embedding = promptable, call, subject, embedding
        self._options = options = call.options
        self._thresholds = thresholds_of(options, promptable.card)
        crops = crops_of(embedding.size, options.crop_n_layers, options.crop_overlap_ratio)
        self._work = [(crop, _points(crop, options)) for crop in crops]
        self._total = sum(len(points) for _, points in self._work)
        self._done = self._count = self._bytes = 0
        self._shown: dict[int, Found] = {}
        self._pixels: UInt8Array | None = None
        if self._total > MAX_CLICKS:
            field = "points_per_side" if options.point_grids is None else "point_grids"
            reason = f"{field} and crop_n_layers ask for too many clicks"
            raise InvalidOption.of(field, f"{self._total} clicks", MAX_CLICKS, reason)
        promptable.sink.count("segserve_decoder_prompts_total", self._total, model=promptable.info.name)

    async def events(self) -> AsyncIterator[StreamEvent]:
        """Crop by crop; the events of a call that is not live are none."""
        for crop, points in self._work:
            embedding = await self._embedded(crop)
            earlier, candidates = self.found, list[Found]()
            for start in range(0, len(points), self._options.points_per_batch):
                batch = points[start : start + self._options.points_per_batch]
                candidates += await self._clicked(crop, embedding, batch)
                self._done += len(batch)
                if self._call.live:
                    self.found = [*earlier, *await self._distinct(candidates)]
                    for event in self._news():
                        yield event
            self.found = [*earlier, *await self._distinct(candidates)]
        if len(self._work) > 1:
            by_size = [1 / each.crop_area for each in self.found]
            self.found = _kept(self.found, by_size, self._options.crop_nms_thresh)
        if self._options.min_mask_region_area:
            self.found = await self._promptable.off_loop(self._tidied)
        if self._call.live:
            for event in self._news():
                yield event

    async def pixels(self) -> UInt8Array:
        """The image itself, decoded once."""
        if self._pixels is None:
            self._pixels = await self._promptable.pixels(self._subject)
        return self._pixels

    async def _embedded(self, crop: Crop) -> Embedding:
        """The image's own embedding, or one of the crop alone, which is not kept."""
        if crop.layer == 0:
            return self._embedding
        x0, y0, x1, y1 = crop.box
        async with until(self._call.caller.deadline):
            pixels = await self.pixels()
            part = await self._promptable.off_loop(lambda: encode_picture(pixels[y0:y1, x0:x1], "png"))
            return await self._promptable.encoder.encode(part)

    async def _clicked(self, crop: Crop, embedding: Embedding, points: FloatArray) -> list[Found]:
        """What these clicks (in pixels of the crop) find, in their order."""
        lowest = self._thresholds.pred_iou if self._thresholds.pred_iou > 0 else None
        prompts = [Prompt(point[None].astype(np.float32), INSIDE) for point in points]
        offset = self._options.stability_score_offset
        items = [DecoderInput(embedding, prompt, True, lowest, offset) for prompt in prompts]

        async def clicked(index: int, item: DecoderInput) -> list[Found]:
            output = await self._promptable.decoded(index, item, self._call.caller.deadline)
            x, y = points[index] + crop.box[:2]
            return await self._promptable.off_loop(lambda: self._sound(output, crop, (float(x), float(y))))

        parts = await self._promptable.each(items, clicked)
        first, self._count = self._count, self._count + sum(map(len, parts))
        found = [each for part in parts for each in part]
        self._bytes += sum(len(each.runs["counts"]) for each in found)
        if self._bytes > MAX_RUNS_BYTES:
            reason = "too many candidates to hold: raise the thresholds or ask with fewer points"
            raise InvalidOption.of("pred_iou_thresh", f"{self._bytes} bytes of masks", MAX_RUNS_BYTES, reason)
        return [replace(each, number=first + index) for index, each in enumerate(found)]

    def _sound(self, output: DecoderOutput, crop: Crop, point: tuple[float, float]) -> list[Found]:
        """The candidates of one click that are stable and not cut off, as runs on the whole image."""
        found: list[Found] = []
        size = self._embedding.size
        for mask in output.masks:
            if mask.stability_score < self._thresholds.stability or mask.region.empty:
                continue
            here = mask.region
            region = replace(here, size=size, x0=here.x0 + crop.box[0], y0=here.y0 + crop.box[1])
            if is_cut_off(region.box, crop.box, size):
                continue
            scores = (mask.predicted_iou, mask.stability_score)
            found.append(Found(0, rle.encode(region), region.box, region.area, *scores, point, crop.area))
        return found

    async def _distinct(self, candidates: list[Found]) -> list[Found]:
        """Without duplicates within one crop, best predicted IoU first."""
        scores = [each.predicted_iou for each in candidates]
        return await self._promptable.off_loop(lambda: _kept(candidates, scores, self._options.box_nms_thresh))

    def _tidied(self) -> list[Found]:
        """Without small holes and islands, and without what that made a duplicate; untouched masks go first."""
        new: list[Found] = []
        untouched: list[float] = []
        for each in self.found:
            region, changed = tidied(each.region, self._options.min_mask_region_area)
            tidy = replace(each, runs=rle.encode(region), box=region.box, area=region.area) if changed else each
            new.append(tidy)
            untouched.append(0.0 if changed else 1.0)
        return _kept(new, untouched, max(self._options.box_nms_thresh, self._options.crop_nms_thresh))

    def _news(self) -> Iterator[StreamEvent]:
        """What has changed since the last news, and how far the run is."""
        now = {each.number: each for each in self.found}
        if gone := [number for number in self._shown if number not in now]:
            yield StreamEvent("dropped", orjson.dumps({"ids": gone}))
        for number, each in now.items():
            if self._shown.get(number) is not each:
                yield StreamEvent("mask", orjson.dumps({"id": number, **fields_of(each, self._options)}))
        self._shown = now
        counts = {"done": self._done, "total": self._total, "masks": len(now)}
        yield StreamEvent("progress", orjson.dumps(counts))


def _points(crop: Crop, options: EverythingOptions) -> FloatArray:
    """The clicks on a crop, Nx2 in its pixels. Raises `InvalidOption` where no grid is given for its layer."""
    if options.point_grids is None:
        return points_of(crop, options.points_per_side, options.crop_n_points_downscale_factor)
    if crop.layer >= len(options.point_grids):
        limit = f"{options.crop_n_layers + 1} grids"
        raise InvalidOption.of("point_grids", f"{len(options.point_grids)} grids", limit, "one grid for each layer")
    grid: FloatArray = np.array(options.point_grids[crop.layer], dtype=np.float64).reshape(-1, 2)
    grid *= np.array([crop.size[1], crop.size[0]])
    return grid


def _kept(found: list[Found], scores: list[float], threshold: float) -> list[Found]:
    return [found[index] for index in suppressed([each.box for each in found], scores, threshold)]
