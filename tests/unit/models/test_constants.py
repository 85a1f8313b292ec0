"""Constants are made once, whoever writes into a copy, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import torch

from shared.models.engines.constants import MOST, Constants, plain

CPU = torch.device("cpu")


def test_equal_numbers_are_made_once_and_copies_are_the_callers_own() -> None:
    constants = Constants(CPU)
    with constants:
        first = torch.tensor([1.5, 2.0], device="cpu")
        first += 1
        again = torch.tensor([1.5, 2.0], device="cpu")
        other = torch.as_tensor([(1, 2), (3, 4)], dtype=torch.long, device=CPU)
        half = torch.tensor([1.5, 2.0], device="cpu", dtype=torch.float16)
    assert again.tolist() == [1.5, 2.0]
    assert other.tolist() == [[1, 2], [3, 4]]
    assert half.dtype == torch.float16
    assert len(constants.made) == 3


def test_what_is_no_constant_or_for_another_device_is_made_as_ever() -> None:
    constants = Constants(torch.device("cuda"))
    source = torch.arange(3)
    with constants:
        here = torch.tensor([1.0], device="cpu")
        without = torch.tensor([1.0])
    with Constants(CPU) as ours:
        same = torch.as_tensor(source, device="cpu")
        torch.as_tensor(np.arange(3), device="cpu")
        assert torch.zeros(2, device="cpu").tolist() == [0, 0]
    assert same is source
    assert here.tolist() == without.tolist() == [1.0]
    assert not constants.made
    assert not ours.made


def test_they_do_not_fill_the_memory() -> None:
    constants = Constants(CPU)
    with constants:
        for number in range(MOST + 10):
            assert torch.tensor([number], device="cpu").tolist() == [number]
    assert len(constants.made) == MOST
    assert plain([1, (2.0, [3])])
    assert not plain([torch.ones(1)])
