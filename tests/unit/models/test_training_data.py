"""Reading, components, and augmentation of training data, on drawn streets."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from shared.imaging.sample import street_scene
from shared.models.training.augment import MIXED, PASTED, RARE, Recipe, Sampler, cutmix, letterbox, photometric
from shared.models.training.data import MIN_COMPONENT, VOID, Split, class_weights, innermost, read_split


def write_split(folder: Path, count: int = 3, size: tuple[int, int] = (96, 128)) -> None:
    """`count` drawn streets as a CamVid-like split."""
    for kind in ("images", "labels"):
        (folder / "train" / kind).mkdir(parents=True)
    for seed in range(count):
        pixels, labels = street_scene(size[1], size[0], seed)[:2]
        cv2.imwrite(str(folder / "train" / "images" / f"{seed:02}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        cv2.imwrite(str(folder / "train" / "labels" / f"{seed:02}.png"), labels)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    write_split(tmp_path)
    return read_split(tmp_path, "train")


def test_a_split_is_read_with_its_components(split: Split) -> None:
    pixels, labels = street_scene(128, 96, 1)[:2]
    assert split.names == ("00", "01", "02")
    assert np.array_equal(split.photos[1].permute(1, 2, 0).numpy(), pixels)
    assert np.array_equal(split.labels[1].numpy(), labels)
    for row in range(len(split.components)):
        image, number = int(split.components.image[row]), int(split.components.number[row])
        mask = split.numbers[image] == number
        assert int(mask.sum()) == int(split.components.area[row]) >= MIN_COMPONENT
        assert set(split.labels[image][mask].tolist()) == {int(split.components.label[row])}


def test_a_subset_keeps_what_belongs_to_its_photos(split: Split) -> None:
    part = split.subset([2, 0])
    assert part.names == ("02", "00")
    assert torch.equal(part.photos[1], split.photos[0])
    assert set(part.components.image.tolist()) == {0, 1}
    first = part.components.select(part.components.image == 1)
    assert torch.equal(first.area, split.components.select(split.components.image == 0).area)


def test_a_sequence_is_held_out_by_its_name(split: Split) -> None:
    rest, held = split.held_out("01")
    assert (rest.names, held.names) == (("00", "02"), ("01",))
    assert torch.equal(held.photos[0], split.photos[1])
    for sequence in ("0", "1"):
        with pytest.raises(ValueError, match=f"{sequence} is not one of several sequences here: 00, 01, 02"):
            split.held_out(sequence)


def test_missing_and_unequal_files_are_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no photos"):
        read_split(tmp_path, "train")
    write_split(tmp_path)
    cv2.imwrite(str(tmp_path / "train" / "labels" / "01.png"), np.zeros((10, 10), np.uint8))
    with pytest.raises(ValueError, match="one size"):
        read_split(tmp_path, "train")
    (tmp_path / "train" / "labels" / "01.png").unlink()
    with pytest.raises(FileNotFoundError, match="01"):
        read_split(tmp_path, "train")


def test_the_innermost_point_counts_the_border_as_outside() -> None:
    mask = np.zeros((21, 31), bool)
    mask[:, :11] = True
    assert innermost(mask) == (10, 5) or innermost(mask)[1] == 5
    mask[:] = True
    row, column = innermost(mask)
    assert row == 10
    assert 10 <= column <= 20


def test_rare_classes_weigh_more() -> None:
    labels = torch.zeros(1, 100, 100, dtype=torch.uint8)
    labels[0, :2] = 9
    labels[0, 2:20] = 3
    labels[0, 99] = VOID
    weights = class_weights(labels)
    assert weights[9] > weights[3] > weights[0]
    assert float(weights.max()) <= 4


PLAIN = Recipe(
    sizes=((96, 128),),
    zoom=(1.0, 1.0),
    seek_rare=0.0,
    paste=0.0,
    weather=0.0,
    rotate=0.0,
    stretch=1.0,
    loose=0.0,
    cutmix=0.0,
)


def test_labels_follow_the_pixels(split: Split) -> None:
    """Paint each photo with its own label: after any geometry the pixels must still say the label."""
    painted = (split.labels[:, None].repeat(1, 3, 1, 1) * 20).to(torch.uint8)
    told = Split(split.names, painted, split.labels, split.numbers, split.components)
    sampler = Sampler(told)
    torch.manual_seed(3)
    images, centres = torch.tensor([0, 1, 2, 2]), torch.rand(4, 2) * 90
    grid = sampler._grid(
        80, 100, centres, torch.tensor([0.5, 1, 2, 1.3]), torch.ones(4), torch.zeros(4), torch.ones(4) * -1
    )
    pixels, labels, _ = sampler._warp(images, grid)
    inside = labels >= 0
    agree = (pixels[:, 0] / 20 - labels).abs() < 0.5
    assert float(agree[inside].float().mean()) > 0.93
    assert bool((~inside).any())


def test_a_batch_has_what_the_losses_need(split: Split) -> None:
    torch.manual_seed(0)
    batch = Sampler(split).batch(8, Recipe(sizes=((64, 80),), zoom=(0.5, 2.0), weather=0.5, paste=1.0, cutmix=0.0))
    assert batch.pixels.shape == (8, 3, 64, 80)
    assert batch.pixels.isfinite().all()
    assert 0 <= float(batch.pixels.min()) <= float(batch.pixels.max()) <= 255
    assert int(batch.labels.min()) >= 0
    assert int(batch.labels.max()) <= VOID
    pasted = batch.numbers >= PASTED
    assert bool(pasted.any())
    assert set(torch.unique(batch.labels[pasted]).tolist()) <= {2, 6, 7, 9, 10}


def test_a_mixed_rectangle_brings_its_labels_and_its_components() -> None:
    torch.manual_seed(0)
    labels = torch.arange(4).view(4, 1, 1).expand(4, 60, 80)
    numbers = torch.where(labels > 0, labels + 5, 0)
    pixels = labels[:, None].expand(4, 3, 60, 80) * 10.0
    mixed, new_labels, new_numbers = cutmix(pixels, labels, numbers, 1.0)
    assert torch.equal(mixed[:, 0], new_labels * 10.0)
    foreign = new_labels != labels
    assert torch.equal(new_labels[foreign], labels.roll(1, 0)[foreign])
    assert (foreign.float().mean((1, 2)) > 0.25**2 * 0.9).all()
    assert (foreign.float().mean((1, 2)) < 0.6**2 * 1.1).all()
    assert torch.equal(new_numbers, torch.where(new_labels > 0, new_labels + 5 + foreign * MIXED, 0))
    assert all(map(torch.equal, cutmix(pixels, labels, numbers, 0.0), (pixels, labels, numbers)))


def test_rare_objects_are_drawn_evenly_by_class(split: Split) -> None:
    torch.manual_seed(0)
    drawn = Sampler(split)._rare_objects(600)
    kinds, counts = torch.unique(drawn.label, return_counts=True)
    assert set(kinds.tolist()) <= set(RARE)
    assert counts.min() > 0.7 * 600 / len(kinds)
    assert (drawn.area >= 60).all()


def test_without_augmentation_every_label_is_of_the_photo(split: Split) -> None:
    torch.manual_seed(1)
    batch = Sampler(split).batch(6, PLAIN)
    whole = {tuple(torch.bincount(labels.flatten().long(), minlength=12).tolist()) for labels in split.labels}
    agree = [tuple(torch.bincount(labels.flatten(), minlength=12).tolist()) in whole for labels in batch.labels]
    assert all(agree)


def test_light_and_weather_stay_in_range_and_padding_is_plain() -> None:
    torch.manual_seed(0)
    pixels = photometric(torch.rand(16, 3, 40, 40), weather=1.0)
    assert pixels.isfinite().all()
    assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
    outside = torch.zeros(16, 40, 40, dtype=torch.bool)
    outside[:, 30:] = True
    boxed = letterbox(pixels * 255, outside)
    assert torch.equal(boxed[:, :, :30], pixels[:, :, :30] * 255)
    assert torch.equal(boxed[:, :, 30:], boxed[:, :, 30:31, :1].expand(-1, -1, 10, 40))
