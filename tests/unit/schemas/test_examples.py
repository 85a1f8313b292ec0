"""The examples of the documentation are valid answers, and answers are held to every field of the interface."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from shared.schemas import answers, examples, resources

PAIRS: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (answers.SemanticAnswer, examples.SEMANTIC),
    (answers.InstanceAnswer, examples.INSTANCE),
    (answers.PanopticAnswer, examples.PANOPTIC),
    (answers.PromptableAnswer, examples.PROMPTABLE),
    (answers.EverythingAnswer, examples.EVERYTHING),
    (resources.StoredImage, examples.STORED),
    (resources.UploadedImage, examples.UPLOADED),
    (resources.UploadedImages, examples.UPLOADED_SEVERAL),
    (resources.ModelEntry, examples.MODEL),
    (resources.ModelsAnswer, examples.MODELS),
    (resources.LabelSpacesAnswer, examples.LABEL_SPACES),
    (resources.LabelSpaceAnswer, examples.LABEL_SPACE),
    (resources.JobAnswer, examples.JOB),
    (resources.JobsAnswer, examples.JOBS),
    (resources.HealthAnswer, examples.HEALTH),
    (resources.ReadinessAnswer, examples.READINESS),
]
"""Every answer that has an example."""

INTERFACE = {
    answers.SemanticSegment: {"label", "label_id", "score", "area", "rle"},
    answers.InstanceItem: {"label", "label_id", "score", "box", "detection_box", "area", "rle"},
    answers.PanopticItem: {"id", "label", "label_id", "isthing", "score", "area", "box", "rle"},
    answers.PromptableMask: {"predicted_iou", "stability_score", "score", "area", "box", "rle", "logits"},
    answers.Common: {
        "model", "model_version", "weights_sha256", "engine", "label_space", "width", "height", "request_id",
    },
    answers.EverythingMask: {"predicted_iou", "stability_score", "area", "box", "point", "rle"},
    answers.EverythingAnswer: {"task", "image_id", "masks"},
    answers.PromptableAnswer: {"task", "image_id", "embedding", "results"},
    resources.UploadedImage: {"image_id", "width", "height", "expires_at", "embeddings"},
    resources.JobAnswer: {
        "id", "task", "state", "created_at", "started_at", "finished_at", "expires_at", "links", "error",
    },
    resources.ErrorAnswer: {"code", "message", "details", "request_id"},
    resources.ErrorDetail: {"field", "value", "limit", "reason"},
}  # fmt: skip
"""The fields that answers have in the written interface: they may gain some, never lose one."""


@pytest.mark.parametrize(("model", "example"), PAIRS, ids=lambda value: getattr(value, "__name__", ""))
def test_an_example_is_a_valid_answer(model: type[BaseModel], example: dict[str, Any]) -> None:
    assert model.model_validate(example).model_dump(mode="json", exclude_unset=True) == example


@pytest.mark.parametrize(("model", "example"), PAIRS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_field_too_many_or_too_few_is_noticed(model: type[BaseModel], example: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model.model_validate({**example, "surplus": 1})
    for name in example:
        with pytest.raises(ValidationError):
            model.model_validate({key: value for key, value in example.items() if key != name})


@pytest.mark.parametrize("model", INTERFACE, ids=lambda model: model.__name__)
def test_no_field_of_the_interface_is_lost(model: type[BaseModel]) -> None:
    assert set(model.model_fields) >= INTERFACE[model]
