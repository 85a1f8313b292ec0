"""Bundled weights back into a network that trains: their folded normalisations are unfolded on a batch of real inputs.

The bundle holds each convolution with its normalisation folded in. Here every normalisation gets the statistics of its
own input and the scale and shift that undo them, so that in eval mode the network answers as the bundle does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from shared.models.networks.street import ConvNorm


def bundled_half(path: Path, half: str) -> dict[str, Tensor]:
    """The tensors of "dense" or "decoder" in a bundled file, float32, by their names within that half."""
    prefix = f"{half}."
    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 (not a dict)
        return {name.removeprefix(prefix): file.get_tensor(name).float() for name in names}


@torch.no_grad()
def unfold(net: nn.Module, folded: dict[str, Tensor], run: Callable[[], object]) -> None:
    """Fill `net` from the state dict of its folded form; `run` passes a batch of inputs through `net` once.

    What the folded form lacks (heads for training only) keeps its values. Raises RuntimeError for a tensor that `net`
    has no place for.
    """
    shifts = {f"{name}.0.bias": module for name, module in net.named_modules() if isinstance(module, ConvNorm)}
    unknown = net.load_state_dict({k: v for k, v in folded.items() if k not in shifts}, strict=False).unexpected_keys
    if unknown:
        raise RuntimeError(f"the network has no place for {', '.join(unknown[:3])}")
    hooks = []
    for name, module in shifts.items():
        norm = module[1]
        if name in folded and isinstance(norm, nn.BatchNorm2d):
            device = norm.weight.device
            hooks.append(norm.register_forward_pre_hook(partial(_undo, shift=folded[name].to(device))))
    was_training = net.training
    net.eval()
    run()
    net.train(was_training)
    for hook in hooks:
        hook.remove()


def _undo(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...], shift: Tensor) -> None:
    """Statistics of the input, and the scale and shift after which only `shift` has been added."""
    (x,) = inputs
    mean, variance = x.float().mean((0, 2, 3)), x.float().var((0, 2, 3)).clamp_min(1e-6)
    norm.running_mean, norm.running_var = mean, variance
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(shift + mean)
