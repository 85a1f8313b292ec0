"""Bad requests, each with the answer it must get: status, code and the field named. Used over ASGI and over HTTP alike.

A case is a plain record of one HTTP request. Nothing in it depends on which models are served, except that the task
semantic and the task promptable (without text) are.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import json
import struct
from dataclasses import dataclass
from dataclasses import field as default
from typing import Any

import numpy as np
from PIL import Image

SEMANTIC, INSTANCE, PROMPTABLE, IMAGES = "/v1/semantic", "/v1/instance", "/v1/promptable", "/v1/images"
JOBS = "/v1/jobs"
WIDTH, HEIGHT = 64, 48
MIB = 2**20

Files = list[tuple[str, tuple[str | None, bytes, str]]]


@dataclass(frozen=True)
class BadInput:
    """One request and what must come back. `field` is that of the first detail; empty where no field is at fault."""

    name: str
    path: str
    status: int
    code: str
    field: str
    method: str = "POST"
    content: bytes | None = None
    content_type: str | None = None
    files: Files | None = None
    query: list[tuple[str, str]] = default(default_factory=list)
    headers: dict[str, str] = default(default_factory=dict)
    chunked: bool = False
    """Sent without its length."""
    says: str = ""
    """What the first detail's reason must mention."""


def picture(shade: int = 0, kind: str = "PNG") -> bytes:
    """A picture (by default a PNG) of `WIDTH` x `HEIGHT`: the left half as dark as `shade`, the right half white."""
    pixels = np.full((HEIGHT, WIDTH, 3), shade, dtype=np.uint8)
    pixels[:, WIDTH // 2 :] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", binascii.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


PNG = picture()
UNKNOWN_ID = "sha256:" + "0" * 64
LOGITS = base64.b64encode(np.zeros((4, 4), dtype="<f2").tobytes()).decode()
NAN_LOGITS = base64.b64encode(np.full((4, 4), np.nan, dtype="<f2").tobytes()).decode()


def raw(name: str, status: int, code: str, at: str, content: bytes, kind: str = "image/png", **more: Any) -> BadInput:
    """A raw body to semantic."""
    return BadInput(name, SEMANTIC, status, code, at, content=content, content_type=kind, **more)


def option(name: str, at: str, query: str, path: str = SEMANTIC, **more: Any) -> BadInput:
    """A good image with a bad option in the query."""
    pairs = [(key, value) for key, _, value in (part.partition("=") for part in query.split("&"))]
    return BadInput(name, path, 422, "invalid_option", at, content=PNG, content_type="image/png", query=pairs, **more)


def said(name: str, status: int, code: str, at: str, body: Any, path: str = SEMANTIC, **more: Any) -> BadInput:
    """A JSON body: a value, or text as it is."""
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    data = text.encode() if isinstance(text, str) else text
    return BadInput(name, path, status, code, at, content=data, content_type="application/json", **more)


def prompt(name: str, at: str, prompts: Any, status: int = 422, code: str = "invalid_option", **more: Any) -> BadInput:
    """A good image with bad prompts, as multipart."""
    text = prompts if isinstance(prompts, str) else json.dumps(prompts)
    files: Files = [("image", ("a.png", PNG, "image/png")), ("prompts", (None, text.encode(), "application/json"))]
    return BadInput(name, PROMPTABLE, status, code, at, files=files, **more)


IN_BASE64 = base64.b64encode(PNG).decode()

IMAGE_CASES = [
    raw("an empty image", 400, "malformed", "image", b""),
    BadInput("no body at all", SEMANTIC, 422, "invalid_option", "image"),
    raw("a header cut short", 400, "malformed", "image", PNG[:20]),
    raw("pixels cut short", 400, "malformed", "image", picture(7)[:-60]),
    raw("a WebP cut short", 400, "malformed", "image", picture(7, "WEBP")[:-20], says="WEBP is truncated"),
    raw("40,000 x 40,000 by its header", 413, "image_too_large", "image", png_header(40_000, 40_000)),
    raw("no pixels by its header", 400, "malformed", "image", png_header(0, 10)),
    raw("text as an image", 415, "unsupported_format", "image", b"this is no image", "image/jpeg"),
    raw("a PDF as bytes", 415, "unsupported_format", "image", b"%PDF-1.7 ...", "application/octet-stream"),
    raw("a body of plain text", 415, "unsupported_format", "Content-Type", b"hello", "text/plain"),
    raw("an image labelled as a form", 415, "unsupported_format", "Content-Type", PNG,
        "application/x-www-form-urlencoded", says="Content-Type: image/jpeg"),
    raw("a body above the limit", 413, "body_too_large", "body", bytes(33 * MIB)),
    raw("a body above the limit, chunked", 413, "body_too_large", "body", bytes(33 * MIB), chunked=True),
    said("base64 that is none", 400, "malformed", "image", {"image": "%%%"}),
    said("a data URI without base64", 400, "malformed", "image", {"image": "data:image/png,abc"}),
    said("an image that is a number", 422, "invalid_option", "image", {"image": 7}),
    said("an image by URL", 422, "invalid_option", "image_url", {"image_url": "https://a/b.jpg"},
         says="switched off"),
    said("an image and a URL", 422, "invalid_option", "image_url", {"image": IN_BASE64, "image_url": "https://a/b.jpg"}),
    BadInput("two images", SEMANTIC, 422, "invalid_option", "image",
             files=[("image", ("a.png", PNG, "image/png")), ("image", ("b.png", PNG, "image/png"))]),
    BadInput("an image in the query", SEMANTIC, 422, "invalid_option", "image", query=[("image", IN_BASE64)]),
    said("an unknown image id", 404, "image_not_found", "image_id", {"image_id": UNKNOWN_ID}),
    said("an image id that is none", 422, "invalid_option", "image_id", {"image_id": "../../etc/passwd"}),
    said("an image id that is a list", 422, "invalid_option", "image_id", {"image_id": [1]}),
    said("an image and the id of another", 409, "image_mismatch", "image_id",
         {"image": IN_BASE64, "image_id": UNKNOWN_ID}),
]  # fmt: skip

BODY_CASES = [
    said("JSON cut short", 400, "malformed", "body", '{"image": "'),
    said("JSON that is a list", 400, "malformed", "body", [1, 2]),
    said("JSON nested too deeply", 400, "malformed", "body", "[" * 200_000),
    said("JSON that is not UTF-8", 400, "malformed", "body", b'{"model": "\xff\xfe"}'),
    said("a number of 5,000 digits", 400, "malformed", "body", '{"simplify": ' + "1" * 5000 + "}"),
    said("a field twice in JSON", 422, "invalid_option", "model", '{"model": "a", "model": "b"}'),
    said("JSON that is null", 400, "malformed", "body", "null"),
    said("an object of too many fields", 422, "invalid_option", "body", {f"k{number}": 1 for number in range(65)}),
    said("a prompt of too many fields", 422, "invalid_option", "body",
         {"image": IN_BASE64, "prompts": [{f"k{number}": 1 for number in range(65)}]}, PROMPTABLE),
    said("half a surrogate as a name", 422, "invalid_option", "body", '{"image": "' + IN_BASE64 + '", "\\ud800": 1}'),
    raw("a compressed body", 415, "unsupported_format", "Content-Encoding", gzip.compress(PNG),
        headers={"Content-Encoding": "gzip"}),
    BadInput("a compressed upload", IMAGES, 415, "unsupported_format", "Content-Encoding", content=gzip.compress(PNG),
             content_type="image/png", headers={"Content-Encoding": "gzip"}),
    said("half a surrogate", 422, "invalid_option", "model", '{"image": "' + IN_BASE64 + '", "model": "\\ud800"}'),
    BadInput("multipart without a boundary", SEMANTIC, 400, "malformed", "Content-Type", content=b"--a\r\n",
             content_type="multipart/form-data"),
    BadInput("multipart cut short", SEMANTIC, 400, "malformed", "body", content_type="multipart/form-data; boundary=a",
             content=b'--a\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + PNG),
    BadInput("multipart that is none", SEMANTIC, 400, "malformed", "body", content=PNG,
             content_type="multipart/form-data; boundary=a"),
    BadInput("a part without a name", SEMANTIC, 400, "malformed", "body", content=b"--a\r\nX: 1\r\n\r\nx\r\n--a--\r\n",
             content_type="multipart/form-data; boundary=a"),
    BadInput("an image in a part of another name", SEMANTIC, 422, "invalid_option", "file", says="`image`",
             files=[("file", ("a.png", PNG, "image/png"))]),
    BadInput("a model name that is not UTF-8", SEMANTIC, 422, "invalid_option", "model",
             files=[("image", ("a.png", PNG, "image/png")), ("model", (None, b"\xff\xfe", "text/plain"))]),
]  # fmt: skip

OPTION_CASES = [
    BadInput("an unknown model", SEMANTIC, 404, "model_not_found", "model", content=PNG, content_type="image/png",
             query=[("model", "no-such-model")]),
    BadInput("an unknown version", SEMANTIC, 404, "model_not_found", "model", content=PNG, content_type="image/png",
             query=[("model", "no-such-model@9")]),
    option("a model whose version is empty", "model", "model=street@", says="version"),
    option("a misspelt field", "modle", "modle=street", says="`model`"),
    said("a misspelt field in JSON", 422, "invalid_option", "fromat", {"image": IN_BASE64, "fromat": "rle"},
         says="`format`"),
    option("an option of another task", "max_instances", "max_instances=5"),
    option("an option twice", "format", "format=rle&format=coco"),
    BadInput("an option in query and form", SEMANTIC, 422, "invalid_option", "format", query=[("format", "rle")],
             files=[("image", ("a.png", PNG, "image/png")), ("format", (None, b"rle", "text/plain"))]),
    option("an unknown format", "format", "format=svg"),
    option("a negative number", "simplify", "simplify=-1"),
    option("NaN", "simplify", "simplify=nan"),
    option("infinity", "simplify", "simplify=1e999"),
    option("above its range", "min_confidence", "min_confidence=1.5"),
    option("text as a number", "min_confidence", "min_confidence=high"),
    option("a flag that is none", "tta", "tta=maybe"),
    option("a flag of another task", "crf", "crf=true", INSTANCE),
    option("zero instances", "max_instances", "max_instances=0", INSTANCE),
    option("half an instance", "max_instances", "max_instances=1.5", INSTANCE),
    said("a number as text in JSON", 422, "invalid_option", "simplify", {"image": IN_BASE64, "simplify": "1"}),
    said("a boolean as a number", 422, "invalid_option", "simplify", {"image": IN_BASE64, "simplify": True}),
    said("an integer beyond any float", 422, "invalid_option", "simplify",
         '{"image": "' + IN_BASE64 + '", "simplify": 1' + "0" * 400 + "}"),
    BadInput("a picture of a kind not given", SEMANTIC, 406, "not_acceptable", "Accept", content=PNG,
             content_type="image/png", headers={"Accept": "image/jpeg"}),
    BadInput("a label map of instances", INSTANCE, 406, "not_acceptable", "Accept", content=PNG,
             content_type="image/png", headers={"Accept": "image/png"}),
    option("format against Accept", "format", "format=polygon", headers={"Accept": "image/png"}),
]  # fmt: skip

PROMPT_CASES = [
    prompt("NaN coordinates", "prompts[0].points[0][1]", '[{"points": [[1, NaN]]}]'),
    prompt("infinite coordinates", "prompts[0].points[0][0]", '[{"points": [[1e999, 1]]}]'),
    prompt("a point right of the image", "prompts[0].points[0][0]", [{"points": [[WIDTH + 1, 1]]}], says="outside"),
    prompt("a point below the image", "prompts[1].points[1][1]",
           [{"points": [[1, 1]]}, {"points": [[1, 1], [2, HEIGHT + 0.5]]}]),
    prompt("a negative coordinate", "prompts[0].points[0][0]", [{"points": [[-0.5, 1]]}]),
    prompt("text as a coordinate", "prompts[0].points[0][0]", [{"points": [["1", 2]]}]),
    prompt("a boolean as a coordinate", "prompts[0].points[0][1]", [{"points": [[1, True]]}]),
    prompt("a prompt that is a number", "prompts[0]", [3], says="should be an object"),
    prompt("three coordinates", "prompts[0].points[0]", [{"points": [[1, 2, 3]]}]),
    prompt("fewer labels than points", "prompts[0].labels", [{"points": [[1, 2], [3, 4]], "labels": [1]}]),
    prompt("a label that is none", "prompts[0].labels[1]", [{"points": [[1, 2], [3, 4]], "labels": [1, 2]}]),
    prompt("labels without points", "prompts[0].labels", [{"box": [0, 0, 5, 5], "labels": [1]}]),
    prompt("a box inside out", "prompts[0].box", [{"box": [30, 5, 10, 20]}]),
    prompt("a box beyond the image", "prompts[0].box[3]", [{"box": [0, 0, 10, HEIGHT + 1]}]),
    prompt("a box of three", "prompts[0].box", [{"box": [0, 0, 10]}]),
    prompt("an empty prompt", "prompts[0]", [{}]),
    prompt("no prompt in the list", "prompts", []),
    prompt("prompts that are no list", "prompts", {"points": [[1, 2]]}),
    prompt("prompts that are not JSON", "prompts", "here", 400, "malformed"),
    prompt("a misspelt field of a prompt", "prompts[0].point", [{"point": [[1, 2]]}], says="`points`"),
    prompt("text where the model takes none", "prompts[0].text", [{"text": "the red car"}]),
    prompt("logits of another length", "prompts[0].mask.data",
           [{"mask": {"shape": [8, 8], "dtype": "float16", "data": LOGITS}}]),
    prompt("logits of another type", "prompts[0].mask.dtype",
           [{"mask": {"shape": [4, 4], "dtype": "float32", "data": LOGITS}}]),
    prompt("logits that are NaN", "prompts[0].mask.data",
           [{"mask": {"shape": [4, 4], "dtype": "float16", "data": NAN_LOGITS}}]),
    prompt("too many prompts", "prompts", [{"points": [[1, 1]]}] * 257),
    prompt("too many points", "prompts[0].points", [{"points": [[1, 1]] * 1025}]),
    prompt("10 MB of prompts", "prompts", [{"points": [[1.0, 1.0]] * MIB}], 413, "body_too_large"),
    said("10 MB of prompts in JSON", 413, "body_too_large", "prompts",
         {"image": IN_BASE64, "prompts": [{"points": [[1.0, 1.0]] * MIB}]}, PROMPTABLE),
    BadInput("an image without prompts", PROMPTABLE, 422, "invalid_option", "prompts",
             files=[("image", ("a.png", PNG, "image/png"))]),
    BadInput("prompts with a raw image", PROMPTABLE, 422, "invalid_option", "prompts", content=PNG,
             content_type="image/png", says="multipart"),
    said("prompts on an unknown image", 404, "image_not_found", "image_id",
         {"image_id": UNKNOWN_ID, "prompts": [{"points": [[1, 1]]}]}, PROMPTABLE),
]  # fmt: skip

PATH_CASES = [
    BadInput("an unknown path", "/v1/sematic", 404, "not_found", ""),
    BadInput("a path above the root", "/../../etc/passwd", 404, "not_found", "", method="GET"),
    BadInput("a wrong method", SEMANTIC, 405, "method_not_allowed", "", method="GET"),
    BadInput("an unknown stored image", f"{IMAGES}/{UNKNOWN_ID}", 404, "image_not_found", "image_id", method="GET"),
    BadInput("an unknown image to delete", f"{IMAGES}/{UNKNOWN_ID}", 404, "image_not_found", "image_id",
             method="DELETE"),
    BadInput("an unknown model's page", "/v1/models/no-such-model", 404, "model_not_found", "name", method="GET"),
    BadInput("unknown labels", "/v1/labels/no-such-space", 404, "not_found", "space", method="GET", says="camvid"),
    BadInput("a page of an empty version", "/v1/models/street@", 404, "model_not_found", "name", method="GET"),
    BadInput("an upload without an image", IMAGES, 422, "invalid_option", "image"),
    BadInput("embedding with an unknown model", IMAGES, 404, "model_not_found", "embed", content=PNG,
             content_type="image/png", query=[("embed", "no-such-model")]),
]  # fmt: skip


def job(name: str, status: int, code: str, at: str, *query: tuple[str, str], **more: Any) -> BadInput:
    """A good image to be done later, with something bad beside it."""
    content = {"content": PNG, "content_type": "image/png", **more}
    return BadInput(name, JOBS, status, code, at, query=list(query), **content)


JOB_CASES = [
    job("a job of no task", 422, "invalid_option", "task", says="required"),
    job("a job of an unknown task", 422, "invalid_option", "task", ("task", "depth"), says="semantic"),
    job("a job of two tasks", 422, "invalid_option", "task", ("task", "semantic"), ("task", "panoptic")),
    job("a job with an option of another task", 422, "invalid_option", "max_instances", ("task", "semantic"),
        ("max_instances", "5")),
    job("a job of an unknown model", 404, "model_not_found", "model", ("task", "semantic"), ("model", "no-such-model")),
    job("a job of no image", 415, "unsupported_format", "image", ("task", "semantic"), content=b"no image at all"),
    job("a job of prompts without any", 422, "invalid_option", "prompts", ("task", "promptable")),
    job("a job above the limit", 413, "body_too_large", "body", ("task", "semantic"), content=bytes(33 * MIB)),
    job("a job with an empty key", 422, "invalid_option", "Idempotency-Key", ("task", "semantic"),
        headers={"Idempotency-Key": ""}),
    BadInput("a bad option where a job is preferred", SEMANTIC, 422, "invalid_option", "simplify", content=PNG,
             content_type="image/png", query=[("simplify", "-1")], headers={"Prefer": "respond-async"}),
    BadInput("an unknown job", f"{JOBS}/job_1", 404, "job_not_found", "job_id", method="GET"),
    BadInput("the result of an unknown job", f"{JOBS}/job_1/result", 404, "job_not_found", "job_id", method="GET"),
    BadInput("an unknown job to cancel", f"{JOBS}/job_1", 404, "job_not_found", "job_id", method="DELETE"),
    BadInput("too long a page of jobs", JOBS, 422, "invalid_option", "limit", method="GET", query=[("limit", "101")]),
    BadInput("jobs in no state", JOBS, 422, "invalid_option", "state", method="GET", query=[("state", "lost")]),
    BadInput("a cursor that is none", JOBS, 422, "invalid_option", "cursor", method="GET", query=[("cursor", "a")]),
    BadInput("too long a wait", f"{JOBS}/job_1", 422, "invalid_option", "wait", method="GET", query=[("wait", "61")]),
]  # fmt: skip

CASES = [*IMAGE_CASES, *BODY_CASES, *OPTION_CASES, *PROMPT_CASES, *PATH_CASES, *JOB_CASES]


def check_answer(case: BadInput, status: int, body: bytes) -> None:
    """Assert that the answer is the one that this case must get, and that it leaks nothing."""
    text = body.decode()
    assert status == case.status, text
    answer = json.loads(text)
    assert sorted(answer) == ["code", "details", "message", "request_id"]
    assert answer["code"] == case.code, text
    assert (answer["details"][0]["field"] if answer["details"] else "") == case.field, text
    for detail in answer["details"]:
        assert sorted(detail) == ["field", "limit", "reason", "value"]
        assert len(detail["value"] or "") <= 100
    assert not case.says or case.says in answer["details"][0]["reason"], text
    assert answer["message"]
    for leak in ("Traceback", 'File "', ".py", "site-packages", " at 0x", "NoneType", "instance of"):
        assert leak not in text
