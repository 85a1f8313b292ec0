"""The model card: everything that is known of one model before it is loaded, as checked data.

YAML in `cards/<name>.yaml` -> `Card`. If a new model needs new Python outside its adapter, the card lacks a field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from shared.types import EngineName, Precision, Role, Task

ROLES_OF_TASK: dict[Task, tuple[Role, ...]] = {
    "semantic": ("semantic",),
    "instance": ("instance",),
    "panoptic": ("panoptic",),
    "promptable": ("encoder", "decoder"),
}


class Strict(BaseModel):
    """Unknown fields are errors: a misspelt option must not pass silently."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HubWeights(Strict):
    """Weights by name: a Hugging Face repository at a revision, or a torchvision weights enum entry."""

    source: Literal["hub"] = "hub"
    repo: str
    """`org/name` on the hub, or `torchvision:<Enum.ENTRY>`."""
    revision: str = "main"
    filename: str | None = None
    """A single file in the repository, where the library's own `from_pretrained` is not used."""


class FileWeights(Strict):
    """Weights in a local file: safetensors, or a `.pt` that loads weights-only. Relative paths: `Settings.weights_dir`,
    then the project's `shared/models/bundled`."""

    source: Literal["file"] = "file"
    path: str
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")


class RandomWeights(Strict):
    """Seeded random initialisation: for tests and for measuring speed, never for answers."""

    source: Literal["random"] = "random"
    seed: int = 0


Weights = Annotated[HubWeights | FileWeights | RandomWeights, Field(discriminator="source")]


Side = Annotated[int, Field(gt=0)]
Shape = tuple[Side, Side]
"""Height and width in pixels."""
Interpolation = Literal["bilinear", "bicubic", "area"]


class Preprocess(Strict):
    """How an image becomes the network's input; geometry in pixels of (height, width)."""

    resize: Literal["squash", "fit", "short_side", "none"]
    """squash: to `size`; fit: long side to `size`, padded; short_side: short side to `size`, long to `max_size`."""
    size: tuple[int, int] | int = 0
    max_size: int | None = None
    multiple_of: Side = 1
    align: Literal["pad", "resize"] = "pad"
    """How a side reaches `multiple_of` or a bucket: padding at the bottom right, or a small stretch."""
    padding: Literal["mean", "black"] = "mean"
    """What lies beyond the image: the mean colour (zero after normalisation) or black pixels."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    scale: float = 1 / 255
    """Factor on uint8 values before mean and std."""
    channels: Literal["rgb", "bgr"] = "rgb"
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    buckets: tuple[Shape, ...] = ()
    """Static shapes that engines compile and warm; empty: the shapes that `resize` yields."""
    dense_buckets: tuple[Shape, ...] | None = Field(default=None, min_length=1)
    """Of a network with both: what dense tasks see instead of `buckets`, in which an image is embedded for prompts."""
    window: tuple[int, int] | None = None
    """The network looks through windows of this (height, width), and what it says where they overlap is averaged."""
    window_overlap: int = Field(default=0, ge=0)
    """Least pixels that neighbouring windows share."""

    @field_validator("dense_buckets")
    @classmethod
    def _whole_cells(cls, shapes: tuple[Shape, ...] | None, info: ValidationInfo) -> tuple[Shape, ...] | None:
        step = info.data.get("multiple_of", 1)
        for height, width in shapes or ():
            if height % step or width % step:
                raise ValueError(f"{height}x{width}: sides must be multiples of {step} (multiple_of)")
        return shapes

    @model_validator(mode="after")
    def _windows_fit(self) -> Preprocess:
        if self.window is None:
            return self
        if self.resize != "short_side" or self.align != "resize" or any(side % 16 for side in self.window):
            raise ValueError("window needs resize: short_side, align: resize, and sides that are multiples of 16")
        if self.multiple_of % 16 or self.window_overlap >= min(self.window):
            raise ValueError("window needs multiple_of: 16 or a multiple of it, and window_overlap below its sides")
        return self


class Thresholds(Strict):
    """Scores, 0 to 1, below which things are dropped; the values of the paper or the official configuration."""

    score: float = 0.5
    mask: float = 0.5
    overlap: float = 0.8
    max_instances: int = 100


class DenseCrf(Strict):
    """The fully connected CRF that a semantic network's paper puts behind it, for the option `crf`; distances are
    standard deviations. The defaults lie in the ranges in which DeepLab's authors searched on 100 photos: appearance 3
    to 6 at 30 to 100 pixels and 3 to 6 grey levels."""

    smoothness: float = Field(default=3.0, ge=0, le=1e4)
    """Weight of the kernel of positions."""
    smoothness_xy: float = Field(default=3.0, ge=0.1, le=1e6)
    """Pixels of the network's input."""
    appearance: float = Field(default=4.0, ge=0, le=1e4)
    """Weight of the kernel of positions and colours."""
    appearance_xy: float = Field(default=67.0, ge=0.1, le=1e6)
    """Pixels of the network's input."""
    appearance_rgb: float = Field(default=3.0, ge=0.1, le=1e6)
    """Grey levels."""
    iterations: int = Field(default=10, ge=1, le=100)


EXTRAS: Mapping[str, str] = {
    "temperature": "what the logits of a semantic network are divided by, for calibrated confidence",
    "instance_score": "the least score of an object, where that is not `thresholds.score`",
    "everything": "pred_iou_thresh and stability_score_thresh of everything mode",
    "tokenizer": "the repository or folder of the tokenizer of phrases, where it does not lie beside the weights",
    "dense": "the bundled network's exported graph of dense tasks",
    "dense_int8": "the same, quantised",
    "decoder": "the bundled network's exported decoder of prompts",
}
"""What adapters of this project read in `Card.extras`; an adapter of a user's own reads what it likes."""


class Figure(Strict):
    """One honest number: what was measured, on what, by which command."""

    metric: str
    value: float
    on: str
    source: str


class Check(Strict):
    """An engine and precision whose answers were compared with torch's own in f32 (`segserve agree` prints this)."""

    engine: EngineName
    precision: Precision = "f32"
    agreement: float = Field(ge=0, le=100)
    """Per cent of all pixels that got the same label."""
    miou_cost: float | None = None
    """Points of mIoU lost; none where the images have no truth."""
    on: str
    source: str


class CurvePoint(Strict):
    """Where a training stood: wall minutes, steps, and mIoU in per cent on the validation split."""

    minutes: float
    steps: int
    miou: float


class Step(Strict):
    """One step of a recipe and the mIoU in per cent that was reached with it and all above it."""

    what: str
    miou: float
    pixel_accuracy: float


class Training(Strict):
    """How weights of our own came to be: the recipe's command, its learning curve, and what each step gave."""

    recipe: str
    on: str
    curve: tuple[CurvePoint, ...] = ()
    steps: tuple[Step, ...] = ()


class Card(Strict):
    """One model. `loader` is `module:function`, resolved inside the replica only."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    version: str = Field(default="1", pattern=r"^[A-Za-z0-9._-]{1,32}$")
    summary: str
    tasks: tuple[Task, ...] = Field(min_length=1)
    label_space: str = ""
    """A name in `shared/labels`; empty for class-agnostic (promptable) models."""
    loader: str = Field(pattern=r"^[a-z_.0-9]+:[a-z_0-9]+$")
    network: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the network's class or its library configuration, by keyword."""
    weights: Weights
    preprocess: Preprocess
    thresholds: Thresholds = Thresholds()
    tta_scales: tuple[float, ...] = ()
    dense_crf: DenseCrf | None = None
    """Offers the option `crf`; for adapters that give class logits (`shared.models.adapters.dense.semantic_finish`)."""
    engines: tuple[EngineName, ...] = ("torch",)
    """Engines that run this card, best first; the Serve YAML may choose another of them."""
    checks: tuple[Check, ...] = ()
    """Lower precisions are taken only where one of these says what that does to the answers."""
    parameters: int
    """Trainable parameters; checked after loading."""
    licence: str
    paper: str = ""
    data: str = ""
    """What the weights were trained on."""
    figures: tuple[Figure, ...] = ()
    training: Training | None = None
    """Only for weights that this project trains."""
    default_for: tuple[Task, ...] = ()
    text_prompts: bool = False
    extras: dict[str, Any] = Field(default_factory=dict)
    """What only this card's adapter reads."""
    tiny: dict[str, Any] = Field(default_factory=dict)
    """Overrides, merged deeply over the card, that make a small random network of the same architecture for tests."""

    @field_validator("extras")
    @classmethod
    def _known_extras(cls, extras: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        ours = str(info.data.get("loader", "")).startswith("shared.models.adapters.")
        if ours and (unknown := sorted(extras.keys() - EXTRAS.keys())):
            raise ValueError(f"{', '.join(unknown)}: nobody reads this; known are {', '.join(EXTRAS)}")
        return extras

    @model_validator(mode="after")
    def _labels_where_needed(self) -> Card:
        if set(self.tasks) - {"promptable"} and not self.label_space:
            raise ValueError("label_space is required for semantic, instance and panoptic models")
        if set(self.default_for) - set(self.tasks):
            raise ValueError("default_for names a task that the card does not list")
        if self.dense_crf is not None and "semantic" not in self.tasks:
            raise ValueError("dense_crf is for semantic models")
        return self

    def checked(self, engine: EngineName, precision: Precision) -> bool:
        """Whether the answers of this engine in this precision were compared; f32 needs no record."""
        return precision == "f32" or any((each.engine, each.precision) == (engine, precision) for each in self.checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        """All roles that its tasks need, without repeats."""
        return tuple(dict.fromkeys(role for task in self.tasks for role in ROLES_OF_TASK[task]))

    def shrunk(self) -> Card:
        """This card with its `tiny` overrides: random weights unless they say otherwise, and no parameter count."""
        data = self.model_dump(mode="python")
        data["weights"] = {"source": "random", "seed": 0}
        data["parameters"] = 0
        return Card.model_validate(_merged(data, self.tiny))


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        deep = isinstance(old, dict) and isinstance(value, dict) and key != "weights"
        merged[key] = _merged(dict(old or {}), value) if deep else value
    return merged
