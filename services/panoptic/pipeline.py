"""A panoptic answer: id map and segments -> disjoint segments with masks, or COCO's id picture."""

from __future__ import annotations

import base64
from typing import Any, ClassVar

import cv2
import numpy as np
import orjson

from shared.calls import Answer, DenseCall
from shared.imaging.compose import encode_picture, overlay_regions
from shared.imaging.label_runs import LabelRuns
from shared.imaging.png import panoptic_png
from shared.serving.answers import Finding, base64_text, json_answer, listed, npz_answer, picture_answer, text_answer
from shared.serving.dense import DensePipeline
from shared.serving.effects import EFFECTS
from shared.types import DenseTask, IdArray, PanopticOutput, PanopticSegment, Region, UInt8Array

HEADER_LIMIT = 4096
"""Bytes of base64 that the `X-Segments` header may have."""


class PanopticPipeline(DensePipeline[PanopticOutput]):
    """Every pixel belongs to one thing, one stuff region or void."""

    task: ClassVar[DenseTask] = "panoptic"

    def encode(
        self, output: PanopticOutput, pixels: UInt8Array, call: DenseCall, wanted: frozenset[int] | None
    ) -> Answer:
        """See `DensePipeline.encode`. Raises `InvalidOption` for a format that this task does not have."""
        ids, segments = kept_segments(output, call.options.score_threshold, wanted)
        form = call.options.format
        if form == "npz":
            numbers = np.array([[each.id, each.label_id, each.isthing] for each in segments], dtype=np.int32)
            return npz_answer(ids=ids.astype(np.int32, copy=False), segments=numbers.reshape(-1, 3))
        drawn = form == "overlay" or form in EFFECTS
        findings = [self._finding(segment, region) for segment, region in regions(ids, segments, drawn)]
        if form == "label_map":
            return picture_answer(panoptic_png(ids), segments_header([finding.fields for finding in findings]))
        if form == "overlay":
            picture = overlay_regions(
                pixels,
                [(each.region, each.fields["label"] if each.fields["isthing"] else "") for each in findings],
            )
            return picture_answer(encode_picture(picture, "png"))
        if form in EFFECTS:
            objects = [each for each in findings if wanted is not None or each.fields["isthing"]]
            return self.effect(call, pixels, [(each.fields["label"], each.region) for each in objects])
        size = (int(ids.shape[0]), int(ids.shape[1]))
        common = self.common(call, size)
        if form == "coco":
            return json_answer(coco_panoptic(ids, findings))
        if form == "png":
            listing = listed(findings, form, 0.0)
            return json_answer({**common, "segments": listing, "png": base64_text(panoptic_png(ids))})
        answer = text_answer(common, "segments", findings, form, call.options.simplify, call.image)
        return answer or self.unsupported(form)

    def _finding(self, segment: PanopticSegment, region: Region) -> Finding:
        fields = {
            "id": segment.id,
            "label": self.space.labels[segment.label_id].name,
            "label_id": segment.label_id,
            "isthing": segment.isthing,
            "score": round(segment.score, 4),
            "area": region.area,
            "box": list(region.box),
        }
        return Finding(fields, region, self.space.category_id(segment.label_id), segment.score)


def kept_segments(
    output: PanopticOutput, threshold: float | None, wanted: frozenset[int] | None
) -> tuple[IdArray, tuple[PanopticSegment, ...]]:
    """The id map with void (0) in place of segments below `threshold` or of classes not `wanted`, and the rest."""
    kept = tuple(
        each
        for each in output.segments
        if (wanted is None or each.label_id in wanted) and (threshold is None or each.score >= threshold)
    )
    if len(kept) == len(output.segments):
        return output.ids, kept
    table = np.zeros(max((each.id for each in output.segments), default=0) + 1, dtype=np.int32)
    for each in kept:
        table[each.id] = each.id
    if output.ids.dtype == np.uint8:
        few = np.zeros(256, dtype=np.uint8)
        few[: len(table)] = table
        return np.asarray(cv2.LUT(output.ids, few), dtype=np.uint8), kept
    return table[output.ids], kept


def regions(ids: IdArray, segments: tuple[PanopticSegment, ...], drawn: bool) -> list[tuple[PanopticSegment, Region]]:
    """Each segment with its mask, as pixels where these are `drawn`, else as runs; one without a pixel is left out."""
    found = LabelRuns.of(ids).regions()
    pairs = [(segment, found[segment.id]) for segment in segments if segment.id in found]
    return [(segment, _pixels(ids, segment.id, region)) for segment, region in pairs] if drawn else pairs


def _pixels(ids: IdArray, number: int, region: Region) -> Region:
    x0, y0, x1, y1 = region.box
    return Region(region.size, x0, y0, np.asarray(ids[y0:y1, x0:x1] == number))


def coco_panoptic(ids: IdArray, findings: list[Finding]) -> dict[str, Any]:
    """COCO's panoptic annotation of one image, its PNG as base64 in `png`."""
    info = []
    for finding in findings:
        x0, y0, x1, y1 = finding.region.box
        info.append(
            {
                "id": finding.fields["id"],
                "category_id": finding.category_id,
                "area": finding.region.area,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
                "isthing": int(finding.fields["isthing"]),
                "score": finding.score,
            }
        )
    return {"image_id": 0, "file_name": "0.png", "segments_info": info, "png": base64_text(panoptic_png(ids))}


def segments_header(segments: list[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    """`X-Segments` as base64 JSON, or `X-Segments-Omitted` where it would be longer than `HEADER_LIMIT`."""
    packed = base64.b64encode(orjson.dumps(segments)).decode("ascii")
    if len(packed) > HEADER_LIMIT:
        return (("X-Segments-Omitted", "true"),)
    return (("X-Segments", packed),)
