"""What OpenAPI says of each route: every way to send an image, every option, every answer and error with an example.

Routes read their requests themselves, so FastAPI cannot see what they take; it is told here, from the wire types.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.gateway.jobs.documentation import IDEMPOTENCY_KEY, PREFER, job_instead
from services.gateway.openapi import BINARY, DESCRIBED, EXAMPLES, IMAGE_ID, REF, TASK_ERRORS, Kwargs, refusals, taken
from shared.schemas import answers as tasks
from shared.schemas import examples, resources
from shared.schemas.masks import CocoPanoptic, CocoResult, FeatureCollection
from shared.schemas.options import EffectFields, PromptableOptions, TaskOptions, UploadOptions
from shared.schemas.wire import Request

UPLOAD_ERRORS = (400, 401, 404, 408, 413, 415, 422, 429, 503, 504)
IMAGE_ERRORS = (401, 404, 422, 503)

_ARRAYS: dict[type[BaseModel], str] = {
    tasks.SemanticAnswer: "`labels` HxW, 255 (uint16: 65535) is void; `confidence` HxW float16",
    tasks.InstanceAnswer: "`masks` NxHxW bool, `boxes` Nx4, `scores` N, `label_ids` N",
    tasks.PanopticAnswer: "`ids` HxW int32, 0 is void; `segments` Nx3: id, label_id, isthing",
    tasks.PromptableAnswer: "`masks` NxHxW bool, `boxes` Nx4, `prompts` N (the index of each one's prompt), "
    "`predicted_iou` N, `stability_scores` N, `scores` N (of phrases, else NaN), with `return_logits` `logits` Nxhxw",
}
"""What numpy's archive holds, of the tasks that have it."""
PICTURES = "`overlay`: masks over the image; `cutout`, `blur`, `replace`, `recolor`: pictures of the subject."
_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, where the server asks for one."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_FASTAPI_ERROR = "HTTPValidationError"


def documented(options: type[TaskOptions], answer: type[BaseModel], png: str = "", events: bool = False) -> Kwargs:
    """Arguments of a task's route. `png` describes what `Accept: image/png` gets, where the task has it; `events`:
    whether it answers as server-sent events too."""
    content: dict[str, Any] = {"application/json": {"example": EXAMPLES[answer]}}
    pictures = " ".join(filter(None, (png, PICTURES)))
    content["image/png"] = {"schema": BINARY, "description": pictures}
    content["application/geo+json"] = {"schema": {"$ref": REF.format(model=FeatureCollection.__name__)}}
    content["application/zip"] = {"schema": BINARY, "description": "`format=cutout` of several objects: a PNG each."}
    if answer in _ARRAYS:
        content["application/octet-stream"] = {"schema": BINARY, "description": f"`format=npz`: {_ARRAYS[answer]}."}
    if events:
        content["text/event-stream"] = {"schema": {"type": "string"}, "example": examples.EVENTS}
    coco: Any = CocoPanoptic if answer is tasks.PanopticAnswer else list[CocoResult]
    text = f"Masks in the format asked for; `format=coco` is COCO's own JSON. PNG: {pictures}"
    ok = {"model": answer | coco, "description": text, "content": content}
    prompts = {"prompts": examples.PROMPTS} if issubclass(options, PromptableOptions) else {}
    example = {"image_id": examples.STORED["image_id"], **prompts}
    return _sent(options, ok, TASK_ERRORS, example, raw=not issubclass(options, PromptableOptions))


def uploads(options: type[UploadOptions], one: type[BaseModel], several: type[BaseModel]) -> Kwargs:
    """Arguments of the route that stores images."""
    shown = {"one": {"value": EXAMPLES[one]}, "several": {"value": EXAMPLES[several]}}
    ok = {
        "model": one | several,
        "description": "The stored image, or an entry for each of several.",
        "content": {
            "application/json": {"examples": shown},
            "text/event-stream": {"schema": {"type": "string"}, "example": examples.UPLOAD_EVENTS},
        },
    }
    example = {"image": "<base64>", "embed": ["street"]}
    return _sent(options, ok, UPLOAD_ERRORS, example, raw=True)


def text(content_type: str) -> Kwargs:
    """Arguments of a route that answers in text, to callers with a key."""
    kind = content_type.partition(";")[0]
    ok = {"description": "OK", "content": {kind: {"schema": {"type": "string"}}}}
    return {"responses": {200: ok, **refusals((401,))}}


def readiness() -> Kwargs:
    """Arguments of `/readyz`, whose 503 is no error but the same answer."""
    model = resources.ReadinessAnswer
    content = {"application/json": {"example": EXAMPLES[model]}}
    texts = {200: "Every required application can answer.", 503: "At least one cannot."}
    found = {status: {"model": model, "description": text, "content": content} for status, text in texts.items()}
    return {"responses": found}


def complete(app: FastAPI) -> None:
    """Let the application's OpenAPI document hold what FastAPI cannot see: request types and API keys.

    It also loses the validation errors that FastAPI foresees for each path parameter: ours have another shape.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        components = document["components"]
        if "securitySchemes" in components:  # FastAPI keeps the document: it is complete already
            return document
        referred: list[type[BaseModel]] = [*DESCRIBED, FeatureCollection]
        _, schemas = models_json_schema([(model, "validation") for model in referred], ref_template=REF)
        components["schemas"].update(schemas.get("$defs", {}))
        components["securitySchemes"] = _KEYS
        document["security"] = [{}, *({name: []} for name in _KEYS)]
        for path in document["paths"].values():
            for operation in path.values():
                if _FASTAPI_ERROR in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
        for name in (_FASTAPI_ERROR, "ValidationError"):
            components["schemas"].pop(name, None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _sent(options: type[Request], ok: dict[str, Any], errors: Iterable[int], example: Any, raw: bool) -> Kwargs:
    """Arguments of a route that takes an image with these options."""
    DESCRIBED.add(options)
    schema = options.model_json_schema(ref_template=REF)
    fields = schema["properties"]
    required = schema.get("required", [])
    stored = {} if issubclass(options, UploadOptions) else {"image_id": IMAGE_ID}
    second = {"background_image": BINARY} if issubclass(options, EffectFields) else {}
    extra = taken(fields, required, stored, second, example, raw)
    if issubclass(options, TaskOptions):
        extra["parameters"] += [PREFER, IDEMPOTENCY_KEY]
        answered = {202: job_instead()}
    else:
        answered = {}
    return {"responses": {200: ok, **answered, **refusals(errors)}, "openapi_extra": extra}
