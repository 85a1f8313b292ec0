"""What the gateway asks of a service and what it gets back: plain frozen dataclasses that travel between processes.

Images travel as the encoded bytes that the caller sent (ten times smaller than pixels); answers as the encoded body.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from shared.types import DenseTask, Prompt, Task, Tier

Format = Literal[
    "rle", "coco", "polygon", "png", "overlay", "label_map", "geojson", "npz", "cutout", "blur", "replace", "recolor"
]
"""`label_map` is the bare PNG of `Accept: image/png`; the others are values of the option `format`."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, under which request id, and until when (Unix seconds)."""

    tenant: str
    request_id: str
    deadline: float


@dataclass(frozen=True, slots=True)
class Effect:
    """How the formats cutout, blur, replace and recolor look, already checked. Colours are RGB, 0 to 255."""

    background: tuple[int, int, int] | None = None
    background_image: bytes | None = None
    """What `replace` puts behind the subject: a colour, or an encoded image."""
    background_field: str = "background_image"
    """How the caller gave that image: what is wrong with it is told of this field."""
    color: tuple[int, int, int] | None = None
    tint: float | None = None
    blur_strength: float | None = None
    matting: bool = True
    """Whether the border is refined by colour, for hair; else it is the mask's own, feathered."""
    packing: Literal["auto", "one", "zip"] = "auto"
    """Of cut-outs. auto: a picture for one object, an archive for several."""


@dataclass(frozen=True, slots=True)
class DenseOptions:
    """Options of a dense call, already checked; None means the card's default."""

    format: Format = "rle"
    score_threshold: float | None = None
    min_confidence: float | None = None
    classes: tuple[str, ...] | None = None
    max_instances: int | None = None
    simplify: float = 0.0
    """Polygon tolerance in pixels; 0 keeps every corner."""
    tta: bool = False
    crf: bool = False
    effect: Effect = field(default_factory=Effect)


@dataclass(frozen=True, slots=True)
class DenseCall:
    """One image to segment."""

    task: DenseTask
    image: bytes
    caller: Caller
    options: DenseOptions = field(default_factory=DenseOptions)


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """Options of a promptable call, already checked."""

    format: Format = "rle"
    multimask: bool | None = None
    """None: three masks for a single click, one otherwise."""
    return_logits: bool = False
    simplify: float = 0.0
    store: bool = True
    """False keeps nothing of this image anywhere."""
    effect: Effect = field(default_factory=Effect)


@dataclass(frozen=True, slots=True)
class PromptCall:
    """Prompts on one image. `image` is None when the caller sent only an `image_id` ("sha256:<hex>")."""

    image_id: str
    prompts: tuple[Prompt, ...]
    caller: Caller
    image: bytes | None = None
    options: PromptOptions = field(default_factory=PromptOptions)
    stored: bool | None = None
    """What the image store said of the id on the way here: True, it has the image; False, it is out of reach; None, it
    was not asked. Asked once a request: a store that hangs costs one timeout."""


@dataclass(frozen=True, slots=True)
class EverythingOptions:
    """Parameters of the automatic mask generator, already checked, named as in Segment Anything; None: the card's."""

    points_per_side: int = 32
    points_per_batch: int = 64
    pred_iou_thresh: float | None = None
    stability_score_thresh: float | None = None
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: tuple[tuple[tuple[float, float], ...], ...] | None = None
    """Clicks (x, y) from 0 to 1 of each layer of crops, in place of regular grids."""
    min_mask_region_area: int = 0
    """Holes and islands of fewer pixels are filled and removed; 0 leaves them."""
    format: Format = "rle"
    simplify: float = 0.0
    store: bool = True
    effect: Effect = field(default_factory=Effect)


@dataclass(frozen=True, slots=True)
class EverythingCall:
    """All masks of one image. `image` is None when the caller sent only an `image_id`."""

    image_id: str
    caller: Caller
    image: bytes | None = None
    options: EverythingOptions = field(default_factory=EverythingOptions)
    live: bool = False
    """Whether progress and provisional masks are wanted before the result."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One server-sent event before the answer: its name, and its data as JSON."""

    name: Literal["progress", "mask", "dropped"]
    data: bytes


@dataclass(frozen=True, slots=True)
class EmbedCall:
    """Compute and keep the embedding of an image ahead of its prompts."""

    image_id: str
    image: bytes
    caller: Caller


@dataclass(frozen=True, slots=True)
class EmbedAnswer:
    """Where the embedding was found, and the size of the upright image."""

    tier: Tier
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Answer:
    """An encoded response: body, media type, extra headers, and seconds spent per stage (for Server-Timing)."""

    body: bytes
    media_type: str
    headers: tuple[tuple[str, str], ...] = ()
    timings: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A served model as `/v1/models` shows it. `tasks` are those this application serves."""

    name: str
    version: str
    tasks: tuple[Task, ...]
    label_space: str
    weights_sha256: str
    engine: str
    parameters: int
    licence: str
    summary: str
    default_for: tuple[Task, ...] = ()
    """Tasks for which this model answers when a request names none."""
    encoder_fingerprint: str = ""
    paper: str = ""
    figures: tuple[tuple[str, float], ...] = ()
    text_prompts: bool = False
    tta: bool = False
    """Whether the option `tta` is offered."""
    crf: bool = False
    """Whether the option `crf` is offered."""
    precision: str = "f32"
    """Arithmetic of the forward pass."""
