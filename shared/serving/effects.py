"""Masks and an image in, pictures out: `cutout` (one PNG, or a zip of one an object), `blur`, `replace`, `recolor`.

Every task's masks come here as (name, region) pairs, one at a time where they may be many.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

import numpy as np

from shared.calls import Answer, Effect, Format
from shared.errors import InvalidOption, told_of
from shared.imaging import cutout as imaging
from shared.imaging.compose import encode_picture
from shared.serving.answers import picture_answer
from shared.types import Region, UInt8Array

EFFECTS: tuple[Format, ...] = ("cutout", "blur", "replace", "recolor")
ZIP = "application/zip"
MAX_ZIP_PIXELS = 2**28
"""Most pixels that the boxes of all cut-outs of one answer may have together."""
Named = tuple[str, Region]
"""An object: what its file is called, and its mask."""
Decode = Callable[[bytes], UInt8Array]


def effect_answer(form: Format, effect: Effect, pixels: UInt8Array, objects: Iterable[Named], decode: Decode) -> Answer:
    """The picture of these objects. `decode` reads the second image of `replace`. Runs for up to seconds: in a thread.

    Without an object the picture shows none: nothing is cut out, all is background, nothing is dyed.
    """
    if form == "cutout" and effect.packing != "one":
        rest = iter(objects)
        first = list(islice(rest, 2))
        if effect.packing == "zip" or len(first) > 1:
            return Answer(_zipped(pixels, chain(first, rest), effect), ZIP, ATTACHED)
        objects = first
    size = (int(pixels.shape[0]), int(pixels.shape[1]))
    subject = imaging.subject_of(pixels, union(size, (region for _, region in objects)), matted=effect.matting)
    return picture_answer(encode_picture(_picture(form, effect, pixels, subject, decode), "png"))


ATTACHED = (("Content-Disposition", 'attachment; filename="cutouts.zip"'),)


def union(size: tuple[int, int], regions: Iterable[Region]) -> Region:
    """All of them as one mask on an image of `size` (H, W)."""
    mask = np.zeros(size, dtype=np.bool_)
    for region in regions:
        x0, y0, x1, y1 = region.box
        mask[y0:y1, x0:x1] |= region.bits
    return Region.from_mask(mask)


def _picture(form: Format, effect: Effect, pixels: UInt8Array, subject: imaging.Subject, decode: Decode) -> UInt8Array:
    if form == "cutout":
        return imaging.cutout(subject)
    if form == "blur":
        return imaging.blur(pixels, subject, imaging.BLUR if effect.blur_strength is None else effect.blur_strength)
    if form == "recolor" and effect.color is not None:
        return imaging.recolor(pixels, subject, effect.color, imaging.TINT if effect.tint is None else effect.tint)
    if form == "replace" and effect.background_image is not None:
        with told_of(effect.background_field):
            behind = decode(effect.background_image)
        return imaging.replace(subject, behind)
    if form == "replace" and effect.background is not None:
        return imaging.replace(subject, effect.background)
    raise InvalidOption.of("format", form, ", ".join(EFFECTS), "an effect without its colour or background")


def _zipped(pixels: UInt8Array, objects: Iterable[Named], effect: Effect) -> bytes:
    """Each object as a tight PNG, numbered in their order; PNG is packed already, so the archive only stores."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for number, (name, region) in enumerate(_bounded(objects), 1):
            subject = imaging.subject_of(pixels, region, matted=effect.matting)
            file = f"{number:03d}-{re.sub(r'[^A-Za-z0-9.]+', '-', name).strip('-') or 'object'}.png"
            archive.writestr(zipfile.ZipInfo(file), encode_picture(imaging.cutout(subject, tight=True), "png"))
    return buffer.getvalue()


def _bounded(objects: Iterable[Named]) -> Iterator[Named]:
    total = 0
    for name, region in objects:
        total += math.prod(region.bits.shape)
        if total > MAX_ZIP_PIXELS:
            reason = "too many cut-outs of this size in one answer: choose fewer masks"
            raise InvalidOption.of("format", f"{total} pixels or more", MAX_ZIP_PIXELS, reason)
        if not region.empty:
            yield name, region
