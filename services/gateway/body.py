"""A request's body in, what it says out: images as bytes, fields as text (form) or as values (JSON).

Four kinds of body: multipart, urlencoded form, JSON, and an image as it is. Nothing is checked but what its kind
demands; `fields.py` and `uploads.py` go on from here.
"""

from __future__ import annotations

import asyncio
import binascii
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from services.gateway.json_text import MAX_FIELDS, json_kind, parse_json
from services.gateway.multipart import parse_parts
from shared.errors import SHOWN_CHARACTERS, BodyTooLarge, InvalidOption, Malformed, UnsupportedFormat, detail
from shared.settings import Settings

IMAGE = "image"
BACKGROUND = "background_image"
"""The second image of `format=replace`."""
OFF_LOOP_BYTES = 256 * 1024
"""Bodies of at least so many bytes are parsed in a thread."""

_URL_SAFE = str.maketrans("-_", "+/")
_IMAGE_VALUE = re.compile(rb'"(?:background_)?image"\s*:\s*"[^"]*+"')
_KINDS = "multipart/form-data, application/json, image/*, application/octet-stream"


@dataclass(frozen=True, slots=True)
class Sent:
    """What a body says. `images` are encoded images; `form` fields come in order; `values` are JSON's own."""

    images: tuple[bytes, ...] = ()
    form: tuple[tuple[str, str], ...] = ()
    values: dict[str, Any] = field(default_factory=dict)
    background: bytes | None = None
    raw: bool = False
    """Whether the body was the image itself."""


async def read(request: Request, settings: Settings) -> Sent:
    """Read and take apart. Raises `BodyTooLarge`, `Malformed`, `InvalidOption` or `UnsupportedFormat`."""
    content_type = request.headers.get("content-type", "")
    check_encoding(request)
    return await parse_aside(await read_bytes(request, settings.max_body_bytes), content_type, settings)


async def parse_aside(body: bytes, content_type: str, settings: Settings) -> Sent:
    """What `parse` gives and raises; a large body is parsed in a thread."""
    if len(body) < OFF_LOOP_BYTES:
        return parse(body, content_type, settings)
    return await asyncio.to_thread(parse, body, content_type, settings)


async def read_or_begin(request: Request, settings: Settings) -> Sent | AsyncIterator[bytes]:
    """What `read` gives and raises; of a body that turns out longer than a request usually may be, all of it as it
    comes. Raises `BodyTooLarge` as soon as more than `settings.max_upload_bytes` came."""
    check_encoding(request)
    chunks, begun, size = limited(request, settings.max_upload_bytes), list[bytes](), 0
    async for chunk in chunks:
        begun.append(chunk)
        size += len(chunk)
        if size > settings.max_body_bytes:
            return _resumed(begun, chunks)
    return await parse_aside(b"".join(begun), request.headers.get("content-type", ""), settings)


async def _resumed(begun: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while begun:
        yield begun.pop(0)
    async for chunk in rest:
        yield chunk


async def read_bytes(request: Request, limit: int) -> bytes:
    """The whole body. Raises `BodyTooLarge` from its announced length, or as soon as more than `limit` bytes came."""
    check_announced(request, limit)
    return b"".join([chunk async for chunk in limited(request, limit)])


def check_encoding(request: Request) -> None:
    """Raises `UnsupportedFormat` where the body says that it is compressed: it would only look like a broken image."""
    encoding = request.headers.get("content-encoding", "").strip()
    if encoding.lower() not in ("", "identity"):
        raise UnsupportedFormat.of("Content-Encoding", encoding, "identity", "send the body uncompressed")


def check_announced(request: Request, limit: int) -> None:
    """Raises `BodyTooLarge` where the request says itself that it is longer than `limit` bytes."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise BodyTooLarge.of("body", f"{announced} bytes", limit, f"the body has more than {limit} bytes")


async def limited(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body as it comes. Raises `BodyTooLarge` as soon as more than `limit` bytes came."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge.of("body", f"{size} bytes or more", limit, f"the body has more than {limit} bytes")
        yield chunk


def parse(body: bytes, content_type: str, settings: Settings) -> Sent:
    """Take a body apart by its content type."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return _multipart(body, content_type, settings)
    if kind == "application/json":
        return Sent(values=_json_object(body, settings))
    if kind.startswith("image/") or kind == "application/octet-stream":
        return Sent(images=(body,), raw=True)
    if not body:
        return Sent()
    if kind == "application/x-www-form-urlencoded":
        return Sent(form=_urlencoded(body, settings))
    raise UnsupportedFormat.of("Content-Type", content_type or "none", _KINDS, "a body of this type is not read")


def _multipart(body: bytes, content_type: str, settings: Settings) -> Sent:
    parts = parse_parts(body, content_type, settings.max_images_per_upload + MAX_FIELDS)
    files = (IMAGE, BACKGROUND)
    form = tuple((part.name, field_text(part.name, part.data, settings)) for part in parts if part.name not in files)
    backgrounds = [part.data for part in parts if part.name == BACKGROUND]
    if len(backgrounds) > 1:
        raise InvalidOption.of(BACKGROUND, f"{len(backgrounds)} images", 1, "one background a request")
    images = tuple(part.data for part in parts if part.name == IMAGE)
    return Sent(images, form, background=backgrounds[0] if backgrounds else None)


def field_text(name: str, data: bytes, settings: Settings) -> str:
    """A part as text. Raises `BodyTooLarge` or `InvalidOption`."""
    _check_size(name, len(data), settings)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        reason = f"this part is not text: that of an image is named `{IMAGE}`"
        raise InvalidOption.of(name[:SHOWN_CHARACTERS], f"{len(data)} bytes", "UTF-8", reason) from None


def _check_size(name: str, size: int, settings: Settings) -> None:
    limit = settings.max_fields_bytes
    if size > limit:
        raise BodyTooLarge.of(name, f"{size} bytes", limit, f"more than {limit} bytes besides the image")


def _urlencoded(body: bytes, settings: Settings) -> tuple[tuple[str, str], ...]:
    """Fields of a plain HTML form, which is also how `curl --data-binary` labels an image unless told otherwise."""
    if not body.isascii():
        reason = "this is no form: name the image's type, as in `-H 'Content-Type: image/jpeg'`"
        raise UnsupportedFormat.of("Content-Type", "application/x-www-form-urlencoded", _KINDS, reason)
    _check_size("body", len(body), settings)
    try:
        return tuple(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise Malformed(details=(detail("body", None, MAX_FIELDS, "the form has too many fields"),)) from error


def _json_object(body: bytes, settings: Settings) -> dict[str, Any]:
    images = sum(len(image.group()) for image in _IMAGE_VALUE.finditer(body))
    _check_size("prompts", len(body) - images, settings)
    values = parse_json(body, "body")
    if not isinstance(values, dict):
        raise Malformed.of("body", json_kind(values), "a JSON object", "the JSON body must be an object")
    return values


def decode_base64(text: str, name: str) -> bytes:
    """Base64 (standard or URL-safe, line breaks allowed, `data:` URI or bare) as bytes. Raises `Malformed`."""
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise Malformed.of(name, head, "data:<type>;base64,<data>", "not a base64 data URI")
    compact = "".join(text.split()).translate(_URL_SAFE)
    try:
        return binascii.a2b_base64(compact + "=" * (-len(compact) % 4), strict_mode=True)
    except ValueError:  # binascii.Error, or characters beyond ASCII
        raise Malformed.of(name, f"{len(text)} characters", "base64", "not valid base64") from None
