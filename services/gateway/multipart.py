"""A `multipart/form-data` body in memory in, its parts as bytes out: no temporary files, no guessing of encodings."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from shared.errors import BodyTooLarge, Malformed, detail

if TYPE_CHECKING:  # the library keeps this type for checkers only
    from python_multipart.multipart import MultipartCallbacks

FIELD = "body"

# The parser warns of each malformed body, which anyone can send; the caller is told instead.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Part:
    """One part: the name that its `Content-Disposition` gives, and its content."""

    name: str
    data: bytes


def parse_parts(body: bytes, content_type: str, max_parts: int) -> list[Part]:
    """Take a body apart. Raises `Malformed` for one that is cut short, has no boundary, nameless or too many parts."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise Malformed.of("Content-Type", content_type, reason="multipart/form-data needs a boundary")
    collector = _Collector(max_parts)
    try:
        MultipartParser(boundary, collector.callbacks()).write(body)
    except FormParserError as error:
        raise Malformed.of(FIELD, reason="the multipart body is malformed") from error
    if not collector.complete:
        raise Malformed.of(FIELD, f"{len(body)} bytes", reason="the multipart body is cut short: no closing boundary")
    return collector.parts


async def stream_parts(
    chunks: AsyncIterator[bytes], content_type: str, max_parts: int, max_part_bytes: int
) -> AsyncGenerator[Part, None]:
    """Each part as soon as it is complete; one part at most is held. Raises as `parse_parts`, and `BodyTooLarge` for a
    part of more than `max_part_bytes`."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise Malformed.of("Content-Type", content_type, reason="multipart/form-data needs a boundary")
    collector = _Collector(max_parts, max_part_bytes)
    parser = MultipartParser(boundary, collector.callbacks())
    async for chunk in chunks:
        try:
            parser.write(chunk)
        except FormParserError as error:
            raise Malformed.of(FIELD, reason="the multipart body is malformed") from error
        for part in collector.taken():
            yield part
    if not collector.complete:
        raise Malformed.of(FIELD, reason="the multipart body is cut short: no closing boundary")


class _Collector:
    """Receives what the parser finds."""

    def __init__(self, max_parts: int, max_part_bytes: float = math.inf) -> None:
        self.parts: list[Part] = []
        self.complete = False
        self._max_parts, self._max_part_bytes = max_parts, max_part_bytes
        self._begun = self._size = 0
        self._header = b""
        self._value = b""
        self._disposition = b""
        self._pieces: list[bytes] = []

    def taken(self) -> list[Part]:
        """The parts that have become complete since this was last asked."""
        parts, self.parts = self.parts, []
        return parts

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        self._begun += 1
        self._size = 0
        if self._begun > self._max_parts:
            raise Malformed(details=(detail(FIELD, None, self._max_parts, "the multipart body has too many parts"),))
        self._header = self._value = self._disposition = b""
        self._pieces = []

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._size > self._max_part_bytes:
            reason = f"one part has more than {self._max_part_bytes} bytes"
            raise BodyTooLarge.of(FIELD, f"{self._size} bytes or more", self._max_part_bytes, reason)
        self._pieces.append(data[start:end])

    def _on_part_end(self) -> None:
        name = parse_options_header(self._disposition)[1].get(b"name")
        if not name:
            raise Malformed.of(FIELD, reason="a part of the multipart body has no name")
        self.parts.append(Part(name.decode("utf-8", "replace"), b"".join(self._pieces)))

    def _on_end(self) -> None:
        self.complete = True
