"""Losses and targets with known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shared.models.networks.street import DenseOutput
from shared.models.networks.street_prompt import PromptOutput
from shared.models.postprocess.centre_grouping import group_instances
from shared.models.training.data import VOID
from shared.models.training.losses import (
    Terms,
    centre_focal,
    dense_loss,
    distilled,
    instance_targets,
    lovasz_softmax,
    offset_l1,
    ohem_cross_entropy,
)
from shared.models.training.prompt import mask_loss


def logits_for(labels: torch.Tensor, strength: float) -> torch.Tensor:
    """Logits [n,11,h,w] that say `labels` with this strength."""
    return torch.nn.functional.one_hot(labels.clamp_max(10), 11).permute(0, 3, 1, 2).float() * strength


def test_perfect_answers_cost_nothing_and_wrong_ones_do() -> None:
    labels = torch.randint(0, 11, (2, 16, 16))
    right, wrong = logits_for(labels, 30.0), logits_for((labels + 1) % 11, 30.0)
    weights = torch.ones(11)
    assert float(ohem_cross_entropy(right, labels, weights)) < 1e-3
    assert float(ohem_cross_entropy(wrong, labels, weights)) == pytest.approx(30, rel=1e-3)
    assert float(lovasz_softmax(right, labels, 2000)) < 1e-3
    assert float(lovasz_softmax(wrong, labels, 2000)) == pytest.approx(1, abs=1e-2)


def test_void_is_ignored() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, 4:] = VOID
    logits = logits_for(torch.zeros(1, 8, 8, dtype=torch.long), 30.0)
    logits[:, :, 4:] = -logits[:, :, 4:]
    assert float(ohem_cross_entropy(logits, labels, torch.ones(11))) < 1e-3
    assert float(lovasz_softmax(logits, labels, 500)) < 1e-3
    everything_void = torch.full_like(labels, VOID)
    assert float(ohem_cross_entropy(logits, everything_void, torch.ones(11))) == 0
    assert float(lovasz_softmax(logits, everything_void)) == 0


def test_easy_pixels_are_left_out() -> None:
    labels = torch.zeros(1, 10, 10, dtype=torch.long)
    logits = logits_for(labels, 30.0)
    logits[0, :, 0] = 0.0
    assert float(ohem_cross_entropy(logits, labels, torch.ones(11), keep=0.05)) == pytest.approx(np.log(11), rel=1e-4)


def test_the_lovasz_loss_is_one_less_the_mean_iou_of_hard_answers() -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (1, 40, 40))
    answer = torch.where(torch.rand(labels.shape) < 0.3, (labels + 1) % 3, labels)
    labels[0, :10] = VOID
    kept = labels != VOID
    ious = [
        float(((answer == v) & (labels == v) & kept).sum() / (((answer == v) | (labels == v)) & kept).sum())
        for v in range(3)
    ]
    found = float(lovasz_softmax(logits_for(answer, 60.0), labels, 200_000))
    assert found == pytest.approx(1 - np.mean(ious), abs=0.01)


def test_a_teacher_that_agrees_costs_nothing() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 11, 6, 8)
    assert float(distilled(logits + 3, logits)) == pytest.approx(0, abs=1e-5)
    assert float(distilled(-logits, logits)) > 0.5


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    labels, numbers = torch.zeros(2, 64, 96, dtype=torch.long), torch.zeros(2, 64, 96, dtype=torch.long)
    labels[0, 8:32, 8:40], numbers[0, 8:32, 8:40] = 8, 1
    labels[0, 8:32, 40:80], numbers[0, 8:32, 40:80] = 8, 2
    labels[1, 40:60, 20:30], numbers[1, 40:60, 20:30] = 9, 1
    labels[1, 0:3, 0:3], numbers[1, 0:3, 0:3] = 10, 2
    return labels, numbers


def test_instance_targets_point_at_centres() -> None:
    targets = instance_targets(*scene())
    assert (targets.centres == 1).sum(dim=(2, 3)).tolist() == [[2, 0, 0], [0, 1, 0]]
    assert targets.centres[0, 0, 4, 5] == 1
    assert targets.offsets[0, :, 2, 2].tolist() == [19.5 - 9.5, 23.5 - 9.5]
    assert bool(targets.inside[0, 2, 2])
    assert not bool(targets.inside[1, 0, 0])


def test_what_the_targets_say_is_grouped_back_into_the_instances() -> None:
    labels, numbers = scene()
    targets = instance_targets(labels, numbers)
    found = group_instances(
        labels[0].numpy().astype(np.uint8),
        np.ones((64, 96), np.float32),
        targets.centres[0].numpy(),
        targets.offsets[0].numpy(),
    )
    assert {instance.region.box for instance in found} == {(8, 8, 40, 32), (40, 8, 80, 32)}


def test_centre_and_offset_losses_vanish_on_their_targets() -> None:
    targets = instance_targets(*scene())
    exact = torch.logit(targets.centres.clamp(1e-6, 1 - 1e-6))
    assert float(centre_focal(torch.where(targets.centres == 1, 20.0, -20.0), targets.centres)) < 1e-3
    assert float(centre_focal(exact, targets.centres)) < float(centre_focal(-exact, targets.centres))
    assert float(offset_l1(targets.offsets, targets)) == 0
    assert float(offset_l1(targets.offsets + 16, targets)) == pytest.approx(1.0)


def test_the_dense_loss_has_a_gradient_in_every_head() -> None:
    labels, numbers = scene()
    heads = [torch.randn(2, c, 16, 24, requires_grad=True) for c in (11, 3, 2, 11)]
    side = torch.randn(2, 11, 4, 6, requires_grad=True)
    terms = Terms(lovasz=0.5, teacher=torch.randn(2, 11, 16, 24))
    total, parts = dense_loss(
        DenseOutput(*heads), side, labels, instance_targets(labels, numbers), torch.ones(11), terms
    )
    torch.autograd.backward(total)
    assert set(parts) == {"semantic", "auxiliary", "lovasz", "centres", "offsets", "teacher"}
    assert float(sum(parts.values())) == pytest.approx(float(total.detach()), rel=1e-5)
    assert all(head.grad is not None and float(head.grad.abs().sum()) > 0 for head in [*heads[:3], side])


def test_one_good_candidate_is_enough_for_a_single_click() -> None:
    wanted = torch.zeros(1, 1, 16, 16)
    wanted[..., :8] = 1
    good = torch.where(wanted[:, :, ::2, ::2] > 0, 12.0, -12.0)
    masks = torch.cat([-good, good, -good], 1)
    rating = torch.tensor([[0.0, 1.0, 0.0]])
    ambiguous, _ = mask_loss(PromptOutput(masks, rating), wanted, torch.tensor([True]))
    settled, parts = mask_loss(PromptOutput(masks, rating), wanted, torch.tensor([False]))
    assert float(ambiguous) < 0.35 * float(settled)
    assert parts["score"] < 0.01
