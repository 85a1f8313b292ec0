"""Muon: its steps are orthogonal whatever the gradients' sizes, it minimises, and checkpoints go on exactly."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from shared.models.training.muon import Muon, Together, in_batches, make_optimiser, orthogonalised


@pytest.mark.parametrize("shape", [(16, 48), (48, 16), (24, 24)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape) * torch.logspace(-1, 1, shape[1])
    found = orthogonalised(matrix, steps=8)
    assert found.shape == matrix.shape
    values = torch.linalg.svdvals(found)
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    exact = left @ right
    assert float((found * exact).sum() / (found.norm() * exact.norm())) > 0.95


def test_matrices_of_many_sizes_in_batches_are_as_each_alone() -> None:
    torch.manual_seed(0)
    matrices = [torch.randn(shape) for shape in ((16, 48), (48, 17), (24, 24), (3, 5), (11, 40), (16, 33))]
    for found, matrix in zip(in_batches(matrices), matrices, strict=True):
        torch.testing.assert_close(found, orthogonalised(matrix), rtol=0.05, atol=0.02)


def test_a_step_has_the_size_that_the_rate_says() -> None:
    weight = nn.Parameter(torch.zeros(8, 4, 3, 3))
    weight.grad = 1e-4 * torch.randn(weight.shape)
    Muon([weight], lr=0.01).step()
    rms = float(weight.detach().square().mean().sqrt())
    assert rms == pytest.approx(0.2 * 0.01, rel=0.3)


def net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv2d(8, 2, 1)
    )


def train(model: nn.Module, optimiser: Together, steps: int, seed: int) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(steps):
        x = torch.randn(4, 3, 12, 12, generator=generator)
        wanted = torch.stack([x[:, 0] + x[:, 1], x[:, 2].abs()], 1)[:, :, 2:-2, 2:-2]
        optimiser.zero_grad()
        loss = (model(x) - wanted).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_it_minimises_and_moves_every_parameter() -> None:
    model = net()
    before = copy.deepcopy(model.state_dict())
    losses = train(model, make_optimiser(model, 0.02, 0.01), 80, 0)
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert all(not torch.equal(before[name], value) for name, value in model.named_parameters())


def test_only_matrices_across_channels_are_orthogonalised() -> None:
    model = net()
    muon, adam = make_optimiser(model, 0.02, 0.01).parts
    assert [tuple(p.shape) for p in muon.param_groups[0]["params"]] == [(8, 3, 3, 3), (2, 8, 1, 1)]
    assert len(adam.param_groups[0]["params"]) == len(list(model.parameters())) - 2


def test_a_resumed_run_goes_on_exactly() -> None:
    model = net()
    optimiser = make_optimiser(model, 0.02, 0.01)
    train(model, optimiser, 5, 0)
    again = net()
    again.load_state_dict(model.state_dict())
    resumed = make_optimiser(again, 0.5, 0.01)
    resumed.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    assert train(again, resumed, 5, 1) == train(model, optimiser, 5, 1)


def test_a_checkpoint_of_another_optimiser_is_refused() -> None:
    model = net()
    with pytest.raises(ValueError, match="another optimiser"):
        make_optimiser(model, 0.02, 0.01).load_state_dict(torch.optim.AdamW(model.parameters()).state_dict())
