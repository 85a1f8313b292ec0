"""One request in, one typed upload out: the image (or its id) and the checked options beside it.

However the image came (multipart, raw, base64 in JSON, the id of a stored one, or by URL), from here on it is the same.
Its format and size come from its header; no pixel is decoded in the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from starlette.requests import Request

from services.gateway.body import (
    BACKGROUND,
    IMAGE,
    OFF_LOOP_BYTES,
    Sent,
    check_announced,
    check_encoding,
    decode_base64,
    field_text,
    limited,
    read,
    read_or_begin,
)
from services.gateway.context import Gateway
from services.gateway.fields import IMAGE_ID, IMAGE_URL, check, gather, gather_aside, shown
from services.gateway.json_text import MAX_FIELDS
from services.gateway.multipart import Part, stream_parts
from services.gateway.prompts import limit_prompts
from services.gateway.scopes import arrival
from shared.errors import ImageMismatch, InvalidOption, told_of
from shared.imaging.probe import ImageHeader, probe
from shared.schemas import wire
from shared.schemas.options import EffectFields
from shared.settings import Settings
from shared.store.keys import image_id as id_of
from shared.telemetry.stages import Stages

Options = TypeVar("Options", bound=wire.Request)


@dataclass(frozen=True, slots=True)
class Image:
    """An encoded image as uploaded, with what its header says."""

    data: bytes
    header: ImageHeader


@dataclass(frozen=True, slots=True)
class Upload(Generic[Options]):
    """What a caller asks for. At least one of `image` and `image_id` is there."""

    options: Options
    image: Image | None
    image_id: str | None
    background: bytes | None = None
    """The second image of `format=replace`, encoded."""


async def receive(
    request: Request, gateway: Gateway, options: type[Options], stages: Stages | None = None
) -> Upload[Options]:
    """Read a request about one image; one that is fetched by URL is a stage of its own, within the caller's. Raises the
    errors of a bad body, image or field."""
    sent = await read(request, gateway.settings)
    deadline = arrival(request.scope).deadline
    return await taken_apart(request.query_params.multi_items(), sent, gateway, options, deadline, stages)


async def taken_apart(
    query: Sequence[tuple[str, str]],
    sent: Sent,
    gateway: Gateway,
    options: type[Options],
    deadline: float,
    stages: Stages | None = None,
) -> Upload[Options]:
    """What a query and a body about one image say; `deadline` (Unix seconds) is that of fetching it by URL. Raises the
    errors of a bad image or field."""
    fields = await gather_aside(query, sent, options)
    image_id = _image_id(fields.pop(IMAGE_ID, None))
    url = fields.pop(IMAGE_URL, None)
    data = await _one_image(sent)
    _one_way(url, data is not None or image_id is not None)
    if data is None and image_id is None and url is None:
        raise InvalidOption.of(IMAGE, None, "one image", "an image or an image_id is required")
    if sent.raw and "prompts" in options.model_fields and "prompts" not in fields:
        reason = "a raw image body cannot carry prompts: send multipart with the parts image and prompts, or JSON"
        raise InvalidOption.of("prompts", None, "multipart/form-data or application/json", reason)
    limit_prompts(fields.get("prompts"), gateway.settings)
    background = await _background(sent, fields, options)
    checked = check(options, fields)
    if background is not None:
        with told_of(BACKGROUND):
            measure(background, gateway)
    if url is not None:
        return Upload(checked, await _fetched(gateway, url, deadline, stages), None, background)
    return Upload(checked, None if data is None else measure(data, gateway), image_id, background)


@dataclass(frozen=True, slots=True)
class Uploads(Generic[Options]):
    """What a caller wants stored. `only` is the image where the request can bring no other."""

    options: Options
    images: AsyncIterator[bytes]
    only: bytes | None = None
    while_it_comes: bool = False
    """Whether the images are still being sent."""


async def receive_images(
    request: Request, gateway: Gateway, options: type[Options], stages: Stages | None = None
) -> Uploads[Options]:
    """Read a request that brings images: whole, or, where a multipart body is longer than a request usually may be,
    only as far as its first image."""
    settings = gateway.settings
    sent = await _whole_or_begun(request, settings)
    if not isinstance(sent, Sent):
        return await _begun(request, gateway, options, sent)
    fields = gather(request.query_params.multi_items(), sent, options)
    url = fields.pop(IMAGE_URL, None)
    _one_way(url, bool(sent.images) or IMAGE in sent.values)
    checked = check(options, fields)
    images = sent.images
    if url is not None:
        images = ((await _fetched(gateway, url, arrival(request.scope).deadline, stages)).data,)
    if not images:
        data = await _one_image(sent)
        if data is None:
            raise InvalidOption.of(IMAGE, None, "at least one image", "an image is required")
        images = (data,)
    limit = settings.max_images_per_upload
    if len(images) > limit:
        raise InvalidOption.of(IMAGE, f"{len(images)} images", limit, "too many images in one request")
    return Uploads(checked, _each(images), images[0] if len(images) == 1 else None)


async def _whole_or_begun(request: Request, settings: Settings) -> Sent | AsyncIterator[bytes]:
    """What the body says, or the body as it comes where it is a long multipart one, as its length tells, or else its
    first megabytes."""
    announced = request.headers.get("content-length", "")
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await read(request, settings)
    if announced.isdecimal() and int(announced) > settings.max_body_bytes:
        check_encoding(request)
        check_announced(request, settings.max_upload_bytes)
        return limited(request, settings.max_upload_bytes)
    return await (read(request, settings) if announced else read_or_begin(request, settings))


async def _begun(
    request: Request, gateway: Gateway, options: type[Options], chunks: AsyncIterator[bytes]
) -> Uploads[Options]:
    """A long upload up to its first image; the rest is read as its images are asked for."""
    settings = gateway.settings
    limits = (settings.max_images_per_upload + MAX_FIELDS, settings.max_body_bytes)
    parts = stream_parts(chunks, request.headers.get("content-type", ""), *limits)
    form: list[tuple[str, str]] = []
    async for part in parts:
        if part.name == IMAGE:
            fields = gather(request.query_params.multi_items(), Sent(form=tuple(form)), options)
            _one_way(fields.get(IMAGE_URL), True)
            return Uploads(check(options, fields), _coming(part, parts, settings), while_it_comes=True)
        form.append((part.name, field_text(part.name, part.data, settings)))
    raise InvalidOption.of(IMAGE, None, "at least one image", "an image is required")


async def _coming(first: Part, parts: AsyncIterator[Part], settings: Settings) -> AsyncIterator[bytes]:
    yield first.data
    count = 1
    async for part in parts:
        count += 1
        if part.name != IMAGE:
            raise InvalidOption.of(part.name, None, "before the images", "in a long upload fields come before images")
        if count > settings.max_images_per_upload:
            limit = settings.max_images_per_upload
            raise InvalidOption.of(IMAGE, f"{count} images or more", limit, "too many images in one request")
        yield part.data


async def _each(images: Sequence[bytes]) -> AsyncIterator[bytes]:
    for data in images:
        yield data


def measure(data: bytes, gateway: Gateway) -> Image:
    """Read an image's header. Raises `Malformed`, `UnsupportedFormat` or `ImageTooLarge`."""
    settings = gateway.settings
    header = probe(data, max_pixels=settings.max_pixels, max_side=settings.max_side)
    gateway.sink.observe("segserve_image_bytes", len(data))
    gateway.sink.observe("segserve_image_pixels", header.width * header.height)
    return Image(data, header)


async def identify(data: bytes, claimed: str | None = None) -> str:
    """The image id of these bytes. Raises `ImageMismatch` when the caller claims another."""
    found = id_of(data) if len(data) < OFF_LOOP_BYTES else await asyncio.to_thread(id_of, data)
    if claimed is not None and claimed != found:
        raise ImageMismatch.of(IMAGE_ID, claimed, found, "the image that came with it has another id")
    return found


async def _fetched(gateway: Gateway, url: Any, deadline: float, stages: Stages | None) -> Image:
    """The image at a URL, measured as any other."""
    with nullcontext() if stages is None else stages.stage("fetch"):
        data = await gateway.fetcher.fetch(url, deadline)
    with told_of(IMAGE_URL):
        return measure(data, gateway)


def _one_way(url: Any, sent: bool) -> None:
    """Raises `InvalidOption` for an image that comes by URL and in another way as well."""
    if url is not None and sent:
        raise InvalidOption.of(IMAGE_URL, shown(url), "once", "the image was given in another way too")


async def _background(sent: Sent, fields: dict[str, Any], options: type[wire.Request]) -> bytes | None:
    """The second image, taken out of the fields. Where the task has none it stays there, to be refused by its name."""
    if not issubclass(options, EffectFields):
        return None
    text = fields.pop(BACKGROUND, None)
    if sent.background is not None or text is None:
        return sent.background
    return await from_base64(text, BACKGROUND)


async def _one_image(sent: Sent) -> bytes | None:
    if len(sent.images) > 1:
        raise InvalidOption.of(IMAGE, f"{len(sent.images)} images", 1, "this path takes one image a request")
    if sent.images:
        return sent.images[0]
    text = sent.values.get(IMAGE)
    return None if text is None else await from_base64(text, IMAGE)


async def from_base64(text: Any, name: str) -> bytes:
    """An image that came as base64 text in the field `name`. Raises `InvalidOption` or `Malformed`."""
    if not isinstance(text, str):
        raise InvalidOption.of(name, shown(text), "base64 text", "an image in JSON is base64 text")
    if len(text) < OFF_LOOP_BYTES:
        return decode_base64(text, name)
    return await asyncio.to_thread(decode_base64, text, name)


def _image_id(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise InvalidOption.of(IMAGE_ID, shown(value), "sha256: and 64 digits 0-9a-f", "an image id is text")
