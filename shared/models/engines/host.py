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
        wait_for(torch.cuda.current_stream(device))
    return {name: tensor.numpy(force=True) for name, tensor in found.items()}


def wait_for(stream: torch.cuda.Stream) -> None:
    """Until the stream has come so far, asleep. `Stream.synchronize` would spin, and take a core from those that decode
    and encode meanwhile."""
    event = torch.cuda.Event(blocking=True)
    event.record(stream)
    event.synchronize()


def arrived(tensor: Tensor) -> Tensor:
    """The same, once it is there: for whoever then asks it for numbers, which would wait too, spinning."""
    if tensor.is_cuda:
        wait_for(torch.cuda.current_stream(tensor.device))
    return tensor


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
