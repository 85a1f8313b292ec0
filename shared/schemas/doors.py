"""What the doors for clients of other servers take and give, in the words of each one's protocol.

Where such clients send more than we have a use for, it is passed over; an option that would change the answer is not.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from shared.schemas.wire import Fraction, Reply, Request


class Guest(Request):
    """Fields of a foreign client, which may send others too."""

    model_config = ConfigDict(extra="ignore")


class DoorError(Reply):
    """The body of every error at most doors."""

    error: str


Half = Annotated[float, Field(ge=0.5, le=0.5)]


class HuggingFaceParameters(Request):
    """Parameters of Hugging Face's pipeline `image-segmentation`."""

    subtask: Literal["semantic", "instance", "panoptic"] | None = Field(
        default=None, description="Default: the first of panoptic, instance and semantic that the model serves."
    )
    threshold: Fraction | None = Field(
        default=None, description="Lowest score kept; default: the model's own. Without effect on semantic."
    )
    mask_threshold: Half | None = Field(default=None, description="Masks are cut at .5; no other value is taken.")
    overlap_mask_area_threshold: Half | None = Field(
        default=None, description=".5, the pipeline's default, leaves it to the model; no other value is taken."
    )


class HuggingFaceInput(Guest):
    """Body of the door `image-segmentation`, or the image itself."""

    inputs: str = Field(description="The image: base64, or a `data:` URI.")
    parameters: HuggingFaceParameters | None = None


class HuggingFaceSegment(Reply):
    """One class or object. `mask`: base64 of a grey PNG of the image's size, 255 inside and 0 outside."""

    label: str
    score: Fraction | None
    mask: str


class MaskGenerationParameters(Request):
    """Parameters of Hugging Face's pipeline `mask-generation`; what is not sent is the model's own."""

    points_per_batch: int | None = None
    points_per_crop: int | None = None
    pred_iou_thresh: float | None = None
    stability_score_thresh: float | None = None
    stability_score_offset: float | None = None
    crops_n_layers: int | None = None
    crops_nms_thresh: float | None = None
    crop_overlap_ratio: float | None = None
    crop_n_points_downscale_factor: int | None = None
    output_rle_mask: bool = True
    output_bboxes_mask: bool = True


class MaskGenerationInput(Guest):
    """Body of the door `mask-generation`, or the image itself."""

    inputs: str = Field(description="The image: base64, or a `data:` URI.")
    parameters: MaskGenerationParameters | None = None


class MaskGenerationAnswer(Reply):
    """Every mask of an image, best first. `masks`: base64 of grey PNGs; `rle_mask`: COCO's, `counts` as a list;
    `bounding_boxes`: `[x0, y0, x1, y1]`."""

    masks: list[str]
    scores: list[float]
    rle_mask: list[dict[str, Any]] | None = None
    bounding_boxes: list[list[float]] | None = None


Corner = Annotated[list[float], Field(min_length=2, max_length=2)]
Corners = Annotated[list[Corner], Field(max_length=2**16, fail_fast=True)]


class InteractorFields(Guest):
    """What CVAT sends to an interactor. Coordinates are pixels; `obj_bbox`: two corners."""

    image: str = Field(description="The image: base64, or a `data:` URI.")
    pos_points: Corners = Field(default_factory=list)
    neg_points: Corners = Field(default_factory=list)
    obj_bbox: Annotated[list[Corner], Field(min_length=2, max_length=2)] | None = None


class InteractorAnswer(Reply):
    """`mask`: a list for each row, 1 inside and 0 outside."""

    mask: list[list[int]]
