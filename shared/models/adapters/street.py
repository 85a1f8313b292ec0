"""The bundled `street` network for all four tasks: images to labels, instances, segments, embeddings; prompts to masks.

Nothing here imports torch: with the engine openvino and the exported graphs it is not needed (`street_engines.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from shared.catalog.card import Card
from shared.catalog.loading import LoadOptions
from shared.models.adapters.street_engines import DENSE_OUTPUTS, open_engines
from shared.models.adapters.street_frame import LOGIT_STRIDE, STRIDE, Bucket, cells, dense_buckets, letterboxed, place
from shared.models.adapters.street_prompt import StreetDecoder, StreetEncoder
from shared.models.engines.engine import Engine
from shared.models.fingerprint import encoder_fingerprint
from shared.models.geometry import Placement, shown
from shared.models.postprocess.centre_grouping import group_instances
from shared.models.postprocess.label_upsampling import labels_at
from shared.models.postprocess.street_segments import onto_image, panoptic
from shared.protocols import LoadedModels, Model
from shared.types import (
    DenseInput,
    DenseTask,
    Float32Array,
    Instance,
    InstanceOutput,
    PanopticOutput,
    Photo,
    Role,
    SemanticOutput,
    UInt8Array,
)

THINGS = (8, 9, 10)
"""Labels that have instances, in the order of the centre channels: car, pedestrian, bicyclist."""
Out = TypeVar("Out")


def load(card: Card, options: LoadOptions) -> LoadedModels:
    """The roles asked for; dense ones share an engine. Raises `WeightsError` or `EngineError`."""
    engines = open_engines(card, options)
    roles: dict[Role, Model[Any, Any]] = {}
    network: StreetNetwork | None = None
    for role in options.roles:
        if role == "encoder":
            roles[role] = StreetEncoder(engines.encoder(), card.preprocess)
        elif role == "decoder":
            roles[role] = StreetDecoder(engines.decoder(), card.preprocess)
        else:
            network = network or StreetNetwork(engines.dense(_needed(options.roles)), card)
            roles[role] = DENSE[role](network, card)
    fingerprint = encoder_fingerprint(engines.encoder_digest, card.preprocess, options.precision, engines.name)
    return LoadedModels(roles, engines.sha256, engines.name, fingerprint, engines.parameters)


def _needed(roles: Sequence[Role]) -> tuple[str, ...]:
    return DENSE_OUTPUTS if {"instance", "panoptic"} & set(roles) else DENSE_OUTPUTS[:1]


@dataclass(frozen=True, slots=True)
class Heads:
    """What the network says of one image's valid part. At 1/2: logits [11,h,w]. At 1/4: centre scores [3,h,w] 0 to 1
    and offsets (dy, dx) [2,h,w] in pixels of the input, both without channels where only labels are asked for."""

    placement: Placement
    logits: Float32Array
    centres: Float32Array
    offsets: Float32Array

    def averaged(self, mirror: Heads) -> Heads:
        """The mean with the outputs for the mirror image, put the right way round; dx changes its sign."""
        half = np.float32(0.5)
        turn = np.array([0.5, -0.5], dtype=np.float32)[: len(self.offsets), None, None]
        return Heads(
            self.placement,
            half * self.logits + half * mirror.logits[..., ::-1],
            half * self.centres + half * mirror.centres[..., ::-1],
            half * self.offsets + turn * mirror.offsets[..., ::-1],
        )


class StreetNetwork:
    """Images through the dense graph."""

    def __init__(self, engine: Engine, card: Card) -> None:
        self.engine = engine
        self.buckets = dense_buckets(card)
        self._padding = card.preprocess.mean

    def look(self, images: Sequence[Photo]) -> list[Heads]:
        """Outputs of each image; images of one bucket share a run as far as the engine's limit goes."""
        placements = [place(image.size, self.buckets) for image in images]
        groups: dict[Bucket, list[int]] = defaultdict(list)
        for index, placement in enumerate(placements):
            groups[placement.canvas].append(index)
        found: dict[int, Heads] = {}
        for members in groups.values():
            for start in range(0, len(members), self.engine.batch_limit):
                part = members[start : start + self.engine.batch_limit]
                outputs = self.engine.run(self.arranged([images[i] for i in part]))
                found.update({i: _heads(placements[i], outputs, row) for row, i in enumerate(part)})
        return [found[index] for index in range(len(images))]

    def arranged(self, images: Sequence[Photo]) -> dict[str, UInt8Array]:
        """What the engine is given of images that have one bucket."""
        placements = [place(image.size, self.buckets) for image in images]
        pairs = zip(images, placements, strict=True)
        return {"image": np.stack([letterboxed(image.pixels, placement, self._padding) for image, placement in pairs])}

    def warm(self) -> None:
        """Compile every bucket."""
        self.engine.warm([{"image": (1, *bucket, 3)} for bucket in self.buckets])


def _heads(placement: Placement, outputs: dict[str, Any], row: int) -> Heads:
    def part(name: str) -> Float32Array:
        rows, columns = cells(placement.valid, LOGIT_STRIDE if name == "logits" else STRIDE)
        if name not in outputs:
            return np.zeros((0, rows, columns), dtype=np.float32)
        return np.ascontiguousarray(outputs[name][row, :, :rows, :columns])

    return Heads(placement, *map(part, DENSE_OUTPUTS))


class StreetDense(ABC, Generic[Out]):
    """One dense task. `Model.predict` and its neighbours are the same for all."""

    def __init__(self, network: StreetNetwork, card: Card) -> None:
        self._network = network
        self._thresholds = card.thresholds

    def predict(self, batch: Sequence[DenseInput]) -> list[Out]:
        """See `Model.predict`."""
        heads = self._network.look([Photo(item.pixels, item.size) for item in batch])
        augmented = [index for index, item in enumerate(batch) if item.tta]
        mirrored = self._network.look([Photo(batch[i].pixels[:, ::-1], batch[i].size) for i in augmented])
        for index, other in zip(augmented, mirrored, strict=True):
            heads[index] = heads[index].averaged(other)
        return [self.finish(each, item) for each, item in zip(heads, batch, strict=True)]

    @property
    def engine(self) -> Engine:
        """Of the network, which all dense tasks share."""
        return self._network.engine

    def arranged(self, batch: Sequence[DenseInput]) -> dict[str, UInt8Array]:
        """What the engine is given of images that have one bucket."""
        return self._network.arranged([Photo(item.pixels, item.size) for item in batch])

    def seen(self, size: tuple[int, int], tta: bool = False) -> tuple[int, int]:
        """See `ImageModel.seen`."""
        return place(size, self._network.buckets).valid

    def cost(self, item: DenseInput) -> int:
        """The pixels of the bucket, twice where the mirror image is looked at too."""
        placement = place(item.size, self._network.buckets)
        return placement.canvas.height * placement.canvas.width * (2 if item.tta else 1)

    def shown(self, item: DenseInput) -> tuple[int, int]:
        """See `PaddedModel.shown`."""
        return shown([place(item.size, self._network.buckets)] * (2 if item.tta else 1))

    def warm(self) -> None:
        """See `Model.warm`."""
        self._network.warm()

    @abstractmethod
    def finish(self, heads: Heads, item: DenseInput) -> Out:
        """The task's answer on the image's own pixels."""

    def instances(self, heads: Heads, semantic: SemanticOutput, item: DenseInput) -> list[Instance]:
        """Objects on the image's own pixels, best score first: grouped at the network's resolution, outlined by the
        labels of `semantic` at the image's."""
        near = _near(heads, semantic)
        most = self._thresholds.max_instances
        labels: UInt8Array = near.labels.astype(np.uint8, copy=False)
        found = group_instances(labels, near.confidence, heads.centres, heads.offsets, THINGS, max_instances=most)
        if near is not semantic:
            found = onto_image(found, semantic)
        lowest = self._thresholds.score if item.score_threshold is None else item.score_threshold
        return [each for each in found if each.score >= lowest][: item.max_instances]


class StreetSemantic(StreetDense[SemanticOutput]):
    """A class for every pixel."""

    def finish(self, heads: Heads, item: DenseInput) -> SemanticOutput:
        """See `StreetDense.finish`."""
        return labels_at(heads.logits, item.size, alone=item.labels_alone)


class StreetInstance(StreetDense[InstanceOutput]):
    """Cars, pedestrians and bicyclists."""

    def finish(self, heads: Heads, item: DenseInput) -> InstanceOutput:
        """See `StreetDense.finish`."""
        semantic = labels_at(heads.logits, item.size, alone=True)
        return InstanceOutput(item.size, tuple(self.instances(heads, semantic, item)))


class StreetPanoptic(StreetDense[PanopticOutput]):
    """Semantic classes, and instances where there are any. The card's own threshold is for instances alone."""

    def finish(self, heads: Heads, item: DenseInput) -> PanopticOutput:
        """See `StreetDense.finish`."""
        semantic = labels_at(heads.logits, item.size)
        return panoptic(semantic, self.instances(heads, semantic, item), THINGS, item.score_threshold or 0.0)


DENSE: Mapping[DenseTask, type[StreetDense[Any]]] = {
    "semantic": StreetSemantic,
    "instance": StreetInstance,
    "panoptic": StreetPanoptic,
}


def _near(heads: Heads, semantic: SemanticOutput) -> SemanticOutput:
    """Labels at the network's resolution: those of `semantic` where it has them."""
    size = (heads.placement.valid.height, heads.placement.valid.width)
    known = semantic if semantic.sampled is None else semantic.sampled()
    return known if known.labels.shape == size else labels_at(heads.logits, size)
