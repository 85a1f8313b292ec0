"""Tensors of any device in, arrays in main memory out. From a GPU through pinned memory, several times as fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.models.engines.engine import Array


def on_host(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    """All of them, by name; those on a GPU when the calling thread's stream has come so far. Their memory is pinned,
    and used again once nothing refers to it."""
    found = {name: _leaving(tensor) for name, tensor in tensors.items()}
    for device in {tensor.device for tensor in tensors.values() if tensor.is_cuda}:
        torch.cuda.current_stream(device).synchronize()
    return {name: tensor.numpy(force=True) for name, tensor in found.items()}


def array_of(tensor: Tensor) -> Array:
    """One of them."""
    return on_host({"": tensor})[""]


def torch_type(dtype: np.dtype[Any]) -> torch.dtype:
    """numpy's type as torch's."""
    return torch.from_numpy(np.zeros(0, dtype)).dtype


def _leaving(tensor: Tensor) -> Tensor:
    if not tensor.is_cuda:
        return tensor
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor, non_blocking=True)
