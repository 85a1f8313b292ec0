"""Pieces that OpenAPI's words on a route are made of: fields, bodies, answers and errors, each with an example."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from shared.errors import SegServeError
from shared.schemas import answers as tasks
from shared.schemas import examples, resources
from shared.schemas.wire import Request

Kwargs = dict[str, Any]
"""Arguments of a route: what it answers, and what else OpenAPI is told."""

TASK_ERRORS = (400, 401, 404, 406, 408, 409, 413, 415, 422, 429, 503, 504)

EXAMPLES: dict[type[BaseModel], Any] = {
    tasks.SemanticAnswer: examples.SEMANTIC,
    tasks.InstanceAnswer: examples.INSTANCE,
    tasks.PanopticAnswer: examples.PANOPTIC,
    tasks.PromptableAnswer: examples.PROMPTABLE,
    tasks.EverythingAnswer: examples.EVERYTHING,
    resources.StoredImage: examples.STORED,
    resources.UploadedImage: examples.UPLOADED,
    resources.UploadedImages: examples.UPLOADED_SEVERAL,
    resources.ModelEntry: examples.MODEL,
    resources.ModelsAnswer: examples.MODELS,
    resources.LabelSpacesAnswer: examples.LABEL_SPACES,
    resources.LabelSpaceAnswer: examples.LABEL_SPACE,
    resources.JobAnswer: examples.JOB,
    resources.JobsAnswer: examples.JOBS,
    resources.HealthAnswer: examples.HEALTH,
    resources.ReadinessAnswer: examples.READINESS,
}
REF = "#/components/schemas/{model}"
BINARY = {"type": "string", "format": "binary"}
IMAGE_ID = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$", "description": "A stored image instead of one sent."}
IMAGE_URL = {
    "type": "string",
    "format": "uri",
    "description": "Where to fetch the image, where the server has this switched on: from public addresses only.",
}
BASE64 = {"type": "string", "contentEncoding": "base64", "description": "The image: base64, or a `data:` URI."}
DESCRIBED: set[type[Request]] = set()
"""Options whose types the document holds because a route takes them."""


def answers(model: type[BaseModel] | None, errors: Iterable[int]) -> Kwargs:
    """Arguments of a route that takes nothing but its path; `model` None: an answer without a body."""
    found = refusals(errors)
    if model is not None:
        content = {"application/json": {"example": EXAMPLES[model]}}
        found[200] = {"model": model, "description": "OK", "content": content}
    return {"responses": found}


def taken(fields: Kwargs, required: list[str], stored: Kwargs, second: Kwargs, example: Any, raw: bool) -> Kwargs:
    """A request's body and query: these fields with an image, or with a stored one, and with a second image."""
    encoded = {name: {**BASE64, "description": "The second image of `format=replace`."} for name in second}
    elsewhere = {**stored, "image_url": IMAGE_URL}
    content: dict[str, Any] = {
        "multipart/form-data": {"schema": _object({"image": BINARY, **second, **elsewhere, **fields}, required)},
        "application/json": {
            "schema": _object({"image": BASE64, **encoded, **elsewhere, **fields}, required),
            "example": example,
        },
    }
    if raw:
        content |= {kind: {"schema": BINARY} for kind in ("image/*", "application/octet-stream")}
    parameters = _parameters({name: field for name, field in {**fields, **elsewhere}.items() if name != "prompts"})
    return {"requestBody": {"required": True, "content": content}, "parameters": parameters}


def query(options: type[Request]) -> list[dict[str, Any]]:
    """What a route without a body takes."""
    return _parameters(options.model_json_schema(ref_template=REF)["properties"])


def _parameters(fields: Kwargs) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "required": False, "schema": field, "description": field.get("description", "")}
        for name, field in fields.items()
    ]


def _object(fields: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


def refusals(statuses: Iterable[int]) -> dict[int | str, dict[str, Any]]:
    """For each status, its description and an example of each error that has it."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        kinds = [kind for kind in SegServeError.__subclasses__() if kind.status == status]
        shown = {kind.code: {"summary": kind.default_message, "value": _error_example(kind)} for kind in kinds}
        text = " ".join(kind.default_message for kind in kinds)
        content = {"application/json": {"examples": shown}}
        found[status] = {"model": resources.ErrorAnswer, "description": text, "content": content}
    return found


def _error_example(kind: type[SegServeError]) -> dict[str, Any]:
    return {
        "code": kind.code,
        "message": kind.default_message,
        "details": [],
        "request_id": examples.SEMANTIC["request_id"],
    }
