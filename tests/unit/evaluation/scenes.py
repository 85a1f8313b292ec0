"""Random scenes of rectangles: label maps with void, id maps with segments, objects; what metrics are compared on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from shared.types import BoolArray, Int32Array, UInt8Array

VOID = 255


@dataclass
class Scene:
    """Labels HxW with void; ids HxW (0 = void), and the class of each id."""

    labels: UInt8Array
    ids: Int32Array
    classes: dict[int, int] = field(default_factory=dict)

    def masks(self) -> dict[int, BoolArray]:
        """The mask of each id that is to be seen."""
        return {number: self.ids == number for number in self.classes if (self.ids == number).any()}


def random_scene(random: np.random.Generator, classes: int, size: tuple[int, int] = (48, 64), count: int = 12) -> Scene:
    """Rectangles of random classes over each other; some of them void."""
    height, width = size
    scene = Scene(np.full(size, VOID, np.uint8), np.zeros(size, np.int32))
    for number in range(1, count + 1):
        top, left = int(random.integers(height - 4)), int(random.integers(width - 4))
        part = np.s_[top : top + int(random.integers(4, height)), left : left + int(random.integers(4, width))]
        label = int(random.integers(classes + 1))
        scene.labels[part] = VOID if label == classes else label
        scene.ids[part] = 0 if label == classes else number
        if label < classes:
            scene.classes[number] = label
    present = set(np.unique(scene.ids).tolist())
    scene.classes = {number: label for number, label in scene.classes.items() if number in present}
    return scene


def disturbed(scene: Scene, random: np.random.Generator, classes: int) -> Scene:
    """Another scene like it: shifted a little, some segments of another class, some merged, some gone."""
    down, right = (int(value) for value in random.integers(-3, 4, 2))
    labels = np.roll(scene.labels, (down, right), (0, 1))
    ids = np.roll(scene.ids, (down, right), (0, 1))
    changed = dict(scene.classes)
    for number in list(changed):
        fate = random.random()
        mask = ids == number
        if fate < 0.15:
            ids[mask], labels[mask] = 0, VOID
            del changed[number]
        elif fate < 0.35:
            changed[number] = int(random.integers(classes))
            labels[mask] = changed[number]
    return Scene(labels, ids, changed)
