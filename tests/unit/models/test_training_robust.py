"""Photos under other conditions: what each does to a grey photo, and that labels stay with their pixels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from shared.models.networks.street import CLASSES, DenseOutput, StreetNet
from shared.models.training.data import Components, Split
from shared.models.training.robust import CONDITIONS, portrait, robustness, under

BRIGHTER = {"haze", "overexposed"}
DARKER = {"night"}


def split(photos: torch.Tensor, labels: torch.Tensor) -> Split:
    none = torch.zeros(0, dtype=torch.long)
    table = Components(none, none, none, none, none.view(0, 1).expand(0, 2), none.view(0, 1).expand(0, 4))
    names = tuple(str(i) for i in range(len(photos)))
    return Split(names, photos, labels, torch.zeros_like(labels, dtype=torch.int16), table)


@pytest.fixture
def some() -> Split:
    generator = torch.Generator().manual_seed(3)
    photos = torch.randint(60, 140, (3, 3, 48, 80), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 12, (3, 48, 80), generator=generator, dtype=torch.uint8)
    return split(photos, labels)


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_changes_pixels_only_and_the_same_each_time(some: Split, name: str) -> None:
    changed = under(some, CONDITIONS[name], batch=2)
    assert changed.photos.shape == some.photos.shape
    assert changed.photos.dtype == torch.uint8
    assert not torch.equal(changed.photos, some.photos)
    assert torch.equal(changed.labels, some.labels)
    assert torch.equal(changed.photos, under(some, CONDITIONS[name], batch=2).photos)
    light = changed.photos.float().mean() / some.photos.float().mean()
    assert (light > 1.15) == (name in BRIGHTER)
    assert (light < 0.6) == (name in DARKER)


def test_portrait_keeps_the_middle_of_photo_and_labels(some: Split) -> None:
    upright = portrait(some)
    assert upright.photos.shape[-2:] == upright.labels.shape[-2:] == (48, 36)
    assert torch.equal(upright.labels, some.labels[..., 22:58])
    assert torch.equal(upright.photos, some.photos[..., 22:58])


class Thresholds(nn.Module):
    """Tells road from sky by brightness alone: what it knows suffers from light, not from a crop."""

    def forward(self, x: torch.Tensor) -> DenseOutput:
        bright = x.mean(1, keepdim=True)
        logits = torch.full((len(x), len(CLASSES), *x.shape[2:]), -9.0)
        logits[:, :1], logits[:, 3:4] = bright, -bright
        nothing = torch.zeros(len(x), 3, *x.shape[2:])
        return DenseOutput(logits, nothing, nothing[:, :2], logits)


def test_robustness_names_every_condition_and_shows_what_light_costs() -> None:
    labels = torch.zeros(2, 32, 64, dtype=torch.uint8)
    labels[:, 16:] = 3
    photos = torch.where(labels == 0, 150, 60).to(torch.uint8)[:, None].repeat(1, 3, 1, 1)
    found = robustness(Thresholds(), split(photos, labels))
    assert set(found) == {"as taken", "portrait", *CONDITIONS}
    assert found["as taken"] == found["portrait"] == 1.0
    assert found["night"] < 0.6
    assert all(0 <= miou <= 1 for miou in found.values())


def test_the_bundled_network_takes_every_condition(some: Split) -> None:
    torch.manual_seed(0)
    found = robustness(StreetNet().eval(), some)
    assert len(found) == 2 + len(CONDITIONS)
