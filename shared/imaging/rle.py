"""Masks in, COCO's compressed run-length strings out, and back: bit-exact with pycocotools.

Runs are read off the crop of a region, or are what it holds; a full-size mask is never made. The format is that of
`maskApi.c` in pycocotools: column-major run lengths that begin with zeros, each from the third on as its difference to
the last but one, in groups of five bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from shared.errors import InvalidOption
from shared.imaging.runs import runs_of
from shared.types import BoolArray, Int64Array, Region

MAX_PIXELS = 2**28
"""Largest mask that `decode` makes."""


class Rle(TypedDict):
    """`size` is [H, W]; `counts` COCO's compressed string."""

    size: list[int]
    counts: str


def encode(region: Region) -> Rle:
    """The region as COCO RLE of the whole image's size."""
    height, width = region.size
    counts = _counts(*_runs_of(region), height * width).tolist()
    packed = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": packed["counts"].decode("ascii")}


def area(rle: Rle) -> int:
    """Number of set pixels, read off the string; `rle` is one of ours or has gone through `decode`."""
    return int(coco_mask.area(rle))


def box(rle: Rle) -> tuple[int, int, int, int]:
    """Tight box, xyxy, half-open, in pixels; zeros for an empty mask."""
    x, y, width, height = (int(value) for value in coco_mask.toBbox(rle))
    return x, y, x + width, y + height


def decode(rle: Mapping[str, Any]) -> BoolArray:
    """The mask, HxW bool, of a compressed (`counts` text) or uncompressed (`counts` a list) COCO RLE.

    Raises `InvalidOption` for a size that is none, for text that is no RLE, and where the runs do not fill the size.
    """
    height, width = _checked_size(rle.get("size"))
    counts = _parsed(rle.get("counts"))
    if counts.size == 0 or counts.min() < 0 or counts.sum() != height * width:
        raise InvalidOption.of("counts", rle.get("counts"), height * width, "The runs do not fill the mask's size.")
    columns = np.repeat((np.arange(counts.size) & 1).astype(np.uint8), counts).reshape(width, height)
    return np.asarray(cv2.transpose(columns), dtype=np.uint8).view(np.bool_)


def _runs_of(region: Region) -> tuple[Int64Array, Int64Array]:
    """Starts and ends of the region's runs in the column-major order of the whole image."""
    runs = runs_of(region)
    if not runs.starts.size:
        return runs.starts, runs.ends
    height, _ = region.size
    rows, _ = runs.shape
    column = runs.starts // rows
    starts = runs.starts + column * (height - rows) + (region.x0 * height + region.y0)
    ends = starts + (runs.ends - runs.starts)
    apart = starts[1:] != ends[:-1]  # where the crop is as high as the image, a run may go on in the next column
    return starts[np.concatenate([[True], apart])], ends[np.concatenate([apart, [True]])]


def _counts(starts: Int64Array, ends: Int64Array, total: int) -> Int64Array:
    """Run lengths, zeros first, from the set runs; COCO writes no empty run at the end."""
    edges = np.empty(2 * starts.size + 2, np.int64)
    edges[0], edges[-1] = 0, total
    edges[1:-1:2], edges[2:-1:2] = starts, ends
    counts = np.diff(edges)
    return counts[:-1] if starts.size and counts[-1] == 0 else counts


def _checked_size(size: Any) -> tuple[int, int]:
    pair = list(size) if isinstance(size, list | tuple) else []
    if len(pair) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in pair):
        raise InvalidOption.of("size", size, "[height, width]", "The size must be two positive whole numbers.")
    if pair[0] * pair[1] > MAX_PIXELS:
        raise InvalidOption.of("size", size, MAX_PIXELS, f"The mask has more than {MAX_PIXELS} pixels.")
    return pair[0], pair[1]


def _parsed(counts: Any) -> Int64Array:
    """Run lengths of either notation; unchecked but for being numbers."""
    if isinstance(counts, list) and all(isinstance(run, int) and abs(run) <= MAX_PIXELS for run in counts):
        return np.array(counts, np.int64)
    text = counts.encode("utf-8", "surrogatepass") if isinstance(counts, str) else counts
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48 if isinstance(text, bytes) else np.zeros(0, np.int64)
    ends = np.flatnonzero((codes & 32) == 0)
    widths = np.diff(ends, prepend=-1)
    if ends.size == 0 or ends[-1] != codes.size - 1 or codes.min() < 0 or codes.max() > 63 or widths.max() > 7:
        raise InvalidOption.of("counts", counts, reason="This is no COCO run-length string.")
    place = np.arange(codes.size) - np.repeat(ends - widths + 1, widths)
    differences = np.add.reduceat((codes & 31) << (5 * place), ends - widths + 1)
    negative = (codes[ends] & 16) != 0
    differences[negative] -= np.int64(1) << (5 * widths[negative])
    return _undo_differences(differences)


def _undo_differences(differences: Int64Array) -> Int64Array:
    """Counts from the third on (index 3 and later) were written as differences to the last but one."""
    counts = differences.copy()
    counts[1::2] = np.cumsum(differences[1::2])
    counts[2::2] = np.cumsum(differences[2::2])
    return counts
