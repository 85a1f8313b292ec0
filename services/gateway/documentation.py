"""What OpenAPI says of each route: every way to send an image, every option, every answer and error with an example.

Routes read their requests themselves, so FastAPI cannot see what they take; it is told here, from the wire types.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from shared.errors import SegServeError
from shared.schemas import answers as tasks
from shared.schemas import examples, resources
from shared.schemas.masks import CocoPanoptic, CocoResult, FeatureCollection
from shared.schemas.options import (
    EffectFields,
    JobPageFields,
    JobWaitFields,
    PromptableOptions,
    TaskOptions,
    UploadOptions,
)
from shared.schemas.wire import Request

Kwargs = dict[str, Any]

TASK_ERRORS = (400, 401, 404, 406, 408, 409, 413, 415, 422, 429, 503, 504)
UPLOAD_ERRORS = (400, 401, 404, 408, 413, 415, 422, 429, 503, 504)
IMAGE_ERRORS = (401, 404, 422, 503)
JOB_ERRORS = (401, 404, 503)

_EXAMPLES: dict[type[BaseModel], Any] = {
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
_ARRAYS: dict[type[BaseModel], str] = {
    tasks.SemanticAnswer: "`labels` HxW, 255 (uint16: 65535) is void; `confidence` HxW float16",
    tasks.InstanceAnswer: "`masks` NxHxW bool, `boxes` Nx4, `scores` N, `label_ids` N",
    tasks.PanopticAnswer: "`ids` HxW int32, 0 is void; `segments` Nx3: id, label_id, isthing",
    tasks.PromptableAnswer: "`masks` NxHxW bool, `boxes` Nx4, `prompts` N (the index of each one's prompt), "
    "`predicted_iou` N, `stability_scores` N, `scores` N (of phrases, else NaN), with `return_logits` `logits` Nxhxw",
}
"""What numpy's archive holds, of the tasks that have it."""
PICTURES = "`overlay`: masks over the image; `cutout`, `blur`, `replace`, `recolor`: pictures of the subject."
_REF = "#/components/schemas/{model}"
_BINARY = {"type": "string", "format": "binary"}
_IMAGE_ID = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$", "description": "A stored image instead of one sent."}
_IMAGE_URL = {
    "type": "string",
    "format": "uri",
    "description": "Where to fetch the image, where the server has this switched on: from public addresses only.",
}
_BASE64 = {"type": "string", "contentEncoding": "base64", "description": "The image: base64, or a `data:` URI."}
_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, where the server asks for one."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "`respond-async`: a job at once, as of `POST /v1/jobs`, instead of the answer.",
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Of a job: the same key with the same request is the same job, for as long as there is one.",
}
_FASTAPI_ERROR = "HTTPValidationError"
_documented: set[type[Request]] = set()


def documented(options: type[TaskOptions], answer: type[BaseModel], png: str = "", events: bool = False) -> Kwargs:
    """Arguments of a task's route. `png` describes what `Accept: image/png` gets, where the task has it; `events`:
    whether it answers as server-sent events too."""
    content: dict[str, Any] = {"application/json": {"example": _EXAMPLES[answer]}}
    pictures = " ".join(filter(None, (png, PICTURES)))
    content["image/png"] = {"schema": _BINARY, "description": pictures}
    content["application/geo+json"] = {"schema": {"$ref": _REF.format(model=FeatureCollection.__name__)}}
    content["application/zip"] = {"schema": _BINARY, "description": "`format=cutout` of several objects: a PNG each."}
    if answer in _ARRAYS:
        content["application/octet-stream"] = {"schema": _BINARY, "description": f"`format=npz`: {_ARRAYS[answer]}."}
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
    shown = {"one": {"value": _EXAMPLES[one]}, "several": {"value": _EXAMPLES[several]}}
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


def answers(model: type[BaseModel] | None, errors: Iterable[int]) -> Kwargs:
    """Arguments of a route that takes nothing but its path; `model` None: an answer without a body."""
    found = _errors(errors)
    if model is not None:
        content = {"application/json": {"example": _EXAMPLES[model]}}
        found[200] = {"model": model, "description": "OK", "content": content}
    return {"responses": found}


def submissions(kinds: Mapping[str, type[TaskOptions]]) -> Kwargs:
    """Arguments of the route that takes a request for any of these tasks as a job."""
    fields: dict[str, Any] = {"task": {"type": "string", "enum": list(kinds), "description": "What is to be done."}}
    for options in kinds.values():
        _documented.add(options)
        fields = {**options.model_json_schema(ref_template=_REF)["properties"], **fields}
    ok = {
        "model": resources.JobAnswer,
        "description": "The job, which waits; with a known `Idempotency-Key` the one that it came with.",
        "content": {"application/json": {"example": _EXAMPLES[resources.JobAnswer]}},
        "headers": {"Location": {"schema": {"type": "string"}, "description": "Where the job is asked about."}},
    }
    example = {"task": "panoptic", "image_id": examples.STORED["image_id"], "format": "coco"}
    extra = _taken(fields, ["task"], {"image_id": _IMAGE_ID}, {"background_image": _BINARY}, example, raw=True)
    extra["parameters"].append(_IDEMPOTENCY_KEY)
    return {"responses": {202: ok, **_errors(TASK_ERRORS)}, "openapi_extra": extra}


def job_list() -> Kwargs:
    """Arguments of the route that lists jobs."""
    return {**answers(resources.JobsAnswer, (401, 422, 503)), "openapi_extra": {"parameters": _query(JobPageFields)}}


def job_record() -> Kwargs:
    """Arguments of the route that tells of a job, once or as events."""
    found = answers(resources.JobAnswer, (*JOB_ERRORS, 422, 429))
    found["responses"][200]["content"]["text/event-stream"] = {
        "schema": {"type": "string"},
        "example": examples.JOB_EVENTS,
    }
    return {**found, "openapi_extra": {"parameters": _query(JobWaitFields)}}


def job_result() -> Kwargs:
    """Arguments of the route that gives a job's result."""
    kinds = ("application/json", "image/png", "application/geo+json", "application/zip", "application/octet-stream")
    content: dict[str, Any] = {kind: {"schema": {} if kind == kinds[0] else _BINARY} for kind in kinds}
    content[kinds[0]]["example"] = examples.PANOPTIC
    ok = {"description": "What the task's own path answers.", "content": content}
    return {"responses": {200: ok, **_errors((*JOB_ERRORS, *TASK_ERRORS, 500))}}


def job_deletion() -> Kwargs:
    """Arguments of the route that cancels a job or forgets it."""
    found = answers(resources.JobAnswer, JOB_ERRORS)
    found["responses"][200]["description"] = "The job, cancelled."
    found["responses"][204] = {"description": "It was finished, and is forgotten."}
    return found


def text(content_type: str) -> Kwargs:
    """Arguments of a route that answers in text, to callers with a key."""
    kind = content_type.partition(";")[0]
    ok = {"description": "OK", "content": {kind: {"schema": {"type": "string"}}}}
    return {"responses": {200: ok, **_errors((401,))}}


def readiness() -> Kwargs:
    """Arguments of `/readyz`, whose 503 is no error but the same answer."""
    model = resources.ReadinessAnswer
    content = {"application/json": {"example": _EXAMPLES[model]}}
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
        referred: list[type[BaseModel]] = [*_documented, FeatureCollection]
        _, schemas = models_json_schema([(model, "validation") for model in referred], ref_template=_REF)
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
    _documented.add(options)
    schema = options.model_json_schema(ref_template=_REF)
    fields = schema["properties"]
    required = schema.get("required", [])
    stored = {} if issubclass(options, UploadOptions) else {"image_id": _IMAGE_ID}
    second = {"background_image": _BINARY} if issubclass(options, EffectFields) else {}
    extra = _taken(fields, required, stored, second, example, raw)
    if issubclass(options, TaskOptions):
        extra["parameters"] += [_PREFER, _IDEMPOTENCY_KEY]
        answered = {202: _job_instead()}
    else:
        answered = {}
    return {"responses": {200: ok, **answered, **_errors(errors)}, "openapi_extra": extra}


def _taken(fields: Kwargs, required: list[str], stored: Kwargs, second: Kwargs, example: Any, raw: bool) -> Kwargs:
    """A request's body and query: these fields with an image, or with a stored one, and with a second image."""
    encoded = {name: {**_BASE64, "description": "The second image of `format=replace`."} for name in second}
    elsewhere = {**stored, "image_url": _IMAGE_URL}
    content: dict[str, Any] = {
        "multipart/form-data": {"schema": _object({"image": _BINARY, **second, **elsewhere, **fields}, required)},
        "application/json": {
            "schema": _object({"image": _BASE64, **encoded, **elsewhere, **fields}, required),
            "example": example,
        },
    }
    if raw:
        content |= {kind: {"schema": _BINARY} for kind in ("image/*", "application/octet-stream")}
    parameters = _parameters({name: field for name, field in {**fields, **stored}.items() if name != "prompts"})
    return {"requestBody": {"required": True, "content": content}, "parameters": parameters}


def _job_instead() -> dict[str, Any]:
    text = "With `Prefer: respond-async`: a job of it."
    content = {"application/json": {"example": _EXAMPLES[resources.JobAnswer]}}
    return {"model": resources.JobAnswer, "description": text, "content": content}


def _query(options: type[Request]) -> list[dict[str, Any]]:
    """What a route without a body takes."""
    return _parameters(options.model_json_schema(ref_template=_REF)["properties"])


def _parameters(fields: Kwargs) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "required": False, "schema": field, "description": field.get("description", "")}
        for name, field in fields.items()
    ]


def _object(fields: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


def _errors(statuses: Iterable[int]) -> dict[int | str, dict[str, Any]]:
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
