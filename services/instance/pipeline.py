"""An instance answer: objects, best score first -> a list of masks with boxes and scores, or a picture of them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from shared.calls import Answer, DenseCall
from shared.imaging.compose import encode_picture, overlay_regions
from shared.imaging.png import label_png
from shared.labels import LabelSpace
from shared.serving.answers import (
    Finding,
    base64_text,
    json_answer,
    listed,
    npz_answer,
    picture_answer,
    stacked,
    text_answer,
)
from shared.serving.dense import DensePipeline
from shared.serving.effects import EFFECTS
from shared.types import VOID_16, DenseTask, Instance, InstanceOutput, UInt8Array


class InstancePipeline(DensePipeline[InstanceOutput]):
    """Objects of countable classes, each with its own mask; masks may overlap."""

    task: ClassVar[DenseTask] = "instance"

    def encode(
        self, output: InstanceOutput, pixels: UInt8Array, call: DenseCall, wanted: frozenset[int] | None
    ) -> Answer:
        """See `DensePipeline.encode`. Raises `InvalidOption` for a format that this task does not have, or has not for
        so many masks."""
        instances = kept_instances(output, call.options.max_instances, wanted)
        form = call.options.format
        if form == "overlay":
            drawn = overlay_regions(pixels, [(each.region, self._caption(each)) for each in instances])
            return picture_answer(encode_picture(drawn, "png"))
        if form == "npz":
            return npz_answer(**arrays(output.size, instances))
        if form in EFFECTS:
            return self.effect(call, pixels, [(self._caption(each), each.region) for each in instances])
        findings = [finding(each, self.space) for each in instances]
        common = self.common(call, output.size)
        if form == "png":
            picture = base64_text(label_png(numbered(output.size, instances), None))
            return json_answer({**common, "instances": listed(findings, form, 0.0), "png": picture})
        answer = text_answer(common, "instances", findings, form, call.options.simplify, call.image)
        return answer or self.unsupported(form)

    def _caption(self, instance: Instance) -> str:
        return f"{self.space.labels[instance.label_id].name} {instance.score:.2f}"


def kept_instances(output: InstanceOutput, limit: int | None, wanted: frozenset[int] | None) -> tuple[Instance, ...]:
    """The instances of the `wanted` classes, at most `limit`, best first."""
    kept = tuple(each for each in output.instances if wanted is None or each.label_id in wanted)
    return kept[:limit]


def finding(instance: Instance, space: LabelSpace) -> Finding:
    """The fields of one instance. `detection_box` is null where the model has no boxes of its own."""
    label = space.labels[instance.label_id]
    raw = instance.detection_box
    fields = {
        "label": label.name,
        "label_id": instance.label_id,
        "score": round(instance.score, 4),
        "box": list(instance.region.box),
        "detection_box": None if raw is None else [round(edge, 2) for edge in raw],
        "area": instance.region.area,
    }
    return Finding(fields, instance.region, space.category_id(instance.label_id), instance.score)


def numbered(size: tuple[int, int], instances: tuple[Instance, ...]) -> NDArray[np.uint16]:
    """HxW uint16 map of the instances' places in the list; void (65535) where there is none, the best score on top."""
    numbers = np.full(size, VOID_16, dtype=np.uint16)
    for index in range(len(instances) - 1, -1, -1):
        region = instances[index].region
        x0, y0, x1, y1 = region.box
        numbers[y0:y1, x0:x1][region.bits] = index
    return numbers


def arrays(size: tuple[int, int], instances: tuple[Instance, ...]) -> dict[str, NDArray[Any]]:
    """`masks` NxHxW bool, `boxes` Nx4, `scores` N, `label_ids` N, for numpy's archive. Raises as `stacked`."""
    return {
        **stacked(size, [each.region for each in instances]),
        "scores": np.array([each.score for each in instances], dtype=np.float32),
        "label_ids": np.array([each.label_id for each in instances], dtype=np.int32),
    }
