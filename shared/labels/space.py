"""A space's YAML file in, its labels by index and by name out: what a pixel's value means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from shared.errors import InvalidOption
from shared.types import VOID_8, VOID_16, UInt8Array

SPACES = Path(__file__).parent / "spaces"
Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Label:
    """One class. `id` is its index in the space and its value in label maps; `color` is RGB."""

    id: int
    name: str
    color: Color
    isthing: bool
    category_id: int | None = None
    """The data set's own number, where it differs from the index (COCO, Cityscapes)."""
    also: tuple[str, ...] = ()
    """Names of other spaces that fall within this label; `*` stands for every name not taken otherwise."""


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """The classes of a data set or model, by index."""

    name: str
    labels: tuple[Label, ...]
    void_color: Color = (0, 0, 0)
    _ids: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ids = {label.name.casefold(): label.id for label in self.labels}
        if len(ids) != len(self.labels) or [label.id for label in self.labels] != list(range(len(self.labels))):
            raise ValueError(f"label space {self.name}: names must differ, and ids count from 0")
        object.__setattr__(self, "_ids", ids)

    @property
    def void(self) -> int:
        """The value of pixels without a label: 255, or 65535 where ids need 16 bits."""
        return VOID_8 if len(self.labels) <= VOID_8 else VOID_16

    @property
    def names(self) -> tuple[str, ...]:
        """Names by id."""
        return tuple(label.name for label in self.labels)

    @property
    def things(self) -> frozenset[int]:
        """Ids of the countable classes."""
        return frozenset(label.id for label in self.labels if label.isthing)

    def id_of(self, name: str) -> int:
        """The id of a class by its name, upper and lower case alike. Raises `InvalidOption` that lists near names."""
        found = self._ids.get(name.strip().casefold())
        if found is None:
            raise _unknown("classes", name, self.names, f"{self.name} has no class of this name")
        return found

    def category_id(self, label_id: int) -> int:
        """The data set's own number of a label; its id where the data set has no other."""
        number = self.labels[label_id].category_id
        return label_id if number is None else number

    def palette(self) -> UInt8Array:
        """Colours by pixel value, 256x3 uint8 RGB: the labels', then black, and the void colour last."""
        colors = np.zeros((256, 3), dtype=np.uint8)
        shown = self.labels[:VOID_8]
        colors[: len(shown)] = [label.color for label in shown]
        colors[VOID_8] = self.void_color
        return colors


@cache
def label_spaces() -> tuple[str, ...]:
    """The names of all spaces, sorted."""
    return tuple(sorted(path.stem for path in SPACES.glob("*.yaml")))


@cache
def label_space(name: str) -> LabelSpace:
    """The space of this name. Raises `InvalidOption` that lists near names."""
    if name not in label_spaces():
        raise _unknown("label_space", name, label_spaces(), "there is no such label space")
    return parse_space(yaml.load((SPACES / f"{name}.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader))


def parse_space(data: Mapping[str, Any]) -> LabelSpace:
    """A space from the data of its YAML file. Raises `ValueError`, `KeyError` or `TypeError` where it is not sound."""
    labels = tuple(
        Label(
            index,
            str(entry["name"]),
            _color(entry["color"]),
            bool(entry["isthing"]),
            entry.get("category_id"),
            tuple(entry.get("also", ())),
        )
        for index, entry in enumerate(data["labels"])
    )
    return LabelSpace(str(data["name"]), labels, _color(data["void_color"]))


def _color(values: list[int]) -> Color:
    red, green, blue = values
    if not all(0 <= value <= 255 for value in values):
        raise ValueError(f"a colour has values from 0 to 255, not {values}")
    return red, green, blue


def _unknown(field_name: str, value: str, known: tuple[str, ...], reason: str) -> InvalidOption:
    near = get_close_matches(value.strip().casefold(), known, n=5, cutoff=0.5)
    limit = ", ".join(near) if near else f"one of {len(known)}: {', '.join(known[:20])}{' ...' * (len(known) > 20)}"
    hint = f": did you mean {', '.join(near)}?" if near else ""
    return InvalidOption.of(field_name, value, limit, f"{reason}{hint}")
