"""What models take and give: frozen numpy dataclasses, no torch, no HTTP, no Ray.

Pixels are HxWx3 uint8 RGB, upright. Coordinates are float pixels of that image, origin at the top-left corner of the
top-left pixel, x in [0, W], y in [0, H]. Boxes are half-open xyxy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

DenseTask = Literal["semantic", "instance", "panoptic"]
Task = Literal["semantic", "instance", "panoptic", "promptable"]
Role = Literal["semantic", "instance", "panoptic", "encoder", "decoder"]
"""What one loaded model does in a replica; promptable is two roles."""
JobTask = Literal["semantic", "instance", "panoptic", "promptable", "everything"]
"""What a job may be: a task, or everything mode."""
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
"""The last three are for good."""
Tier = Literal["memory", "redis", "computed"]
"""Where an embedding came from."""
EngineName = Literal["openvino", "onnxruntime", "compile", "tensorrt", "torch"]
"""What runs a network: OpenVINO, ONNX Runtime, torch compiled by inductor, TensorRT, torch as it is."""
Precision = Literal["f32", "bf16", "f16", "int8"]
"""What the arithmetic of a forward pass is done in."""

VOID_8 = 255
VOID_16 = 65535

UInt8Array = NDArray[np.uint8]
LabelArray = NDArray[np.uint8] | NDArray[np.uint16]
BoolArray = NDArray[np.bool_]
Float16Array = NDArray[np.float16]
Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
IdArray = NDArray[np.int32] | NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Runs:
    """A mask as its vertical runs: `starts` and `ends` (half-open) count pixels column by column of a crop of `shape`
    (h, w), ascending; a run ends with its column."""

    shape: tuple[int, int]
    starts: Int64Array
    ends: Int64Array

    def bits(self) -> BoolArray:
        """The same, hxw bool."""
        height, width = self.shape
        turns = np.empty(2 * self.starts.size + 2, np.int64)
        turns[0], turns[-1] = 0, height * width
        turns[1:-1:2], turns[2:-1:2] = self.starts, self.ends
        columns = np.repeat(np.arange(turns.size - 1) % 2 == 1, np.diff(turns)).reshape(width, height)
        return np.ascontiguousarray(columns.T)


@dataclass(frozen=True, slots=True)
class Region:
    """A binary mask kept as the crop inside its tight box.

    `size` is (H, W) of the whole image; `x0`, `y0` the crop's corner; `held` the crop, hxw bool, or its runs: not every
    answer needs the pixels of a large image. An empty mask has a crop of 0x0.
    """

    size: tuple[int, int]
    x0: int
    y0: int
    held: BoolArray | Runs

    @property
    def bits(self) -> BoolArray:
        """The crop, hxw bool; made of runs once."""
        held = self.held
        if isinstance(held, Runs):
            held = held.bits()
            object.__setattr__(self, "held", held)
        return held

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the crop."""
        height, width = self.held.shape
        return height, width

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Tight box, xyxy, half-open, in pixels."""
        height, width = self.shape
        return self.x0, self.y0, self.x0 + width, self.y0 + height

    @property
    def empty(self) -> bool:
        """Whether no pixel is set."""
        return 0 in self.shape

    @property
    def area(self) -> int:
        """Number of set pixels."""
        if isinstance(self.held, Runs):
            return int((self.held.ends - self.held.starts).sum())
        return int(np.count_nonzero(self.held))

    def full(self) -> BoolArray:
        """The mask at full size, HxW bool."""
        mask = np.zeros(self.size, dtype=np.bool_)
        x0, y0, x1, y1 = self.box
        mask[y0:y1, x0:x1] = self.bits
        return mask

    @classmethod
    def from_mask(cls, mask: BoolArray, x0: int = 0, y0: int = 0, size: tuple[int, int] | None = None) -> Region:
        """Tighten an hxw bool mask lying at (x0, y0) of an image of `size` (default: the mask is the whole image)."""
        whole = size or _size(mask)
        rows = np.flatnonzero(mask.any(axis=1))
        if rows.size == 0:
            return cls(whole, 0, 0, np.zeros((0, 0), dtype=np.bool_))
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        columns = np.flatnonzero(mask[top:bottom].any(axis=0))
        left, right = int(columns[0]), int(columns[-1]) + 1
        return cls(whole, x0 + left, y0 + top, np.ascontiguousarray(mask[top:bottom, left:right]))


@dataclass(frozen=True, slots=True)
class Photo:
    """An upright image of `size` (H, W), and its pixels [h,w,3] uint8 RGB: all of them, or fewer that stand for it."""

    pixels: UInt8Array
    size: tuple[int, int]


def _size(pixels: NDArray[Any]) -> tuple[int, int]:
    return int(pixels.shape[0]), int(pixels.shape[1])


Sight = Callable[[tuple[int, int]], tuple[int, int]]
"""From an image's size (H, W) to the size at which a network sees it."""


@dataclass(frozen=True, slots=True)
class DenseInput:
    """One image for a semantic, instance or panoptic model."""

    pixels: UInt8Array
    score_threshold: float | None = None
    """Lowest score kept, 0 to 1; None takes the card's own threshold (instance, panoptic)."""
    max_instances: int | None = None
    tta: bool = False
    """Average over the card's scales and flips (semantic only)."""
    crf: bool = False
    """Refine the borders by the card's dense CRF (semantic only)."""
    labels_alone: bool = False
    """Nobody will ask for the confidence of a semantic output: it may be left for later."""
    whole: tuple[int, int] | None = None
    """(H, W) of the image where `pixels` are fewer (`Photo`); answers are on the image."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image."""
        return self.whole or _size(self.pixels)


@dataclass(frozen=True, slots=True)
class SemanticOutput:
    """`labels` HxW, uint8 (void 255) or uint16 (void 65535). `certainty` is the confidence, or what finds it: not every
    answer needs it. `sampled` finds the same of evenly spaced pixels of a large image: enough for means."""

    labels: LabelArray
    certainty: Float16Array | Callable[[], Float16Array]
    sampled: Callable[[], SemanticOutput] | None = None

    @property
    def confidence(self) -> Float16Array:
        """HxW float16, calibrated, 0 to 1. Not from two threads at once."""
        known = self.certainty
        if callable(known):
            known = known()
            object.__setattr__(self, "certainty", known)
        return known


@dataclass(frozen=True, slots=True)
class Instance:
    """One object: its label, score 0 to 1, mask, and the detector's own box (xyxy pixels) where it has one."""

    label_id: int
    score: float
    region: Region
    detection_box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class InstanceOutput:
    """Objects, best score first; `size` is (H, W) of the image."""

    size: tuple[int, int]
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class PanopticSegment:
    """One entry of a panoptic answer; `id` > 0 is its value in the id map."""

    id: int
    label_id: int
    isthing: bool
    score: float


@dataclass(frozen=True, slots=True)
class PanopticOutput:
    """`ids` HxW int32, or uint8 where these are enough, 0 = void; `segments` describe exactly the ids that occur."""

    ids: IdArray
    segments: tuple[PanopticSegment, ...]


@dataclass(frozen=True, slots=True)
class Embedding:
    """What an encoder keeps of one image: float16 tensors without batch dimension, and (H, W) of the upright image."""

    size: tuple[int, int]
    tensors: tuple[Float16Array, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the caller points at, in pixels of the upright image.

    `points` Px2 float32 xy; `labels` P int32 (1 in, 0 out); `box` xyxy; `mask` the low-resolution logits of an earlier
    answer, hxw float32, in the model's own frame; `text` a phrase, for models that take one.
    """

    points: Float32Array = field(default_factory=lambda: np.zeros((0, 2), dtype=np.float32))
    labels: Int32Array = field(default_factory=lambda: np.zeros((0,), dtype=np.int32))
    box: tuple[float, float, float, float] | None = None
    mask: Float32Array | None = None
    text: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes as bytes: numpy's own way costs a click three times as much as the rest of its call."""
        return _prompt, (self.points.tobytes(), self.labels.tobytes(), self.box, self.mask, self.text)


def _prompt(points: bytes, labels: bytes, *rest: Any) -> Prompt:
    places = np.frombuffer(points, dtype=np.float32).reshape(-1, 2).copy()
    return Prompt(places, np.frombuffer(labels, dtype=np.int32).copy(), *rest)


@dataclass(frozen=True, slots=True)
class EncoderInput:
    """One image to embed: its pixels [h,w,3] uint8 RGB, and its own (H, W) where they are fewer (`Photo`)."""

    pixels: UInt8Array
    whole: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image."""
        return self.whole or _size(self.pixels)


@dataclass(frozen=True, slots=True)
class DecoderInput:
    """One prompt on one embedding; `multimask` asks for three candidates."""

    embedding: Embedding
    prompt: Prompt
    multimask: bool = False
    lowest_iou: float | None = None
    """Candidates whose predicted IoU is not above this are left out, before any mask of them is made."""
    stability_offset: float = 1.0
    """The stability score compares the masks at logits above this and above its negative."""


@dataclass(frozen=True, slots=True)
class PromptMask:
    """One candidate: `logits` hxw float16 at the decoder's own resolution, to be sent back as a mask prompt."""

    region: Region
    predicted_iou: float
    stability_score: float
    logits: Float16Array
    score: float | None = None


@dataclass(frozen=True, slots=True)
class DecoderOutput:
    """Candidates of one prompt, best predicted IoU first."""

    masks: tuple[PromptMask, ...]
