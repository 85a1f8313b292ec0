"""The promptable half of `street`: images to embeddings, prompts on embeddings to masks; without torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from shared.catalog.card import Preprocess
from shared.errors import InvalidOption
from shared.models.adapters.street_engines import CHANNELS
from shared.models.adapters.street_frame import STRIDE, cells, letterboxed, place
from shared.models.engines.engine import Engine
from shared.models.geometry import Placement, shown
from shared.models.postprocess.prompt_masks import candidates, cropped
from shared.models.postprocess.street_prompts import MAPS, Box, clicked_pieces, corrected, render_prompts
from shared.types import DecoderInput, DecoderOutput, Embedding, EncoderInput, Float32Array, Prompt


class StreetEncoder:
    """Images to embeddings, [80,h,w] float16 over the cells of the bucket."""

    def __init__(self, engine: Engine, preprocess: Preprocess) -> None:
        self._engine = engine
        self._buckets = preprocess.buckets
        self._padding = preprocess.mean

    def predict(self, batch: Sequence[EncoderInput]) -> list[Embedding]:
        """One embedding an image."""
        return [self._embed(item) for item in batch]

    def cost(self, item: EncoderInput) -> int:
        """The pixels of the bucket."""
        canvas = place(item.size, self._buckets).canvas
        return canvas.height * canvas.width

    def seen(self, size: tuple[int, int], tta: bool = False) -> tuple[int, int]:
        """See `ImageModel.seen`."""
        return place(size, self._buckets).valid

    def shown(self, item: EncoderInput) -> tuple[int, int]:
        """See `PaddedModel.shown`."""
        return shown([place(item.size, self._buckets)])

    def warm(self) -> None:
        """Compile every bucket."""
        self._engine.warm([{"image": (1, *bucket, 3)} for bucket in self._buckets])

    def _embed(self, item: EncoderInput) -> Embedding:
        image = letterboxed(item.pixels, place(item.size, self._buckets), self._padding)
        tensor = self._engine.run({"image": image[None]})["embedding"][0]
        return Embedding(item.size, (tensor.astype(np.float16, copy=False),))


class StreetDecoder:
    """Prompts to candidate masks. Any prompts on one embedding share a run, where the engine gains by it."""

    def __init__(self, engine: Engine, preprocess: Preprocess) -> None:
        self._engine = engine
        self._buckets = preprocess.buckets

    def predict(self, batch: Sequence[DecoderInput]) -> list[DecoderOutput]:
        """One output a prompt. Raises `InvalidOption` for a prompt that this network cannot take."""
        groups: dict[int, list[int]] = defaultdict(list)
        for index, item in enumerate(batch):
            _check(item)
            groups[id(item.embedding)].append(index)
        outputs: dict[int, DecoderOutput] = {}
        for members in groups.values():
            for start in range(0, len(members), self._engine.batch_limit):
                part = members[start : start + self._engine.batch_limit]
                outputs.update(zip(part, self._decode([batch[i] for i in part]), strict=True))
        return [outputs[index] for index in range(len(batch))]

    def cost(self, item: DecoderInput) -> int:
        """The pixels of the bucket."""
        _, rows, columns = item.embedding.tensors[0].shape
        return int(rows * columns * STRIDE**2)

    def warm(self) -> None:
        """Compile every bucket."""
        shapes = [(-(-height // STRIDE), -(-width // STRIDE)) for height, width in self._buckets]
        self._engine.warm([{"embedding": (1, CHANNELS, *low), "prompts": (1, MAPS, *low)} for low in shapes])

    def _decode(self, items: Sequence[DecoderInput]) -> list[DecoderOutput]:
        """Prompts on one embedding."""
        embedding = items[0].embedding
        placement = place(embedding.size, self._buckets)
        spoken = [_in_network_pixels(item.prompt, placement) for item in items]
        maps = np.stack([_maps(item, *said) for item, said in zip(items, spoken, strict=True)])
        found = self._engine.run({"embedding": embedding.tensors[0][None], "prompts": maps})
        frame = cropped(maps.shape[2:], cells(placement.valid), embedding.size)
        outputs = []
        for item, (points, box), masks, iou in zip(items, spoken, found["masks"], found["iou"], strict=True):
            best = range(len(iou)) if item.multimask else [int(np.argmax(iou))]
            corrections = corrected(masks[best], item.prompt.mask, points, item.prompt.labels)
            pieces = clicked_pieces(corrections, points, item.prompt.labels, box)
            found_masks = candidates(pieces, iou[best], frame, item.lowest_iou, item.stability_offset)
            outputs.append(DecoderOutput(found_masks))
        return outputs


def _in_network_pixels(prompt: Prompt, placement: Placement) -> tuple[Float32Array, Box | None]:
    """The prompt's points Px2 and its box; the image's sides are scaled apart, because each is rounded to whole
    cells."""
    down, across = placement.scale
    points = (prompt.points * np.array([across, down])).astype(np.float32)
    if prompt.box is None:
        return points, None
    x0, y0, x1, y1 = prompt.box
    return points, (x0 * across, y0 * down, x1 * across, y1 * down)


def _maps(item: DecoderInput, points: Float32Array, box: Box | None) -> Float32Array:
    """The prompt as the network reads it."""
    _, rows, columns = item.embedding.tensors[0].shape
    return render_prompts(points, item.prompt.labels, box, item.prompt.mask, rows, columns, 1.0)


def _check(item: DecoderInput) -> None:
    prompt = item.prompt
    if prompt.text is not None:
        raise InvalidOption.of("text", prompt.text, None, "this model takes points, boxes and masks, no text")
    wanted = item.embedding.tensors[0].shape[1:]
    if prompt.mask is not None and prompt.mask.shape != wanted:
        shown, limit = ("x".join(map(str, shape)) for shape in (prompt.mask.shape, wanted))
        raise InvalidOption.of("mask", shown, limit, "no logits of an earlier answer of this model on this image")
