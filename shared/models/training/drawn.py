"""A split in, the same split with a few drawn streets appended out, so that the network knows the pictures that the
project draws for its README, its tests and its benchmarks.
"""

from __future__ import annotations

import torch

from shared.imaging.sample import street_scene
from shared.models.training.data import Components, Split, index_components

FIRST_SEED = 1_000_000
"""Far from the seeds that tests and pictures use: those stay unseen."""


def with_drawings(split: Split, count: int = 16) -> Split:
    """`split` and `count` drawn streets of its size behind it, on its device."""
    height, width = split.labels.shape[-2:]
    scenes = [street_scene(width, height, FIRST_SEED + i) for i in range(count)]
    numbers, table = index_components([labels for _, labels in scenes])
    there = split.components
    columns = {name: getattr(table, name) for name in Components.__dataclass_fields__}
    columns["image"] = columns["image"] + len(split.photos)
    joined = Components(*(torch.cat([getattr(there, name), column]) for name, column in columns.items()))
    device = split.photos.device
    photos = torch.stack([torch.from_numpy(pixels).permute(2, 0, 1) for pixels, _ in scenes]).to(device)
    labels = torch.stack([torch.from_numpy(labels) for _, labels in scenes]).to(device)
    return Split(
        (*split.names, *(f"drawn-{i}" for i in range(count))),
        torch.cat([split.photos, photos]),
        torch.cat([split.labels, labels]),
        torch.cat([split.numbers, torch.from_numpy(numbers).to(device)]),
        joined,
    )
