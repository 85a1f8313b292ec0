"""A semantic answer: label map and confidence -> one segment a class present, or the label map as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from shared.calls import Answer, DenseCall, DenseOptions, Format
from shared.errors import InvalidOption
from shared.imaging.compose import encode_picture, overlay_labels
from shared.imaging.label_runs import LabelRuns
from shared.imaging.png import label_png
from shared.imaging.summary import summarise, summarise_output
from shared.labels import LabelSpace
from shared.serving.answers import Finding, base64_text, json_answer, npz_answer, picture_answer, text_answer
from shared.serving.dense import DensePipeline
from shared.serving.effects import EFFECTS, Named
from shared.types import VOID_8, VOID_16, DenseTask, LabelArray, Region, SemanticOutput, UInt8Array

PICTURES: frozenset[Format] = frozenset(("label_map", "overlay", *EFFECTS))
"""Formats without scores."""


class SemanticPipeline(DensePipeline[SemanticOutput]):
    """Every pixel gets a class, or void where the model's confidence is below `min_confidence`."""

    task: ClassVar[DenseTask] = "semantic"

    def shows_labels_alone(self, options: DenseOptions) -> bool:
        """Whether it is a picture, of labels that no `min_confidence` takes away."""
        return options.format in PICTURES and not options.min_confidence

    def encode(
        self, output: SemanticOutput, pixels: UInt8Array, call: DenseCall, wanted: frozenset[int] | None
    ) -> Answer:
        """See `DensePipeline.encode`. Raises `InvalidOption` for a format that this task does not have."""
        labels = kept_labels(output, call.options.min_confidence, wanted)
        form = call.options.format
        if form == "label_map":
            return picture_answer(label_png(labels, self.space.palette()))
        if form == "npz":
            return npz_answer(labels=labels, confidence=output.confidence)
        if form == "overlay":
            return picture_answer(
                encode_picture(overlay_labels(pixels, labels, self.space.palette(), names=self.space.names), "png")
            )
        if form in EFFECTS:
            return self.effect(call, pixels, self._objects(labels, wanted))
        size = (int(labels.shape[0]), int(labels.shape[1]))
        common = self.common(call, size)
        runs = None if form == "png" else LabelRuns.of(labels)
        segments = present(labels, output, self.space, bool(call.options.min_confidence), runs)
        if runs is None:
            picture = base64_text(label_png(labels, self.space.palette()))
            return json_answer({**common, "segments": segments, "png": picture})
        findings = self._findings(runs.regions(), segments)
        answer = text_answer(common, "segments", findings, form, call.options.simplify, call.image)
        return answer or self.unsupported(form)

    def _objects(self, labels: LabelArray, wanted: frozenset[int] | None) -> Iterator[Named]:
        """The classes that an effect is about: those asked for, else things. Raises `InvalidOption` where the label
        space has none."""
        chosen = {label.id for label in self.space.labels if label.isthing} if wanted is None else wanted
        if not chosen:
            raise InvalidOption.of("classes", None, "labels of the space", "name the classes that the effect is about")
        for index in sorted(chosen):
            region = Region.from_mask(labels == index)
            if not region.empty:
                yield self.space.labels[index].name, region

    def _findings(self, regions: dict[int, Region], segments: list[dict[str, Any]]) -> list[Finding]:
        return [
            Finding(each, regions[each["label_id"]], self.space.category_id(each["label_id"]), each["score"])
            for each in segments
        ]


def void_of(labels: LabelArray) -> int:
    """The void value of a label map: 255, or 65535 where labels are 16-bit."""
    return VOID_8 if labels.dtype == np.uint8 else VOID_16


def kept_labels(output: SemanticOutput, min_confidence: float | None, wanted: frozenset[int] | None) -> LabelArray:
    """Labels with void where the confidence is below `min_confidence` or the class is not `wanted`."""
    labels = output.labels
    void = void_of(labels)
    if min_confidence:
        labels = np.where(output.confidence < np.float16(min_confidence), labels.dtype.type(void), labels)
    if wanted is not None:
        table = np.full(void + 1, void, dtype=labels.dtype)
        chosen = list(wanted)
        table[chosen] = chosen
        labels = table[labels]
    return labels


def present(
    labels: LabelArray, output: SemanticOutput, space: LabelSpace, whole: bool, runs: LabelRuns | None
) -> list[dict[str, Any]]:
    """Every class present: label, id, mean confidence over its pixels (all of them where `whole`), area; void is
    absent. `runs` are those of `labels`, if known."""
    void = void_of(labels)
    found = summarise(labels, output.confidence) if whole else summarise_output(output, labels, runs)
    return [
        {"label": space.labels[index].name, "label_id": index, "score": round(each.mean, 4), "area": each.area}
        for index, each in found.items()
        if index != void
    ]
