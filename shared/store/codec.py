"""Embeddings and images <-> the bytes that lie in Redis: a versioned header, a checksum, then the raw data.

Never pickle. Whatever does not read back exactly is a `CodecError`, which the stores treat as a miss. All numbers are
little-endian. What has its writer's own form, as the requests and results of jobs, has its checksum beside it.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from shared.store.packing import PackedEmbedding
from shared.types import Embedding, Float16Array

_EMBEDDING = b"SEGE"
_IMAGE = b"SEGI"
_VERSION = 1
_HEAD = struct.Struct("<4sHHQ")
"""Magic, version, number of tensors (0 for an image), XXH3 of all that follows."""
_SIZE = struct.Struct("<II")
"""Height and width of the image, pixels."""
_ALIGNMENT = 16
_MOST_TENSORS = 64
_MOST_DIMENSIONS = 8
_INT8 = 0x100
"""Beside a tensor's number of dimensions: it is int8."""
Stored = Embedding | PackedEmbedding
AnyTensor = NDArray[Any]

IMAGE_HEADER_BYTES = _HEAD.size + _SIZE.size
"""So many first bytes of an encoded image are enough for `decode_image_size`."""


class CodecError(ValueError):
    """These bytes are no embedding (or image) of this version: cut off, altered, or written by something else."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image as it lies in Redis: the uploaded bytes, and the size of the upright image in pixels."""

    width: int
    height: int
    data: bytes


def encode(embedding: Stored) -> bytes:
    """Header and raw tensors (float16; of a packed one int8, then their scales) in one buffer; each is copied once."""
    tensors: list[AnyTensor] = [np.asarray(tensor, dtype="<f2", order="C") for tensor in _halves(embedding)]
    if isinstance(embedding, PackedEmbedding):
        tensors = [*(np.ascontiguousarray(tensor) for tensor in embedding.tensors), *tensors]
    if len(tensors) > _MOST_TENSORS or any(tensor.ndim > _MOST_DIMENSIONS for tensor in tensors):
        raise CodecError(f"more than {_MOST_TENSORS} tensors or {_MOST_DIMENSIONS} dimensions")
    table = _SIZE.pack(*embedding.size)
    for tensor in tensors:
        word = tensor.ndim | (_INT8 if tensor.dtype == np.int8 else 0)
        table += struct.pack(f"<I{tensor.ndim}I", word, *tensor.shape)
    table += bytes(-(_HEAD.size + len(table)) % _ALIGNMENT)
    checksum = xxhash.xxh3_64(table)
    for tensor in tensors:
        checksum.update(tensor.data)
    head = _HEAD.pack(_EMBEDDING, _VERSION, len(tensors), checksum.intdigest())
    return b"".join([head, table, *(tensor.data for tensor in tensors)])


def decode(data: bytes) -> Stored:
    """The embedding in `data`; its tensors are read-only views of `data`. Raises `CodecError`."""
    count = _open(data, _EMBEDDING)
    try:
        size = _SIZE.unpack_from(data, _HEAD.size)
        shapes, offset = _shapes(data, count)
    except struct.error as error:
        raise CodecError(f"the table is cut off: {error}") from None
    promised = offset + sum(kind.itemsize * math.prod(shape) for kind, shape in shapes)
    if promised != len(data):
        raise CodecError(f"{len(data)} bytes where the table says {promised}")
    tensors: list[AnyTensor] = []
    try:
        for kind, shape in shapes:
            tensors.append(np.frombuffer(data, kind, math.prod(shape), offset).reshape(shape))
            offset += tensors[-1].nbytes
    except ValueError as error:
        raise CodecError(f"no tensor of this shape: {error}") from None
    if not any(kind == np.int8 for kind, _ in shapes):
        return Embedding((size[0], size[1]), tuple(tensors))
    return _packed((size[0], size[1]), tensors)


def encode_image(data: bytes, width: int, height: int) -> bytes:
    """Header and the uploaded bytes."""
    size = _SIZE.pack(height, width)
    checksum = xxhash.xxh3_64(size)
    checksum.update(data)
    return b"".join([_HEAD.pack(_IMAGE, _VERSION, 0, checksum.intdigest()), size, data])


def decode_image(data: bytes) -> StoredImage:
    """Header and bytes of an encoded image. Raises `CodecError`."""
    if _open(data, _IMAGE) != 0:
        raise CodecError("an image with tensors")
    width, height = decode_image_size(data)
    return StoredImage(width, height, data[IMAGE_HEADER_BYTES:])


def checksum(*parts: bytes) -> str:
    """16 hexadecimal digits of XXH3 of these one after another, to be kept beside data without a header."""
    digest = xxhash.xxh3_64()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def decode_image_size(head: bytes) -> tuple[int, int]:
    """(width, height) in pixels from the first `IMAGE_HEADER_BYTES`, checksum unread. Raises `CodecError`."""
    if len(head) < IMAGE_HEADER_BYTES:
        raise CodecError("cut off within the header")
    magic, version, _, _ = _HEAD.unpack_from(head)
    if (magic, version) != (_IMAGE, _VERSION):
        raise CodecError("no image of this version")
    height, width = _SIZE.unpack_from(head, _HEAD.size)
    return width, height


def _halves(embedding: Stored) -> tuple[Float16Array, ...]:
    return embedding.scales if isinstance(embedding, PackedEmbedding) else embedding.tensors


def _packed(size: tuple[int, int], tensors: list[AnyTensor]) -> PackedEmbedding:
    """Raises `CodecError` where scales and channels do not match."""
    values, scales = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
    for each, scale in zip(values, scales, strict=False):
        channels = each.shape[0] if each.ndim > 1 else 1
        if each.dtype != np.int8 or scale.dtype != np.float16 or scale.shape != (channels,):
            raise CodecError("scales that do not fit their tensor")
    if len(values) != len(scales):
        raise CodecError("not one set of scales a tensor")
    return PackedEmbedding(size, tuple(values), tuple(scales))


def _open(data: bytes, magic: bytes) -> int:
    """Check magic, version and checksum; the number of tensors."""
    if len(data) < _HEAD.size + _SIZE.size:
        raise CodecError("cut off within the header")
    found, version, count, checksum = _HEAD.unpack_from(data)
    if (found, version) != (magic, _VERSION):
        raise CodecError("written by something else or by another version")
    if xxhash.xxh3_64_intdigest(memoryview(data)[_HEAD.size :]) != checksum:
        raise CodecError("the checksum does not match")
    return int(count)


def _shapes(data: bytes, count: int) -> tuple[list[tuple[np.dtype[Any], tuple[int, ...]]], int]:
    """Types and shapes of all tensors, and the offset where the first one begins."""
    offset = _HEAD.size + _SIZE.size
    shapes: list[tuple[np.dtype[Any], tuple[int, ...]]] = []
    if count > _MOST_TENSORS:
        raise CodecError(f"{count} tensors")
    for _ in range(count):
        (word,) = struct.unpack_from("<I", data, offset)
        kind, dimensions = np.dtype("i1" if word & _INT8 else "<f2"), word & ~_INT8
        if dimensions > _MOST_DIMENSIONS:
            raise CodecError(f"{dimensions} dimensions")
        shapes.append((kind, struct.unpack_from(f"<{dimensions}I", data, offset + 4)))
        offset += 4 * (1 + dimensions)
    return shapes, offset + -offset % _ALIGNMENT
