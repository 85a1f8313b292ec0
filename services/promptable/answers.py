"""Candidate masks -> the body of a promptable answer, in every format.

Text formats are encoded prompt by prompt, as the masks come, so that 256 masks of a large image are never held at once.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.calls import Answer, PromptOptions
from shared.errors import InvalidOption
from shared.imaging.compose import encode_picture, overlay_regions
from shared.imaging.georeference import Georeference
from shared.imaging.png import mask_png
from shared.serving.answers import (
    MAX_MASK_PIXELS,
    Finding,
    base64_text,
    coco_results,
    feature_collection,
    features,
    geometry,
    json_answer,
    npz_answer,
    picture_answer,
    stacked,
)
from shared.serving.effects import EFFECTS, Decode, effect_answer
from shared.types import DecoderInput, DecoderOutput, Float16Array, PromptMask, UInt8Array

Encoded = list[dict[str, Any]]
"""One prompt's candidates as an answer carries them."""
TEXT_FORMATS = ("rle", "polygon", "png", "coco", "geojson")
WHOLE_FORMATS = ("overlay", "npz", *EFFECTS)
"""Formats for which all masks must be there at once."""
CANDIDATES = 3
"""Masks of a prompt with `multimask`."""


def check_format(options: PromptOptions, items: Sequence[DecoderInput]) -> None:
    """Raises `InvalidOption` for a format that this task does not have, or has not for so many masks."""
    if options.format not in (*TEXT_FORMATS, *WHOLE_FORMATS):
        raise InvalidOption.of("format", options.format, "", f"promptable answers do not come as {options.format}")
    if options.format in WHOLE_FORMATS:
        masks = sum(CANDIDATES if item.multimask and options.format == "npz" else 1 for item in items)
        check_masks(masks, items[0].embedding.size, options)


def check_masks(masks: int, size: tuple[int, int], options: PromptOptions) -> None:
    """Raises `InvalidOption` for more masks of an image of `size` (H, W) than may be there at once."""
    pixels = masks * math.prod(size)
    if pixels > MAX_MASK_PIXELS:
        reason = f"too many masks of this size for {options.format}: ask for rle"
        raise InvalidOption.of("prompts", f"{pixels} pixels of masks", MAX_MASK_PIXELS, reason)


def part_of(output: DecoderOutput, options: PromptOptions) -> DecoderOutput:
    """What of a prompt's candidates, of which a phrase may have hundreds, one of `WHOLE_FORMATS` is made of: all of
    them for npz, the best one for a picture."""
    return output if options.format == "npz" else DecoderOutput(output.masks[:1])


def encode_candidates(
    output: DecoderOutput, index: int, options: PromptOptions, place: Georeference | None = None
) -> Encoded:
    """The candidates of prompt number `index` in a text format, best first; `place`: of the image on the map."""
    if options.format == "coco":
        results = coco_results(Finding({}, mask.region, 1, _score(mask)) for mask in output.masks)
        pairs = zip(results, output.masks, strict=True)
        return [{**result, "prompt": index, **_asked(mask, options)} for result, mask in pairs]
    if options.format == "geojson":
        findings = [
            Finding({"prompt": index, **fields_of(mask), **_asked(mask, options)}, mask.region) for mask in output.masks
        ]
        return features(findings, options.simplify, place)
    return [_candidate(mask, options) for mask in output.masks]


def text_answer(
    common: Mapping[str, Any], encoded: Sequence[Encoded], options: PromptOptions, place: Georeference | None = None
) -> Answer:
    """The body from all prompts' candidates, in order."""
    if options.format == "coco":
        return json_answer([result for results in encoded for result in results])
    if options.format == "geojson":
        return feature_collection([feature for results in encoded for feature in results], place)
    return json_answer({**common, "results": [{"masks": masks} for masks in encoded]})


def whole_answer(
    outputs: Sequence[DecoderOutput],
    size: tuple[int, int],
    options: PromptOptions,
    pixels: UInt8Array | None,
    decode: Decode,
) -> Answer:
    """An overlay or an effect of these masks on `pixels` of `size` (H, W), or without them numpy's archive of them.
    `outputs` as `part_of` gives them; `decode` reads a background. Raises `InvalidOption` for too many masks."""
    if pixels is None:
        return npz_answer(**arrays(outputs, size, options.return_logits))
    shown = [mask for output in outputs for mask in output.masks]
    if options.format in EFFECTS:
        objects = [(f"{_score(mask):.2f}", mask.region) for mask in shown]
        return effect_answer(options.format, options.effect, pixels, objects, decode)
    drawn = overlay_regions(pixels, [(mask.region, f"{_score(mask):.2f}") for mask in shown])
    return picture_answer(encode_picture(drawn, "png"))


def fields_of(mask: PromptMask) -> dict[str, Any]:
    """Everything of a candidate but its geometry and logits; `score` is null but for text prompts."""
    return {
        "predicted_iou": round(mask.predicted_iou, 4),
        "stability_score": round(mask.stability_score, 4),
        "score": None if mask.score is None else round(mask.score, 4),
        "area": mask.region.area,
        "box": list(mask.region.box),
    }


def logits_field(logits: Float16Array) -> dict[str, Any]:
    """Logits as they travel: to be sent back as a prompt's `mask`."""
    data = base64.b64encode(np.ascontiguousarray(logits, dtype="<f2").tobytes()).decode("ascii")
    return {"shape": list(logits.shape), "dtype": "float16", "data": data}


def arrays(outputs: Sequence[DecoderOutput], size: tuple[int, int], with_logits: bool) -> dict[str, NDArray[Any]]:
    """`masks` NxHxW bool, `boxes` Nx4, `prompts` N (the index of each one's prompt), `predicted_iou` N,
    `stability_scores` N, `scores` N (of phrases, else NaN) and, if asked for, `logits` Nxhxw float16. N is 0 where
    phrases name nothing. Raises as `stacked`."""
    pairs = [(index, mask) for index, output in enumerate(outputs) for mask in output.masks]
    found = {
        **stacked(size, [mask.region for _, mask in pairs]),
        "prompts": np.array([index for index, _ in pairs], dtype=np.int32),
        "predicted_iou": np.array([mask.predicted_iou for _, mask in pairs], dtype=np.float32),
        "stability_scores": np.array([mask.stability_score for _, mask in pairs], dtype=np.float32),
        "scores": np.array([mask.score for _, mask in pairs], dtype=np.float32),
    }
    if with_logits:
        logits = [mask.logits for _, mask in pairs]
        found["logits"] = np.stack(logits) if logits else np.zeros((0, 0, 0), dtype=np.float16)
    return found


def _candidate(mask: PromptMask, options: PromptOptions) -> dict[str, Any]:
    fields = {**fields_of(mask), **geometry(mask.region, options.format, options.simplify)}
    if options.format == "png":
        fields["png"] = base64_text(mask_png(mask.region.full()))
    return {**fields, **_asked(mask, options)}


def _asked(mask: PromptMask, options: PromptOptions) -> dict[str, Any]:
    """The mask's logits, where they are asked for."""
    return {"logits": logits_field(mask.logits)} if options.return_logits else {}


def _score(mask: PromptMask) -> float:
    return mask.predicted_iou if mask.score is None else mask.score
