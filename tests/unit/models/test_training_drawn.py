"""Drawn streets behind a split: its own photos stay as they were, and every component points into its own picture."""

from __future__ import annotations

from pathlib import Path

import torch

from shared.imaging.sample import street_scene
from shared.models.training.augment import Recipe, Sampler
from shared.models.training.data import read_split
from shared.models.training.drawn import FIRST_SEED, with_drawings
from tests.unit.models.test_training_data import write_split


def test_drawings_are_appended_with_their_components(tmp_path: Path) -> None:
    write_split(tmp_path, 2, (96, 128))
    split = read_split(tmp_path, "train")
    count = len(split.photos)
    joined = with_drawings(split, 3)
    assert len(joined.names) == len(joined.photos) == len(joined.labels) == len(joined.numbers) == count + 3
    assert torch.equal(joined.photos[:count], split.photos)
    assert torch.equal(joined.components.area[: len(split.components)], split.components.area)
    pixels, labels = street_scene(128, 96, FIRST_SEED + 1)
    assert torch.equal(joined.photos[count + 1], torch.from_numpy(pixels).permute(2, 0, 1))
    assert torch.equal(joined.labels[count + 1], torch.from_numpy(labels))
    table = joined.components
    for row in torch.nonzero(table.image >= count).flatten().tolist():
        here = joined.numbers[table.image[row]] == table.number[row]
        assert int(here.sum()) == int(table.area[row])
        assert bool((joined.labels[table.image[row]][here] == table.label[row]).all())
    batch = Sampler(joined).batch(4, Recipe(sizes=((64, 80),)))
    assert batch.pixels.shape == (4, 3, 64, 80)
