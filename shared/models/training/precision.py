"""Where bfloat16 and compiling pay: a device goes in, the autocast context and the form that a forward pass should run
in come out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def computes_bfloat16(device: torch.device) -> bool:
    """Whether `device` has instructions for bfloat16. A CPU without them emulates it, twenty times slower than
    float32.
    """
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def mixed(device: torch.device, wanted: bool = True) -> torch.autocast:
    """A context of bfloat16 where that is `wanted` and the device computes it, else of float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and computes_bfloat16(device))


def compiled(function: Callable[P, R], device: torch.device) -> Callable[P, R]:
    """`function` compiled for each shape that it meets on a GPU, which fuses what is bound by memory; on a CPU as it
    is.
    """
    if device.type != "cuda":
        return function
    answer: Callable[P, R] = torch.compile(function, dynamic=False)
    return answer
