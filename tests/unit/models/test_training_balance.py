"""Class offsets: they undo a push towards a rare class, and leave a balanced network alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from shared.models.networks.street import StreetNet
from shared.models.training.balance import balance, best_offsets, sampled_logits
from shared.models.training.data import VOID, read_split
from shared.models.training.validate import confusion, predict_logits, scores
from tests.unit.models.test_training_data import write_split


def drawn(pixels: int = 20_000) -> tuple[Tensor, Tensor]:
    """Logits of a fair network, and labels of which class 2 is rare."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 11, (pixels,), generator=generator)
    labels[(labels == 2) & (torch.rand(pixels, generator=generator) < 0.9)] = 1
    logits = 2 * torch.nn.functional.one_hot(labels, 11) + torch.randn(pixels, 11, generator=generator)
    return logits, labels


def miou(logits: Tensor, labels: Tensor) -> float:
    return scores(confusion(logits.argmax(1), labels)).miou


def test_a_push_towards_a_rare_class_is_undone() -> None:
    logits, labels = drawn()
    pushed = logits.clone()
    pushed[:, 2] += 3
    offsets = best_offsets(pushed, labels)
    assert int(offsets.argmin()) == 2
    assert float(offsets[2] - offsets[torch.arange(11) != 2].mean()) < -1.5
    assert miou(pushed + offsets, labels) > miou(pushed, labels) + 0.02
    assert miou(pushed + offsets, labels) > 0.99 * miou(logits + best_offsets(logits, labels), labels)
    assert float(offsets.mean()) == pytest.approx(0, abs=1e-6)


def test_it_lands_in_the_last_bias(tmp_path: Path) -> None:
    write_split(tmp_path, 2, (96, 128))
    split = read_split(tmp_path, "train")
    net = StreetNet().eval()
    logits, labels = sampled_logits(net, split, 1, 5)
    assert len(logits) == len(labels) > 0
    assert int(labels.max()) < VOID
    before = predict_logits(net, split.photos, half=False)
    offsets = torch.tensor(balance(net, split, every=1))
    torch.testing.assert_close(
        predict_logits(net, split.photos, half=False), before + offsets.view(1, -1, 1, 1), rtol=1e-3, atol=2e-3
    )
