"""An AVIF file in, the sizes of the AV1 pictures coded in it out: what a decoder will really allocate.

The size that the file's header names is only a note: libavif decodes whatever the coded data holds and scales it. Read
here: where the items lie (ISO/IEC 14496-12, `iinf` and `iloc`) and the sequence headers of each (AV1, 5.5).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_SEQUENCE_HEADER = 1
_MAX_ITEMS = 4096
_IN_FILE, _IN_META = 0, 1


@dataclass(slots=True)
class _Bits:
    """Numbers of any width read off bytes, most significant bit first. Raises `ValueError` past the end."""

    data: bytes
    position: int = 0

    def read(self, width: int) -> int:
        end = self.position + width
        if end > 8 * len(self.data):
            raise ValueError("the data end too early")
        last = (end + 7) // 8
        value = int.from_bytes(self.data[self.position // 8 : last], "big") >> (8 * last - end)
        self.position = end
        return value & ((1 << width) - 1)


def coded_sizes(data: bytes) -> list[tuple[int, int]]:
    """Width and height of every picture among a still AVIF's items: the image, its alpha, grids, tiles, thumbnails.

    Raises `ValueError` for a file that is not laid out as the standards say, and for one with tracks (animations).
    """
    if any(name == b"moov" for name, _, _ in _boxes(data, 0, len(data))):
        raise ValueError("the file holds tracks")
    start, end = _child(data, b"meta", 0, len(data))
    inner = {name: (at, stop) for name, at, stop in _boxes(data, start + 4, end)}
    if not {b"iinf", b"iloc"} <= inner.keys():
        raise ValueError("items are not described")
    kinds = dict(_item_kinds(data, *inner[b"iinf"]))
    sizes = []
    for item, content in _items(data[slice(*inner[b"iloc"])], data, inner.get(b"idat", (0, 0)), kinds):
        if kinds[item] == b"av01":
            sizes += _sequence_sizes(content)
        elif kinds[item] == b"grid":
            sizes.append(_grid_size(_Bits(content)))
    return sizes


def _boxes(data: bytes, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the contents of each box in a row of boxes."""
    while position + 8 <= end:
        size, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        header = 8
        if size == 1:
            size, header = int.from_bytes(data[position + 8 : position + 16], "big"), 16
        stop = end if size == 0 else position + size
        if (size != 0 and size < header) or stop > end:
            raise ValueError("a box is longer than what holds it")
        yield name, position + header, stop
        position = stop


def _child(data: bytes, name: bytes, start: int, end: int) -> tuple[int, int]:
    for found, at, stop in _boxes(data, start, end):
        if found == name:
            return at, stop
    raise ValueError(f"there is no box {name.decode()}")


def _item_kinds(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Number and type of each item that an `iinf` box lists."""
    first = start + (8 if data[start : start + 1] not in (b"", b"\0") else 6)
    for name, at, stop in _boxes(data, first, end):
        bits = _Bits(data[at:stop])
        version, _flags = bits.read(8), bits.read(24)
        if name != b"infe" or version not in (2, 3):
            raise ValueError("an item is not described as version 2 or 3 does")
        number, _protection = bits.read(32 if version == 3 else 16), bits.read(16)
        yield number, bits.read(32).to_bytes(4, "big")


def _items(
    location: bytes, data: bytes, kept: tuple[int, int], kinds: Mapping[int, bytes]
) -> Iterator[tuple[int, bytes]]:
    """Number and contents of every item of known type in an `iloc` box. `kept`: the bounds of `idat`."""
    bits = _Bits(location)
    version, _flags = bits.read(8), bits.read(24)
    offset_size, length_size, base_size, index_size = (8 * bits.read(4) for _ in range(4))
    number_size = 32 if version == 2 else 16
    count = bits.read(number_size)
    if version > 2 or count > _MAX_ITEMS:
        raise ValueError(f"{count} items in an item location box of version {version}")
    budget = 2 * len(data)
    for _ in range(count):
        number = bits.read(number_size)
        method = bits.read(16) & 15 if version else _IN_FILE
        _reference, base = bits.read(16), bits.read(base_size)
        start, end = {_IN_FILE: (0, len(data)), _IN_META: kept}.get(method, (0, 0))
        pieces = []
        for _ in range(bits.read(16)):
            _index = bits.read(index_size) if version else 0
            at, length = start + base + bits.read(offset_size), bits.read(length_size)
            pieces.append(data[at : min(at + length, end) if length else end])
            budget -= len(pieces[-1])
        if budget < 0:
            raise ValueError("items share their data")
        if number in kinds:
            yield number, b"".join(pieces)


def _grid_size(bits: _Bits) -> tuple[int, int]:
    _version, flags, _rows, _columns = (bits.read(8) for _ in range(4))
    width = 32 if flags & 1 else 16
    return bits.read(width), bits.read(width)


def _sequence_sizes(item: bytes) -> list[tuple[int, int]]:
    """The largest frame that each sequence header of an AV1 picture permits; there is at least one."""
    sizes = []
    position = 0
    while position < len(item):
        header = item[position]
        position += 1 + (header >> 2 & 1)
        size, position = _leb128(item, position) if header & 2 else (len(item) - position, position)
        if position + size > len(item):
            raise ValueError("the data end too early")
        if header >> 3 & 15 == _SEQUENCE_HEADER:
            sizes.append(_frame_size(_Bits(item[position : position + size])))
        position += size
    if not sizes:
        raise ValueError("a picture has no sequence header")
    return sizes


def _frame_size(bits: _Bits) -> tuple[int, int]:
    bits.read(3 + 1)  # profile, still picture
    if bits.read(1):  # reduced header, as still pictures have it
        bits.read(5)
    else:
        _pass_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return bits.read(width_bits) + 1, bits.read(height_bits) + 1


def _pass_operating_points(bits: _Bits) -> None:
    if bits.read(1):
        raise ValueError("a still picture has timing information")
    delayed = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if delayed and bits.read(1):
            bits.read(4)


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    """A number in seven-bit groups, and the position after it."""
    value = 0
    for index in range(8):
        if position >= len(data):
            raise ValueError("the data end too early")
        value |= (data[position] & 0x7F) << 7 * index
        position += 1
        if not data[position - 1] & 0x80:
            break
    return value, position
