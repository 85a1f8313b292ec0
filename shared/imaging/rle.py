"""Masks in, COCO's compressed run-length strings out, and back: bit-exact with pycocotools.

Runs are read off the crop of a region, or off a whole label map for all of its labels at once; a full-size mask per
label is never made. The format is that of `maskApi.c` in pycocotools: column-major run lengths that begin with zeros,
each from the third on as its difference to the last but one, in groups of five bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from shared.errors import InvalidOption
from shared.imaging.label_runs import LabelRuns
from shared.imaging.runs import runs_of
from shared.types import BoolArray, IdArray, Int64Array, LabelArray, Region

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


def encode_labels(labels: LabelArray | IdArray | LabelRuns, ids: Iterable[int] | None = None) -> dict[int, Rle]:
    """One RLE for every label that occurs in an HxW label (or panoptic id) map, or in its runs, in one pass over it.

    `ids` limits the answer to these labels (leave void out this way); None takes every value. Keys are ascending.
    """
    runs = labels if isinstance(labels, LabelRuns) else LabelRuns.of(labels)
    height, width = runs.size
    wanted = np.ones(runs.labels.size, np.bool_) if ids is None else np.isin(runs.labels, list(ids))
    if not wanted.any():
        return {}
    starts, ends, first = _joined(runs, wanted)
    counts, lengths = _counts_of_groups(starts, ends, first, height * width)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    text, widths = _compress_groups(counts, offsets)
    stops = np.cumsum(np.add.reduceat(widths, offsets[:-1]))
    pieces = (text[start:stop] for start, stop in zip([0, *stops.tolist()], stops.tolist(), strict=False))
    return {
        int(value): {"size": [height, width], "counts": piece.decode("ascii")}
        for value, piece in zip(runs.labels[wanted], pieces, strict=True)
    }


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


def _joined(runs: LabelRuns, wanted: BoolArray) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Starts and ends of the runs of the `wanted` labels, label by label, those that go on in the next column as one;
    and where the runs of each label begin."""
    kept, many = np.repeat(wanted, runs.many), runs.many[wanted]
    starts, ends = runs.starts[kept], runs.ends[kept]
    first = np.cumsum(many) - many
    begins = np.append(True, starts[1:] != ends[:-1])
    begins[first] = True
    return starts[begins], ends[np.append(begins[1:], True)], np.cumsum(begins)[first] - 1


def _counts(starts: Int64Array, ends: Int64Array, total: int) -> Int64Array:
    """Run lengths, zeros first, from the set runs; COCO writes no empty run at the end."""
    edges = np.empty(2 * starts.size + 2, np.int64)
    edges[0], edges[-1] = 0, total
    edges[1:-1:2], edges[2:-1:2] = starts, ends
    counts = np.diff(edges)
    return counts[:-1] if starts.size and counts[-1] == 0 else counts


def _counts_of_groups(
    starts: Int64Array, ends: Int64Array, first: Int64Array, total: int
) -> tuple[Int64Array, Int64Array]:
    """`_counts` of several labels at once: all counts in a row, and how many belong to each label.

    `first` holds the index of each label's first run.
    """
    previous = np.concatenate([[0], ends[:-1]])
    previous[first] = 0
    pairs = np.stack([starts - previous, ends - starts], axis=1).reshape(-1)
    last = np.append(first[1:], starts.size) - 1
    rest = total - ends[last]
    open_end = rest > 0
    counts = np.insert(pairs, 2 * (last[open_end] + 1), rest[open_end])
    return counts, 2 * np.diff(np.append(first, starts.size)) + open_end


def _compress_groups(counts: Int64Array, offsets: Int64Array) -> tuple[bytes, Int64Array]:
    """The strings of several masks in a row, and the characters that each count takes.

    `offsets` holds where each mask's counts begin, and their end.
    """
    rest = counts.copy()
    rest[2:] -= counts[:-2]
    # Each mask's first three counts are written as they are; past a shorter mask lie the first ones of the next.
    whole = (offsets[:-1, None] + np.arange(3)).reshape(-1)
    whole = whole[whole < counts.size]
    rest[whole] = counts[whole]
    groups = np.zeros((counts.size, 7), np.uint8)
    widths = np.ones(counts.size, np.int64)
    active = np.arange(counts.size)
    for group in range(7):
        values = rest[active]
        low, high = values & 31, values >> 5
        more = high != np.where(low & 16, -1, 0)
        groups[active, group] = low + 48 + 32 * more
        active = active[more]
        if active.size == 0:
            break
        rest[active] = high[more]
        widths[active] += 1
    return groups[np.arange(7) < widths[:, None]].tobytes(), widths


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
