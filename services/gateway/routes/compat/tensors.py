"""Tensors of the Open Inference Protocol: JSON and the binary extension in and out.

A binary tensor follows the JSON, little-endian and row-major; an element of BYTES is its length in four bytes, then
itself. Sizes are checked against shapes before anything is made of them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from services.gateway.fields import shown
from shared.errors import InvalidOption, Malformed
from shared.schemas.inference import InferInput

HEADER_LENGTH = "Inference-Header-Content-Length"
BINARY_SIZE = "binary_data_size"
BYTES = "BYTES"
DTYPES: Mapping[str, str] = {"UINT8": "u1", "INT32": "<i4", "FP32": "<f4", "BOOL": "?", "UINT16": "<u2"}
MAX_JSON_VALUES = 2**22
"""Most elements of an output as JSON text: a mask of 12 megapixels would take 60 MB."""


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of an answer: an array, or texts as BYTES."""

    name: str
    datatype: str
    values: NDArray[Any] | Sequence[str]
    binary: bool

    @property
    def shape(self) -> list[int]:
        """As the protocol has it."""
        return [*self.values.shape] if isinstance(self.values, np.ndarray) else [len(self.values)]


def split(body: bytes, header_length: str | None) -> tuple[memoryview, memoryview]:
    """The JSON of a body, and the binary data behind it. Raises `Malformed`."""
    whole = memoryview(body)
    if header_length is None:
        return whole, whole[:0]
    length = int(header_length) if header_length.isdecimal() and len(header_length) < 16 else -1
    if not 0 < length <= len(whole):
        raise Malformed.of(
            HEADER_LENGTH, header_length, f"1 to {len(whole)}", "should be how many bytes of JSON there are"
        )
    return whole[:length], whole[length:]


def binary_parts(inputs: Iterable[InferInput], data: memoryview) -> list[memoryview | None]:
    """Each input's share of the binary data; None of one whose data is in the JSON. Raises `Malformed`."""
    parts: list[memoryview | None] = []
    at = 0
    for each in inputs:
        size = each.parameters.binary_data_size
        if size is None:
            parts.append(None)
            continue
        if each.data is not None:
            raise Malformed.of(each.name, None, "once", f"has both data and {BINARY_SIZE}")
        if at + size > len(data):
            reason = f"{BINARY_SIZE} is beyond the end of the body: {len(data) - at} bytes are left"
            raise Malformed.of(each.name, size, len(data) - at, reason)
        parts.append(data[at : at + size])
        at += size
    if at != len(data):
        raise Malformed.of("body", f"{len(data) - at} bytes", 0, "bytes behind the last tensor belong to none")
    return parts


def array(sent: InferInput, part: memoryview | None, datatype: str) -> NDArray[Any]:
    """An input as an array of its shape. Raises `InvalidOption` where its type, size or values do not fit."""
    name, count = sent.name, prod(sent.shape)
    if sent.datatype != datatype:
        raise InvalidOption.of(name, sent.datatype, datatype, f"should be of datatype {datatype}")
    dtype = np.dtype(DTYPES[datatype])
    if part is not None:
        _fits(name, len(part), count * dtype.itemsize, "bytes", sent.shape)
        return np.frombuffer(part, dtype).reshape(sent.shape)
    try:
        found = np.asarray(
            sent.data if isinstance(sent.data, list) else [], np.float64 if dtype.kind == "f" else np.int64
        )
    except (TypeError, ValueError, OverflowError):  # ragged, nested without end, or no numbers
        raise InvalidOption.of(
            name, shown(sent.data), sent.shape, f"should be numbers for the shape {sent.shape}"
        ) from None
    _fits(name, found.size, count, "values", sent.shape)
    if (
        dtype.kind != "f"
        and found.size
        and not np.iinfo(dtype).min <= found.min() <= found.max() <= np.iinfo(dtype).max
    ):
        raise InvalidOption.of(name, None, datatype, f"has values that are no {datatype}")
    return found.reshape(sent.shape).astype(dtype)


def element(sent: InferInput, part: memoryview | None) -> bytes | str:
    """The one element of a BYTES input: bytes, or JSON's text. Raises `InvalidOption`."""
    if prod(sent.shape) != 1:
        raise InvalidOption.of(sent.name, sent.shape, "[1]", "BYTES should be one element: one image a request")
    if part is not None:
        size = struct.unpack_from("<I", part)[0] if len(part) >= 4 else -4
        _fits(sent.name, len(part), size + 4, "bytes, its length's four among them,", sent.shape)
        return bytes(part[4:])
    found: Any = sent.data
    while isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, str):
        raise InvalidOption.of(sent.name, shown(sent.data), "[base64]", "should be a list of one base64 text")
    return found


def written(head: Mapping[str, Any], outputs: Sequence[Output]) -> tuple[bytes, int | None]:
    """An answer's body, and the length of its JSON where tensors follow it. Raises `InvalidOption` for one that is too
    large for JSON."""
    parts: list[bytes] = []
    shown_outputs = [_told(each, parts) for each in outputs]
    text = orjson.dumps({**head, "outputs": shown_outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join((text, *parts)), len(text)) if parts else (text, None)


def _told(output: Output, parts: list[bytes]) -> dict[str, Any]:
    """What the JSON says of an output; its binary data goes to `parts`."""
    told = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
    if output.binary:
        parts.append(_packed(output))
        return {**told, "parameters": {BINARY_SIZE: len(parts[-1])}}
    values = output.values
    if len(values) and prod(output.shape) > MAX_JSON_VALUES:
        reason = "too large for JSON: ask for binary_data"
        raise InvalidOption.of(output.name, f"{prod(output.shape)} values", MAX_JSON_VALUES, reason)
    return {**told, "data": np.ascontiguousarray(values).ravel() if isinstance(values, np.ndarray) else list(values)}


def _packed(output: Output) -> bytes:
    if isinstance(output.values, np.ndarray):
        return output.values.astype(DTYPES[output.datatype], copy=False).tobytes()
    texts = [text.encode() for text in output.values]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _fits(name: str, found: int, wanted: int, what: str, shape: Sequence[int]) -> None:
    if found != wanted:
        reason = f"has {found} {what} where its shape {[*shape]} asks for {max(wanted, 0)}"
        raise InvalidOption.of(name, found, max(wanted, 0), reason)
