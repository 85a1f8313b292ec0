"""Options of the task routes, one type a task: what may be sent as query, form or JSON field beside the image.

`Settings` limits that depend on the server (pixels, prompts, bytes) are checked by the gateway, not here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shared.schemas.prompts import PromptFields
from shared.schemas.wire import Color, Fraction, ImageId, Request
from shared.types import JobState

Effects = Literal["cutout", "blur", "replace", "recolor"]
DenseFormat = Literal["rle", "coco", "polygon", "geojson", "png", "npz", "overlay", Effects]
PromptFormat = DenseFormat
EverythingFormat = Literal["rle", "coco", "polygon", "geojson", "overlay", Effects]
MAX_CLICKS = 2**15
"""Most clicks of one run of everything mode, all crops together."""
GridPoint = Annotated[list[Fraction], Field(min_length=2, max_length=2)]
Grid = Annotated[list[GridPoint], Field(fail_fast=True, max_length=MAX_CLICKS)]
"""`[[x, y], ...]` as parts of the image's or crop's width and height."""
ModelName = Annotated[str, Field(min_length=1, max_length=100)]
Simplify = Annotated[float, Field(ge=0.0, le=100.0)]
Classes = Annotated[list[str], Field(min_length=1, max_length=1000)]

MODEL = "`name` or `name@version`; none takes the task's default model. See `/v1/models`."
FORMAT = "How masks come back. `Accept: image/png` asks for the bare label map instead, where the task has one."
SIMPLIFY = "Tolerance of polygons in pixels; 0 keeps every corner."
CLASSES = "Labels to keep, by name; all others become void. As text: separated by commas, or a JSON list."
STORE = "false keeps nothing of this image anywhere."


class TaskOptions(Request):
    """Options that every task has."""

    model: ModelName | None = Field(default=None, description=MODEL)
    simplify: Simplify = Field(default=0.0, description=SIMPLIFY)
    store: bool = Field(default=True, description=STORE)


class EffectFields(Request):
    """How `cutout`, `blur`, `replace` and `recolor` look: pictures of the subject, which is every mask of the answer
    together (of semantic and panoptic: things, or `classes`; of promptable: the best mask of each prompt; of everything
    mode: all that it finds)."""

    background: Color | None = Field(default=None, description="`replace`: the colour behind the subject, `#rrggbb`.")
    background_id: ImageId | None = Field(
        default=None,
        description="`replace`: a stored image behind the subject. Or send one as the part (or base64) "
        "`background_image`.",
    )
    color: Color | None = Field(default=None, description="`recolor`: the subject's new colour, `#rrggbb`.")
    tint: Fraction | None = Field(default=None, description="`recolor`: how much of it; default .7.")
    blur_strength: float | None = Field(
        default=None, gt=0, le=0.2, description="`blur`: standard deviation, of the image's shorter side; default .025."
    )
    matting: bool = Field(
        default=True, description="Refine the border by colour, for hair; false leaves the mask's own, feathered."
    )


class DenseOptionFields(TaskOptions, EffectFields):
    """Options that semantic, instance and panoptic share."""

    format: DenseFormat | None = Field(default=None, description=FORMAT + " Default: `rle`.")
    classes: Classes | None = Field(default=None, description=CLASSES)


class SemanticOptions(DenseOptionFields):
    """Options of `POST /v1/semantic`."""

    min_confidence: Fraction | None = Field(default=None, description="Pixels below this confidence become void.")
    tta: bool = Field(default=False, description="Average over the model's scales and flips: slower, a little better.")
    crf: bool = Field(
        default=False,
        description="Borders follow the image's edges, by the model's dense CRF; takes up to some seconds.",
    )


class InstanceOptions(DenseOptionFields):
    """Options of `POST /v1/instance`."""

    score_threshold: Fraction | None = Field(default=None, description="Lowest score kept; default: the model's own.")
    max_instances: int | None = Field(default=None, ge=1, le=1000, description="At most so many, best score first.")


class PanopticOptions(DenseOptionFields):
    """Options of `POST /v1/panoptic`."""

    score_threshold: Fraction | None = Field(default=None, description="Lowest score kept; default: the model's own.")


class PromptableOptions(TaskOptions, EffectFields):
    """Options of `POST /v1/promptable`, the prompts among them."""

    prompts: list[PromptFields] = Field(
        min_length=1, fail_fast=True, description="One result comes back for each prompt, in this order."
    )
    format: PromptFormat | None = Field(default=None, description=FORMAT + " Default: `rle`.")
    multimask: bool | None = Field(
        default=None, description="Three candidates a prompt; default: for a single click only."
    )
    return_logits: bool = Field(
        default=False, description="Also return each mask's low-resolution logits, to be sent back as a mask prompt."
    )


class EverythingFields(TaskOptions, EffectFields):
    """Options of `POST /v1/promptable/everything`, named as in Segment Anything's automatic mask generator."""

    points_per_side: int = Field(default=32, ge=1, le=180, description="Clicks a side of the grid on the image.")
    points_per_batch: int = Field(default=64, ge=1, le=1024, description="Clicks between two reports of progress.")
    pred_iou_thresh: Fraction | None = Field(
        default=None,
        description="Masks must be above this predicted IoU; default: the model's (SAM .88, SAM 2 .8).",
    )
    stability_score_thresh: Fraction | None = Field(
        default=None, description="Masks must reach this stability; default: the model's own (.95)."
    )
    stability_score_offset: float = Field(
        default=1.0, gt=0, le=16, description="How far the threshold is moved to measure stability, in logits."
    )
    box_nms_thresh: Fraction = Field(
        default=0.7, description="Of two masks of one crop whose boxes overlap more (IoU), the better stays."
    )
    crop_n_layers: int = Field(
        default=0, ge=0, le=3, description="Layers of crops searched besides the image: 4, 16, 64 crops."
    )
    crop_nms_thresh: Fraction = Field(default=0.7, description="As `box_nms_thresh`, between crops.")
    crop_overlap_ratio: float = Field(
        default=512 / 1500, ge=0, lt=1, description="Overlap of the first layer's crops, of the image's short side."
    )
    crop_n_points_downscale_factor: int = Field(
        default=1, ge=1, le=16, description="How many times fewer clicks a side each further layer has."
    )
    point_grids: list[Grid] | None = Field(
        default=None, min_length=1, max_length=4, description="Clicks of each layer, 0 to 1, in place of the grids."
    )
    min_mask_region_area: int = Field(
        default=0, ge=0, le=10**8, description="Holes and islands of fewer pixels are filled and removed."
    )
    format: EverythingFormat | None = Field(
        default=None, description="How masks come back. Default: `rle`. Pictures are not streamed."
    )


class UploadOptions(Request):
    """Options of `POST /v1/images`."""

    embed: Classes | None = Field(
        default=None, description="Promptable models whose embedding of the image is computed ahead."
    )


class JobPageFields(Request):
    """Query of `GET /v1/jobs`."""

    limit: int = Field(default=20, ge=1, le=100, description="Most jobs on the page.")
    cursor: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="`next_cursor` of the page before."
    )
    state: JobState | None = Field(default=None, description="Only jobs in this state.")


class JobWaitFields(Request):
    """Query of `GET /v1/jobs/{job_id}`."""

    wait: float = Field(
        default=0.0, ge=0, le=60, description="Answer once the job is finished, or after so many seconds."
    )
