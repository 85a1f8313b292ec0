"""The rules of prompts about one image, which hold at the gateway's door and again at a service's: its callers may be
others. Prompts in whichever form they are there, every fault out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.errors import SHOWN_DETAILS, Detail, InvalidOption, detail

Pairs = Sequence[Sequence[float]] | NDArray[np.floating[Any]]
"""Nx2, xy."""


class Bounds(NamedTuple):
    """What prompts must keep to: (width, height) of the upright image in pixels, and whether the model takes text."""

    size: tuple[int, int]
    text: bool


class Asked(NamedTuple):
    """What of a prompt there are rules about. `labels` None: every point is inside the object."""

    points: Pairs = ()
    labels: Sequence[int] | None = None
    box: Sequence[float] | None = None
    mask: bool = False
    text: str | None = None


def check_prompts(prompts: Iterable[Asked], bounds: Bounds) -> None:
    """Raises `InvalidOption` that names every prompt at fault, and each field of it."""
    found = (problem for index, prompt in enumerate(prompts) for problem in _problems(prompt, index, bounds))
    if problems := list(islice(found, SHOWN_DETAILS)):
        raise InvalidOption.about(problems)


def _problems(prompt: Asked, index: int, bounds: Bounds) -> Iterator[Detail]:
    name, points, box = f"prompts[{index}]", prompt.points, prompt.box
    if not len(points) and box is None and not prompt.mask and prompt.text is None:
        yield detail(name, None, "points, box, mask or text", "a prompt needs at least one of these")
    labels = prompt.labels
    if labels is not None and len(labels) != len(points):
        yield detail(f"{name}.labels", f"{len(labels)} labels", f"{len(points)} points", "one label a point")
    if labels is not None and not {0, 1}.issuperset(labels):
        yield detail(f"{name}.labels", None, "0 or 1", "a label is 1 (inside) or 0 (outside)")
    if prompt.text is not None and not bounds.text:
        yield detail(f"{name}.text", prompt.text, "points, box, mask", "this model takes no text")
    if box is not None and not (box[0] < box[2] and box[1] < box[3]):
        yield detail(f"{name}.box", box, "x0 < x1 and y0 < y1", "a box is [x0, y0, x1, y1] with an area")
    for number, place, value in _outside(points, bounds.size):
        yield _beyond(f"{name}.points[{number}][{place}]", place, value, bounds.size)
    for side, value in enumerate(box or ()):
        if not 0 <= value <= bounds.size[side % 2]:
            yield _beyond(f"{name}.box[{side}]", side % 2, value, bounds.size)


def _outside(points: Pairs, size: tuple[int, int]) -> Iterator[tuple[int, int, float]]:
    """(point, 0 for x or 1 for y, value) of each coordinate outside an image of (width, height)."""
    if len(points):
        found = np.asarray(points)
        inside = (found >= 0) & (found <= size)
        for number, place in () if inside.all() else np.argwhere(~inside).tolist():
            yield number, place, found[number, place].item()


def _beyond(name: str, place: int, value: float, size: tuple[int, int]) -> Detail:
    limit = f"{'xy'[place]} from 0 to {size[place]} in an image of {size[0]}x{size[1]}"
    return detail(name, value, limit, "outside the image")
