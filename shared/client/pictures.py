"""Whatever a caller has of a picture -> encoded bytes to send, or the id of an image that the server has already."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.client.results import Uploaded
from shared.errors import InvalidOption

Picture = str | Path | bytes | bytearray | NDArray[Any] | Image.Image | Uploaded
"""A file's path, an encoded image, HxW or HxWx3 or HxWx4 uint8 pixels (grey, RGB, RGBA), a PIL image, or an image that
was uploaded before: the `Uploaded`, or its id `sha256:...`; or, where the server has that switched on, the URL of
one."""

_ID_PREFIX = "sha256:"
_URL_PREFIXES = ("https://", "http://")
_CHANNELS = (3, 4)


def image_id_of(picture: Picture) -> str | None:
    """The id, where the picture is one that the server has."""
    if isinstance(picture, Uploaded):
        return picture.image_id
    return picture if isinstance(picture, str) and picture.startswith(_ID_PREFIX) else None


def url_of(picture: Picture) -> str | None:
    """The URL, where the picture is one for the server to fetch."""
    return picture if isinstance(picture, str) and picture.startswith(_URL_PREFIXES) else None


def encoded(picture: Picture) -> bytes:
    """The picture as an image file; pixels and PIL images as PNG, as they are (no EXIF orientation is applied).

    Raises `InvalidOption` for an array that is no picture, `OSError` for a file that cannot be read.
    """
    if isinstance(picture, bytes | bytearray):
        return bytes(picture)
    if isinstance(picture, str | Path):
        return Path(picture).read_bytes()
    if isinstance(picture, np.ndarray):
        return _png(_from_array(picture))
    if isinstance(picture, Image.Image):
        return _png(picture)
    reason = "This is no path, no encoded image, no array and no PIL image."
    raise InvalidOption.of("image", type(picture).__name__, reason=reason)


def _from_array(pixels: NDArray[Any]) -> Image.Image:
    channels = pixels.shape[2:]
    if (
        pixels.dtype != np.uint8
        or pixels.ndim not in (2, 3)
        or pixels.size == 0
        or (channels or (3,))[0] not in _CHANNELS
    ):
        shown = f"{pixels.dtype} of shape {pixels.shape}"
        raise InvalidOption.of("image", shown, "uint8 HxW, HxWx3 or HxWx4", "This array is no picture.")
    return Image.fromarray(np.ascontiguousarray(pixels))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    plain = image if image.mode in ("1", "L", "P", "RGB", "RGBA", "I;16") else image.convert("RGB")
    plain.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
