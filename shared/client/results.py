"""JSON answers -> typed results. Masks stay as short run lengths until asked for; unknown fields are passed over.

Boxes are `(x0, y0, x1, y1)` in pixels of the upright image, half-open; masks are HxW bool of that image.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

import numpy as np

from shared.imaging.rle import decode
from shared.types import VOID_8, VOID_16, BoolArray, Float16Array, Int32Array, LabelArray, Tier

Box = tuple[int, int, int, int]
Json = Mapping[str, Any]


class _Record:
    """A dataclass that is read from a JSON object by its field names."""

    __slots__ = ()

    @classmethod
    def read(cls, answer: Json, **replaced: Any) -> Self:
        """From an answer's object, `replaced` in place of its own fields."""
        known = {each.name for each in fields(cls)}  # type: ignore[arg-type]  # every subclass is a dataclass
        return cls(**{name: value for name, value in answer.items() if name in known} | replaced)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Masked(_Record):
    """Something with a mask: COCO's compressed run lengths, and the number of its pixels."""

    rle: Json
    area: int

    @property
    def mask(self) -> BoolArray:
        """HxW bool, decoded anew each time."""
        return decode(self.rle)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer(_Record):
    """What every task says of the model and the image; `width` and `height` in pixels, upright."""

    model: str
    model_version: str
    weights_sha256: str
    engine: str
    label_space: str
    width: int
    height: int
    request_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SemanticSegment(_Masked):
    """All pixels of one class; `score` their mean calibrated probability, 0 to 1."""

    label: str
    label_id: int
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Semantic(_Answer):
    """Every class present."""

    segments: tuple[SemanticSegment, ...]

    @classmethod
    def of(cls, answer: Json) -> Self:
        """From the answer's JSON. Raises `KeyError`, `TypeError` or `ValueError` for one that is no such answer."""
        return cls.read(answer, segments=tuple(SemanticSegment.read(each) for each in answer["segments"]))

    def label_map(self) -> LabelArray:
        """HxW label ids: uint8 with void 255, or uint16 with void 65535 where an id does not fit."""
        small = all(segment.label_id < VOID_8 for segment in self.segments)
        size = (self.height, self.width)
        labels: LabelArray = np.full(size, VOID_8, np.uint8) if small else np.full(size, VOID_16, np.uint16)
        for segment in self.segments:
            labels[segment.mask] = segment.label_id
        return labels


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceSegment(_Masked):
    """One object; `box` the tight box of its mask, `detection_box` the detector's own where it has one."""

    label: str
    label_id: int
    score: float
    box: Box
    detection_box: tuple[float, float, float, float] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Instances(_Answer):
    """Objects, best score first; their masks may overlap."""

    instances: tuple[InstanceSegment, ...]

    @classmethod
    def of(cls, answer: Json) -> Self:
        """From the answer's JSON. Raises `KeyError`, `TypeError` or `ValueError` for one that is no such answer."""
        return cls.read(answer, instances=tuple(_instance(each) for each in answer["instances"]))


@dataclass(frozen=True, kw_only=True, slots=True)
class PanopticPart(_Masked):
    """One thing or stuff region; `id` is its value in the id map."""

    id: int
    label: str
    label_id: int
    isthing: bool
    score: float
    box: Box


@dataclass(frozen=True, kw_only=True, slots=True)
class Panoptic(_Answer):
    """Disjoint things and stuff."""

    segments: tuple[PanopticPart, ...]

    @classmethod
    def of(cls, answer: Json) -> Self:
        """From the answer's JSON. Raises `KeyError`, `TypeError` or `ValueError` for one that is no such answer."""
        parts = (PanopticPart.read(each, box=tuple(each["box"])) for each in answer["segments"])
        return cls.read(answer, segments=tuple(parts))

    def ids(self) -> Int32Array:
        """HxW ids of the segments, 0 = void."""
        ids = np.zeros((self.height, self.width), np.int32)
        for segment in self.segments:
            ids[segment.mask] = segment.id
        return ids


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptedMask(_Masked):
    """One candidate of a prompt; `logits` hxw low-resolution where asked for, to be sent back as a prompt's mask."""

    predicted_iou: float
    stability_score: float
    box: Box
    score: float | None = None
    logits: Float16Array | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompted(_Answer):
    """One result a prompt, in order, each its candidates, best predicted IoU first."""

    image_id: str
    embedding: Tier
    results: tuple[tuple[PromptedMask, ...], ...]

    @classmethod
    def of(cls, answer: Json) -> Self:
        """From the answer's JSON. Raises `KeyError`, `TypeError` or `ValueError` for one that is no such answer."""
        results = tuple(tuple(_candidate(each) for each in result["masks"]) for result in answer["results"])
        return cls.read(answer, results=results)


@dataclass(frozen=True, kw_only=True, slots=True)
class EverythingMask(_Masked):
    """One mask of the automatic generator; `point` (x, y) is the grid point that found it."""

    predicted_iou: float
    stability_score: float
    box: Box
    point: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Everything(_Answer):
    """All that the automatic mask generator found."""

    image_id: str
    masks: tuple[EverythingMask, ...]

    @classmethod
    def of(cls, answer: Json) -> Self:
        """From the answer's JSON. Raises `KeyError`, `TypeError` or `ValueError` for one that is no such answer."""
        masks = (
            EverythingMask.read(each, box=tuple(each["box"]), point=tuple(each["point"])) for each in answer["masks"]
        )
        return cls.read(answer, masks=tuple(masks))


@dataclass(frozen=True, kw_only=True, slots=True)
class Uploaded(_Record):
    """A stored image, to be named in place of the picture; `embeddings`: where each model's embedding was found."""

    image_id: str
    width: int
    height: int
    expires_at: datetime
    embeddings: Mapping[str, Tier]

    @classmethod
    def of(cls, answer: Json) -> Self:
        """From the answer's JSON. Raises `KeyError`, `TypeError` or `ValueError` for one that is no such answer."""
        return cls.read(answer, expires_at=datetime.fromisoformat(answer["expires_at"]))


def _instance(each: Json) -> InstanceSegment:
    detected = each.get("detection_box")
    return InstanceSegment.read(each, box=tuple(each["box"]), detection_box=detected and tuple(detected))


def _candidate(each: Json) -> PromptedMask:
    logits = each.get("logits")
    array = logits and np.frombuffer(base64.b64decode(logits["data"]), "<f2").reshape(logits["shape"])
    return PromptedMask.read(each, box=tuple(each["box"]), logits=array)
