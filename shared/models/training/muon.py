"""Gradients of weight matrices in, orthogonalised momentum steps out (Muon), with AdamW for everything else.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon), scaled to AdamW's step size (Liu et al. 2025,
https://arxiv.org/abs/2502.16982). Own code because torch's takes no convolutions, and torch's and timm's orthogonalise
in bfloat16 only, which a CPU without bf16 units does twenty times slower than float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn

from shared.models.training.precision import computes_bfloat16

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the Newton-Schulz iteration: singular values end between about .7 and 1.2."""


def orthogonalised(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices to f32 [...,m,n], roughly: all singular values near one; f32 [...,m,n]."""
    a, b, c = QUINTIC
    x = matrices.bfloat16() if computes_bfloat16(matrices.device) else matrices.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    found: Tensor = x.mT if tall else x
    return found.float()


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; a convolution [o,i,h,w] counts as the matrix [o, i h w]."""

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float = 0.0, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if moved:
                self._move(moved, group)
        return None

    def _move(self, moved: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [parameter.grad for parameter in moved if parameter.grad is not None]
        for parameter in moved:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momenta: list[Tensor] = [self.state[parameter]["momentum"] for parameter in moved]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        nesterov = torch._foreach_lerp(gradients, momenta, group["momentum"])
        steps = all_orthogonalised([step.flatten(1) for step in nesterov])
        torch._foreach_mul_(steps, [0.2 * math.sqrt(max(step.shape)) for step in steps])
        torch._foreach_mul_(moved, 1 - group["lr"] * group["weight_decay"])
        moves = [step.view_as(parameter) for step, parameter in zip(steps, moved, strict=True)]
        torch._foreach_add_(moved, moves, alpha=-group["lr"])


def all_orthogonalised(matrices: list[Tensor]) -> list[Tensor]:
    """`orthogonalised` of each f32 [m,n]; on a GPU many at a time, zeros around them up to a power of two, which change
    nothing.
    """
    if matrices[0].device.type != "cuda":
        return [orthogonalised(matrix) for matrix in matrices]
    return in_batches(matrices)


def in_batches(matrices: list[Tensor]) -> list[Tensor]:
    """`orthogonalised` of each f32 [m,n], those of about one size together and none standing upright."""
    together: dict[tuple[int, ...], list[int]] = {}
    for index, matrix in enumerate(matrices):
        size = tuple(2 ** math.ceil(math.log2(side)) for side in sorted(matrix.shape))
        together.setdefault(size, []).append(index)
    found = list(matrices)
    for size, members in together.items():
        lying = [matrices[i].T if matrices[i].shape[0] > matrices[i].shape[1] else matrices[i] for i in members]
        batch = matrices[0].new_zeros(len(members), *size)
        torch._foreach_copy_([into[: m.shape[0], : m.shape[1]] for into, m in zip(batch, lying, strict=True)], lying)
        for i, m, step in zip(members, lying, orthogonalised(batch), strict=True):
            part = step[: m.shape[0], : m.shape[1]]
            found[i] = (part.T if matrices[i].shape[0] > matrices[i].shape[1] else part).contiguous()
    return found


class Together:
    """Several optimisers that step as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts, to be changed in place."""
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step(self) -> None:
        """One step of each."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """The parts' states, in order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What `state_dict` gave; raises ValueError when it is of other optimisers."""
        if len(state.get("parts", ())) != len(self.parts):
            raise ValueError("the checkpoint is of another optimiser: train without --resume, or in another --out")
        for part, each in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(each)


def make_optimiser(net: nn.Module, rate: float, weight_decay: float) -> Together:
    """Muon for matrices and convolutions across channels; AdamW for depthwise ones, biases and normalisations, which
    are not decayed.
    """
    trained = [p for p in net.parameters() if p.requires_grad]
    mixing = [p for p in trained if p.ndim > 1 and p.shape[1] > 1]
    chosen = {id(p) for p in mixing}
    rest = [p for p in trained if id(p) not in chosen]
    parts: list[torch.optim.Optimizer] = []
    if mixing:
        parts.append(Muon(mixing, rate, weight_decay))
    if rest:
        parts.append(torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True))
    return Together(*parts)
